/*
 * ring.c
 *		The ring of events: appended at its head, released at its tail.
 */
#include "ring.h"

#include "storage/shmem.h"

#include "slot.h"

#define RING_BYTES (2 * 1024 * 1024)

/*
 * Beyond that, for each session that lived when the file was saved: room for
 * the event that says so, which comes when the file is loaded.
 */
#define RING_BYTES_EACH 512

/* What stands before an event's kind: length, type, number. */
#define HEAD_BYTES (PGN_LENGTH_BYTES + 1 + 8)

typedef struct Ring
{
	uint64		last;			/* number of the event appended last */
	uint64		tail;			/* position of the first event */
	uint64		head;			/* position behind the last */
	char		data[FLEXIBLE_ARRAY_MEMBER];
} Ring;

static Ring *ring = NULL;

static uint64
capacity(void)
{
	return RING_BYTES + (uint64) pgn_slots_count() * RING_BYTES_EACH;
}

Size
pgn_ring_size(void)
{
	return add_size(offsetof(Ring, data), capacity());
}

/* Finds or makes the ring; the caller holds AddinShmemInitLock. */
void
pgn_ring_attach(void)
{
	bool		found;

	ring = ShmemInitStruct("pg_netstat events", pgn_ring_size(), &found);
	if (!found)
		pgn_ring_clear();
}

void
pgn_ring_clear(void)
{
	memset(ring, 0, offsetof(Ring, data));
}

uint64
pgn_ring_last(void)
{
	return ring->last;
}

uint64
pgn_ring_tail(void)
{
	return ring->tail;
}

uint64
pgn_ring_head(void)
{
	return ring->head;
}

/* The one or two pieces of len bytes from a position on. */
static void
pieces(uint64 from, uint64 len, PgnSlice parts[2])
{
	uint64		start = from % capacity();
	uint64		first = Min(len, capacity() - start);

	parts[0].data = ring->data + start;
	parts[0].len = first;
	parts[1].data = ring->data;
	parts[1].len = len - first;
}

/* The events from a position on. */
void
pgn_ring_parts(uint64 from, PgnSlice parts[2])
{
	pieces(from, ring->head - from, parts);
}

/*
 * Appends frames that are numbered from pgn_ring_last() + 1 on: all of them, or
 * none, and false, if there is no room.
 */
bool
pgn_ring_append(PgnSlice frames, uint32 count, bool loading)
{
	PgnSlice	parts[2];

	if (ring->head - ring->tail + frames.len > (loading ? capacity() : RING_BYTES))
		return false;
	pieces(ring->head, frames.len, parts);
	memcpy(unconstify(char *, parts[0].data), frames.data, parts[0].len);
	memcpy(unconstify(char *, parts[1].data), frames.data + parts[0].len, parts[1].len);
	ring->last += count;
	ring->head += frames.len;
	return true;
}

/* Size and number of the event at a position. */
static uint64
event_at(uint64 position, uint64 *seq)
{
	char		head[HEAD_BYTES];
	PgnSlice	parts[2];
	PgnReader	reader = {{head, sizeof(head)}, false};
	uint64		len;

	pieces(position, sizeof(head), parts);
	memcpy(head, parts[0].data, parts[0].len);
	memcpy(head + parts[0].len, parts[1].data, parts[1].len);
	len = pgn_get_u32(&reader);
	(void) pgn_get_u8(&reader);
	*seq = pgn_get_u64(&reader);
	return PGN_LENGTH_BYTES + len;
}

/* Gives up the events through a number. */
void
pgn_ring_release(uint64 seq)
{
	while (ring->tail < ring->head)
	{
		uint64		number;
		uint64		size = event_at(ring->tail, &number);

		if (number > seq)
			return;
		ring->tail += size;
	}
}

/* Fills the ring with events that were saved: all those after one number, through another. */
const char *
pgn_ring_load(PgnSlice frames, uint64 after, uint64 last)
{
	PgnSlice	rest = frames;
	PgnFrame	frame;
	uint32		count = 0;

	if (last < after)
		return "its numbers are wrong";
	while (rest.len > 0)
	{
		PgnReader	reader;

		if (pgn_frame_next(rest, RING_BYTES, &frame) != PGN_FRAME_WHOLE || frame.type != PGN_EVENT)
			return "its events are no frames";
		reader.rest = frame.body;
		reader.bad = false;
		if (pgn_get_u64(&reader) != after + count + 1)
			return "its events are not in order";
		count++;
		rest.data += frame.size;
		rest.len -= frame.size;
	}
	if (after + count != last)
		return "events are missing in it";
	pgn_ring_clear();
	ring->last = after;
	return pgn_ring_append(frames, count, true) ? NULL : "it has more events than there is room for";
}
