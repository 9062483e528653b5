/*
 * outbox.c
 *		Writes what the agent has to know into the channel: the settings, what was
 *		published before it was there, requests, and what the backends count.
 */
#include "outbox.h"

#include "events.h"
#include "report.h"
#include "ring.h"
#include "settings.h"
#include "shmem.h"
#include "slot.h"
#include "version.h"

#define TAKE_LEAST 20			/* ms between two takings */
#define TAKE_MOST 1000
#define TAKE_WANTED 2			/* ms between two that a backend asked for */
#define FULL 25					/* percent of a slot's entries; more is taken sooner */

/* An agent that has so many bytes to read is told nothing more for a while. */
#define PENDING_ENOUGH (1024 * 1024)

/* The largest set of snapshots, all events, all sessions, and the rest. */
Size
pgn_max_pending(void)
{
	return pgn_set_capacity() + pgn_ring_size() + (Size) pgn_slots_count() * PGN_LIVE_MAX + 2 * PENDING_ENOUGH;
}

/* Puts frames into the output: once to learn their size, once to write them. */
static void
send_frames(PgnSupervision *sup, void (*put) (const PgnSupervision *, PgnWriter *))
{
	PgnWriter	sizing = {NULL, 0, 0, 0};
	PgnWriter	writer = {NULL, 0, 0, 0};

	put(sup, &sizing);
	writer.size = sizing.len;
	writer.data = pgn_channel_reserve(&sup->channel, sizing.len);
	put(sup, &writer);
	Assert(writer.len == writer.size);
}

static void
put_batch(const PgnSupervision *sup, PgnWriter *writer)
{
	pgn_events_put(writer, sup->events_sent, sup->request);
}

/* Notes that the agent was sent a batch. */
static void
batch_sent(PgnSupervision *sup)
{
	pgn_events_told();
	sup->events_sent = pgn_ring_head();
	sup->event_sent = pgn_ring_last();
	sup->request = 0;
}

/* Who we are, what to do, what an agent before it has published, and what was counted since. */
static void
put_opening(const PgnSupervision *sup, PgnWriter *writer)
{
	const PgnSet *set = pgn_active_set();

	pgn_put_begin(writer, PGN_HELLO);
	pgn_put_u32(writer, PGN_PROTOCOL);
	pgn_put_u32(writer, PG_VERSION_NUM);
	pgn_put_string(writer, PGN_VERSION);
	pgn_put_u64(writer, pgn_set_capacity());
	pgn_put_end(writer);

	pgn_settings_put(writer);

	for (uint32 i = 0; i < set->count; i++)
	{
		pgn_put_begin(writer, PGN_RESTORE);
		pgn_put_string(writer, set->entries[i].name);
		pgn_put_slice(writer, pgn_entry_data(&set->entries[i]));
		pgn_put_end(writer);
	}

	pgn_put_begin(writer, PGN_RESTORED);
	pgn_put_u8(writer, pgn_shared->origin);
	pgn_put_u64(writer, (uint64) set->published_at);
	pgn_put_u64(writer, pgn_shared->reset_applied);
	pgn_put_u64(writer, set->event_seq);
	pgn_put_end(writer);

	put_batch(sup, writer);
}

void
pgn_outbox_open(PgnSupervision *sup)
{
	sup->reset_sent = pgn_shared->reset_applied;
	/* A worker may have died when it had published, before it gave these up. */
	pgn_ring_release(pgn_active_set()->event_seq);
	sup->events_sent = pgn_ring_tail();
	sup->request = 0;
	pgn_events_forget_agent();
	/* What the sessions are now goes with all that they counted until now. */
	(void) pgn_events_take();
	send_frames(sup, put_opening);
	batch_sent(sup);
}

static void
put_settings(const PgnSupervision *sup, PgnWriter *writer)
{
	(void) sup;
	pgn_settings_put(writer);
}

void
pgn_outbox_settings(PgnSupervision *sup)
{
	send_frames(sup, put_settings);
}

static uint64
reset_requested(void)
{
	uint64		number;

	LWLockAcquire(pgn_shared->lock, LW_SHARED);
	number = pgn_shared->reset_base + pgn_shared->reset_requests;
	LWLockRelease(pgn_shared->lock);
	return number;
}

static void
put_reset(const PgnSupervision *sup, PgnWriter *writer)
{
	pgn_put_begin(writer, PGN_RESET);
	pgn_put_u64(writer, sup->reset_sent);
	pgn_put_end(writer);
}

/* Tells the agent of the latest request to reset, if it does not know of it. */
void
pgn_outbox_reset(PgnSupervision *sup)
{
	uint64		number = reset_requested();

	if (number <= sup->reset_sent)
		return;
	sup->reset_sent = number;
	send_frames(sup, put_reset);
}

static void
put_quit(const PgnSupervision *sup, PgnWriter *writer)
{
	(void) sup;
	pgn_put_begin(writer, PGN_QUIT);
	pgn_put_end(writer);
}

/* Asks the agent for a last set. */
void
pgn_outbox_quit(PgnSupervision *sup)
{
	send_frames(sup, put_quit);
}

/* The fuller the slots were, the sooner they are read again. */
static void
schedule_take(PgnSupervision *sup, const PgnTaking *taking, int64 now)
{
	if (taking->ring_full)
		sup->take_delay = TAKE_MOST;
	else if (taking->fullness >= FULL)
		sup->take_delay = sup->take_delay / 4;
	else
		sup->take_delay = sup->take_delay * 2;
	sup->take_delay = Max(Min(sup->take_delay, TAKE_MOST), TAKE_LEAST);
	sup->taken = now;
	sup->next_take = now + sup->take_delay;
}

/* When the slots are to be taken next; a backend may have asked for it. */
int64
pgn_outbox_next_take(PgnSupervision *sup)
{
	if (pgn_slots_wanted())
		sup->next_take = Min(sup->next_take, sup->taken + TAKE_WANTED);
	return sup->next_take;
}

void
pgn_outbox_take(PgnSupervision *sup, int64 now)
{
	PgnTaking	taking;

	if (pgn_channel_pending(&sup->channel) > PENDING_ENOUGH)
	{
		sup->next_take = now + TAKE_LEAST;
		return;
	}
	taking = pgn_events_take();
	sup->save_wanted |= taking.events;
	schedule_take(sup, &taking, now);
	if (!pgn_supervise_live(sup) || (sup->request == 0 && !pgn_events_pending(sup->events_sent)))
		return;
	send_frames(sup, put_batch);
	batch_sent(sup);
	pgn_channel_flush(&sup->channel, now);
}
