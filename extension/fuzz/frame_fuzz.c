/*
 * frame_fuzz.c
 *		Feeds arbitrary bytes to the decoder of the agent's frames.
 *
 * "make" builds it and runs it for FUZZ_SECONDS (60), from seeds that it writes
 * itself; it needs clang with libFuzzer (CC=clang-19, package libclang-rt-19-dev).
 * What it finds is left in a file crash-*, and "./frame_fuzz crash-…" shows it.
 *
 * Besides memory errors it looks for a slice outside of the input, and for a
 * message that does not become the same bytes when it is written again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/frame.h"
#include "../src/rows.h"

#define MAX_LENGTH 65536

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern int	LLVMFuzzerInitialize(int *argc, char ***argv);

static void
check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

static void
check_within(PgnSlice inner, PgnSlice outer)
{
	if (inner.len == 0)
		return;
	check(inner.data >= outer.data && inner.data + inner.len <= outer.data + outer.len, "a slice is outside of its frame");
}

static void
write_message(PgnWriter *writer, const PgnMessage *message)
{
	pgn_put_begin(writer, message->type);
	switch (message->type)
	{
		case PGN_AGENT_HELLO:
			pgn_put_u32(writer, message->protocol);
			pgn_put_slice(writer, message->name);
			break;
		case PGN_AGENT_TAKE:
			pgn_put_u32(writer, message->request);
			break;
		case PGN_AGENT_SNAPSHOT:
			pgn_put_slice(writer, message->name);
			pgn_put_slice(writer, message->data);
			break;
		case PGN_AGENT_PUBLISH:
			pgn_put_u64(writer, message->event_seq);
			pgn_put_u64(writer, message->reset_seq);
			break;
		case PGN_AGENT_LOG:
			pgn_put_u8(writer, message->level);
			pgn_put_slice(writer, message->data);
			pgn_put_slice(writer, message->detail);
			pgn_put_slice(writer, message->hint);
			break;
	}
	pgn_put_end(writer);
}

static void
check_same(const PgnMessage *message, PgnSlice frame)
{
	PgnWriter	sizing = {NULL, 0, 0, 0};
	PgnWriter	writer = {NULL, 0, 0, 0};

	/* The greeting of another protocol is not decoded. */
	if (message->type == PGN_AGENT_HELLO && message->protocol != PGN_PROTOCOL)
		return;
	write_message(&sizing, message);
	check(sizing.len == frame.len, "a message has another length when it is written again");
	writer.data = malloc(sizing.len);
	writer.size = sizing.len;
	write_message(&writer, message);
	check(memcmp(writer.data, frame.data, frame.len) == 0, "a message has other bytes when it is written again");
	free(writer.data);
}

/* Walks a snapshot that was found to be well formed. */
static void
check_rows(PgnSlice data)
{
	PgnRows		rows;
	PgnField	field;

	check(pgn_rows_open(&rows, data), "a checked snapshot cannot be opened");
	for (int i = 0; i < rows.ncolumns; i++)
		(void) pgn_rows_type(&rows, i);
	while (pgn_rows_next(&rows))
	{
		for (int i = 0; i < rows.ncolumns; i++)
		{
			check(pgn_rows_field(&rows, &field), "a checked snapshot lacks a field");
			check_within(field.value, data);
		}
	}
	check(rows.wrong == NULL, "a checked snapshot is wrong");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PgnSlice	rest = {(const char *) data, size};
	PgnFrame	frame;
	PgnMessage	message;

	while (pgn_frame_next(rest, MAX_LENGTH, &frame) == PGN_FRAME_WHOLE)
	{
		PgnSlice	whole = {rest.data, frame.size};

		check(frame.size <= rest.len, "a frame is longer than what there is");
		if (pgn_message_decode(&frame, &message) == NULL)
		{
			check_within(message.name, frame.body);
			check_within(message.data, frame.body);
			check_within(message.detail, frame.body);
			check_within(message.hint, frame.body);
			check_same(&message, whole);
			if (message.type == PGN_AGENT_SNAPSHOT)
				check_rows(message.data);
		}
		rest.data += frame.size;
		rest.len -= frame.size;
	}
	(void) pgn_rows_check(rest);
	return 0;
}

static PgnSlice
literal(const char *data, size_t len)
{
	PgnSlice	slice = {data, len};

	return slice;
}

#define LITERAL(s) literal(s, sizeof(s) - 1)

static void
write_seed(const char *directory, const PgnMessage *message)
{
	char		buffer[1024];
	char		path[1024];
	PgnWriter	writer = {buffer, sizeof(buffer), 0, 0};
	FILE	   *file;

	write_message(&writer, message);
	snprintf(path, sizeof(path), "%s/seed-%c", directory, message->type);
	file = fopen(path, "wb");
	check(file != NULL && fwrite(buffer, writer.len, 1, file) == 1 && fclose(file) == 0, "a seed cannot be written");
}

/* With PGN_SEEDS set, writes one frame of each type there, and ends. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *directory = getenv("PGN_SEEDS");
	const PgnMessage seeds[] = {
		{.type = PGN_AGENT_HELLO,.protocol = PGN_PROTOCOL,.name = LITERAL("1.0")},
		{.type = PGN_AGENT_TAKE,.request = 3},
		{.type = PGN_AGENT_SNAPSHOT,.name = LITERAL("pg_netstat"),
			.data = LITERAL("\0\2\0\0\0\31\0\0\0\24PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"
							"\0\2\0\0\0\4eth0\0\0\0\10\0\0\0\0\0\0\0\1\0\2\377\377\377\377\377\377\377\377\377\377")},
		{.type = PGN_AGENT_PUBLISH,.event_seq = 7,.reset_seq = 1},
		{.type = PGN_AGENT_LOG,.level = PGN_LOG_WARNING,.data = LITERAL("message"),
			.detail = LITERAL("detail"),.hint = LITERAL("hint")},
		{.type = PGN_AGENT_BEAT},
	};

	(void) argc;
	(void) argv;
	if (directory == NULL)
		return 0;
	check(pgn_rows_check(seeds[2].data) == NULL, "the seed of a snapshot is not well formed");
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		write_seed(directory, &seeds[i]);
	exit(0);
}
