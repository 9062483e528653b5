/*
 * frame.c
 *		Encoding and decoding of frames, without the server's headers.
 *
 * The decoder is given bytes that a broken agent may have written: every
 * length is checked against what is there before it is used.
 */
#include "frame.h"

#include <string.h>

#include "rows.h"

static uint64_t
get_uint(PgnReader *reader, size_t bytes)
{
	PgnSlice	slice = pgn_get_bytes(reader, bytes);
	uint64_t	value = 0;

	for (size_t i = 0; i < slice.len; i++)
		value = value << 8 | (uint8_t) slice.data[i];
	return value;
}

uint8_t
pgn_get_u8(PgnReader *reader)
{
	return (uint8_t) get_uint(reader, 1);
}

uint16_t
pgn_get_u16(PgnReader *reader)
{
	return (uint16_t) get_uint(reader, 2);
}

uint32_t
pgn_get_u32(PgnReader *reader)
{
	return (uint32_t) get_uint(reader, 4);
}

uint64_t
pgn_get_u64(PgnReader *reader)
{
	return get_uint(reader, 8);
}

PgnSlice
pgn_get_bytes(PgnReader *reader, size_t len)
{
	PgnSlice	slice = {"", 0};

	if (reader->bad || len > reader->rest.len)
	{
		reader->bad = true;
		return slice;
	}
	slice.data = reader->rest.data;
	slice.len = len;
	reader->rest.data += len;
	reader->rest.len -= len;
	return slice;
}

PgnSlice
pgn_get_slice(PgnReader *reader)
{
	return pgn_get_bytes(reader, pgn_get_u32(reader));
}

void
pgn_put_bytes(PgnWriter *writer, const void *data, size_t len)
{
	if (writer->len <= writer->size && len <= writer->size - writer->len && len > 0)
		memcpy(writer->data + writer->len, data, len);
	writer->len += len;
}

static void
put_uint(PgnWriter *writer, uint64_t value, int bytes)
{
	char		buffer[8];

	for (int i = 0; i < bytes; i++)
		buffer[i] = (char) (value >> (8 * (bytes - 1 - i)));
	pgn_put_bytes(writer, buffer, (size_t) bytes);
}

void
pgn_put_u8(PgnWriter *writer, uint8_t value)
{
	put_uint(writer, value, 1);
}

void
pgn_put_u32(PgnWriter *writer, uint32_t value)
{
	put_uint(writer, value, 4);
}

void
pgn_put_u64(PgnWriter *writer, uint64_t value)
{
	put_uint(writer, value, 8);
}

void
pgn_put_slice(PgnWriter *writer, PgnSlice slice)
{
	pgn_put_u32(writer, (uint32_t) slice.len);
	pgn_put_bytes(writer, slice.data, slice.len);
}

void
pgn_put_string(PgnWriter *writer, const char *string)
{
	PgnSlice	slice = {string, strlen(string)};

	pgn_put_slice(writer, slice);
}

/* Begins a frame; its length is filled in by pgn_put_end. */
void
pgn_put_begin(PgnWriter *writer, uint8_t type)
{
	writer->start = writer->len;
	pgn_put_u32(writer, 0);
	pgn_put_u8(writer, type);
}

void
pgn_put_end(PgnWriter *writer)
{
	size_t		end = writer->len;

	writer->len = writer->start;
	pgn_put_u32(writer, (uint32_t) (end - writer->start - PGN_LENGTH_BYTES));
	writer->len = end;
}

/* Finds the first frame in a buffer; max_length bounds its type and body. */
PgnFrameResult
pgn_frame_next(PgnSlice buffer, uint64_t max_length, PgnFrame *frame)
{
	PgnReader	reader = {buffer, false};
	uint32_t	length;

	frame->size = PGN_LENGTH_BYTES;
	if (buffer.len < PGN_LENGTH_BYTES)
		return PGN_FRAME_MORE;
	length = pgn_get_u32(&reader);
	if (length < 1 || length > max_length)
		return PGN_FRAME_BAD;
	frame->size = (size_t) length + PGN_LENGTH_BYTES;
	if (reader.rest.len < length)
		return PGN_FRAME_MORE;
	frame->type = pgn_get_u8(&reader);
	frame->body = pgn_get_bytes(&reader, length - 1);
	return PGN_FRAME_WHOLE;
}

/* A snapshot's name is an identifier that needs no quotes. */
bool
pgn_name_valid(PgnSlice name)
{
	if (name.len < 1 || name.len > PGN_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++)
	{
		char		c = name.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
			return false;
	}
	return true;
}

static const char *
decode_snapshot(PgnReader *reader, PgnMessage *message)
{
	message->name = pgn_get_slice(reader);
	message->data = pgn_get_slice(reader);
	if (reader->bad)
		return "a snapshot is cut short";
	if (!pgn_name_valid(message->name))
		return "a snapshot has no valid name";
	return pgn_rows_check(message->data);
}

static const char *
decode_log(PgnReader *reader, PgnMessage *message)
{
	if (reader->rest.len + 1 > PGN_LOG_MAX)
		return "a log line is too long";
	message->level = pgn_get_u8(reader);
	message->data = pgn_get_slice(reader);
	message->detail = pgn_get_slice(reader);
	message->hint = pgn_get_slice(reader);
	if (!reader->bad && message->level > PGN_LOG_ERROR)
		return "a log line has an unknown level";
	return NULL;
}

const char *
pgn_message_decode(const PgnFrame *frame, PgnMessage *message)
{
	PgnReader	reader = {frame->body, false};
	const char *wrong = NULL;

	memset(message, 0, sizeof(*message));
	message->type = frame->type;
	switch (frame->type)
	{
		case PGN_AGENT_HELLO:
			message->protocol = pgn_get_u32(&reader);
			/* Another protocol's greeting need not have our form. */
			if (!reader.bad && message->protocol != PGN_PROTOCOL)
				return NULL;
			message->name = pgn_get_slice(&reader);
			break;
		case PGN_AGENT_TAKE:
			message->request = pgn_get_u32(&reader);
			if (!reader.bad && message->request == 0)
				return "a request to take has no number";
			break;
		case PGN_AGENT_SNAPSHOT:
			wrong = decode_snapshot(&reader, message);
			break;
		case PGN_AGENT_PUBLISH:
			message->event_seq = pgn_get_u64(&reader);
			message->reset_seq = pgn_get_u64(&reader);
			break;
		case PGN_AGENT_LOG:
			wrong = decode_log(&reader, message);
			break;
		case PGN_AGENT_BEAT:
			break;
		default:
			return "a frame has an unknown type";
	}
	if (wrong != NULL)
		return wrong;
	if (reader.bad)
		return "a frame is cut short";
	if (reader.rest.len > 0)
		return "a frame is longer than what it says";
	return NULL;
}
