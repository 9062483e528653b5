/*
 * inbox.c
 *		Receives the agent's frames, checks them, and carries them out.
 *
 * Whatever an agent sends, the work for it is bounded: the worker must come
 * round to the postmaster's signals.
 */
#include "inbox.h"

#include <unistd.h>

#include "utils/timestamp.h"

#include "logline.h"
#include "ring.h"
#include "shmem.h"

#define RECEIVE_MAX (1024 * 1024)	/* bytes before the worker looks around again */
#define ERRORS_MAX 65536		/* likewise, of stderr */

/* More than this in a second is a flood. */
#define FRAMES_PER_SECOND 10000
#define PUBLISHES_PER_SECOND 50
#define ERROR_BYTES_PER_SECOND (8 * 1024 * 1024)
#define SETS_PER_SECOND 4		/* as large as a set may be */
#define SETS_PER_PUBLISH 2		/* likewise */

const char	pgn_other_protocol[] = "the agent is of another version than the module";

static const char *
greet(PgnSupervision *sup, const PgnMessage *message)
{
	if (message->protocol != PGN_PROTOCOL)
		return pgn_other_protocol;
	if (sup->greeted)
		return "it greeted twice";
	sup->greeted = true;
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	snprintf(pgn_shared->facts.agent_version, sizeof(pgn_shared->facts.agent_version), "%.*s",
			 (int) Min(message->name.len, sizeof(pgn_shared->facts.agent_version) - 1), message->name.data);
	LWLockRelease(pgn_shared->lock);
	return NULL;
}

static const char *
publish(PgnSupervision *sup, const PgnMessage *message)
{
	uint64		applied = pgn_shared->reset_applied;

	if (message->reset_seq < applied || message->reset_seq > sup->reset_sent)
		return "it published a reset that was not asked for";
	if (message->event_seq < pgn_active_set()->event_seq || message->event_seq > sup->event_sent)
		return "it published events that it was not sent";
	if (!pgn_stage_publish(message->event_seq, message->reset_seq, GetCurrentTimestamp(), PGN_ORIGIN_MEMORY))
		return "its snapshots are larger than pg_netstat.max_memory allows";
	pgn_ring_release(message->event_seq);
	sup->save_wanted = true;
	sup->save_soon |= message->reset_seq > applied;
	if (sup->published)
		return NULL;
	sup->published = true;
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	pgn_shared->facts.state = PGN_STATE_RUNNING;
	LWLockRelease(pgn_shared->lock);
	return NULL;
}

static const char *
carry_out(PgnSupervision *sup, const PgnMessage *message, int64 now)
{
	if (!sup->greeted && message->type != PGN_AGENT_HELLO)
		return "it did not greet first";
	switch (message->type)
	{
		case PGN_AGENT_HELLO:
			return greet(sup, message);
		case PGN_AGENT_SNAPSHOT:
			if (!pgn_stage_put(message->name, message->data))
				return "its snapshots are larger than pg_netstat.max_memory allows";
			return NULL;
		case PGN_AGENT_PUBLISH:
			return publish(sup, message);
		case PGN_AGENT_TAKE:
			/* One that comes before another was answered is answered with it. */
			sup->request = message->request;
			return NULL;
		case PGN_AGENT_LOG:
			pgn_log_message(message, now);
			return NULL;
		default:
			return NULL;
	}
}

/* Bytes of the frames of the largest set. */
static int64
set_size(void)
{
	return (int64) pgn_set_capacity() + PGN_FRAME_SLACK;
}

static const char *
count(PgnSupervision *sup, const PgnFrame *frame, int64 now)
{
	if (now - sup->second >= 1000)
	{
		sup->second = now;
		sup->frames = sup->publishes = sup->bytes = sup->error_bytes = 0;
	}
	if (frame != NULL)
	{
		sup->frames++;
		sup->bytes += frame->size;
		if (frame->type == PGN_AGENT_SNAPSHOT)
			sup->unpublished += frame->size;
		else if (frame->type == PGN_AGENT_PUBLISH)
		{
			sup->publishes++;
			sup->unpublished = 0;
		}
	}
	if (sup->frames > FRAMES_PER_SECOND ||
		sup->publishes > PUBLISHES_PER_SECOND ||
		sup->bytes > SETS_PER_SECOND * set_size() ||
		sup->unpublished > SETS_PER_PUBLISH * set_size() ||
		sup->error_bytes > ERROR_BYTES_PER_SECOND)
		return "it sends more than is sensible";
	return NULL;
}

/* Handles the whole frames that are there; wanted is then what the next one needs. */
static const char *
handle_frames(PgnSupervision *sup, int64 now, Size *wanted)
{
	for (;;)
	{
		PgnFrame	frame;
		PgnMessage	message;
		const char *wrong;

		switch (pgn_frame_next(pgn_channel_received(&sup->channel),
							   set_size(), &frame))
		{
			case PGN_FRAME_MORE:
				*wanted = frame.size;
				return NULL;
			case PGN_FRAME_BAD:
				return "a frame has an impossible length";
			case PGN_FRAME_WHOLE:
				break;
		}
		sup->heard = now;
		if ((wrong = count(sup, &frame, now)) != NULL ||
			(wrong = pgn_message_decode(&frame, &message)) != NULL ||
			(wrong = carry_out(sup, &message, now)) != NULL)
			return wrong;
		pgn_channel_consume(&sup->channel, frame.size);
	}
}

const char *
pgn_inbox_receive(PgnSupervision *sup, int64 now)
{
	Size		received = 0;
	Size		wanted = 0;

	while (received < RECEIVE_MAX)
	{
		const char *wrong = handle_frames(sup, now, &wanted);
		Size		got;

		if (wrong != NULL)
			return wrong;
		got = pgn_channel_receive(&sup->channel, wanted);
		if (got == 0)
			return NULL;
		received += got;
	}
	return handle_frames(sup, now, &wanted);
}

/* Reads what the agent wrote to its stderr; closes it at its end. */
const char *
pgn_inbox_errors(PgnSupervision *sup, int64 now)
{
	char		buffer[8192];
	Size		received = 0;

	while (received < ERRORS_MAX)
	{
		ssize_t		got = read(sup->agent.errors, buffer, sizeof(buffer));
		PgnSlice	bytes = {buffer, got > 0 ? got : 0};

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (got <= 0)
		{
			pgn_log_errors_end(now);
			pgn_agent_close_errors(&sup->agent);
			sup->generation++;
			break;
		}
		pgn_log_errors(bytes, now);
		sup->error_bytes += got;
		received += got;
	}
	return count(sup, NULL, now);
}
