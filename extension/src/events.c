/*
 * events.c
 *		Reads the slots, makes numbered events of what they have counted, and tells
 *		the agent of them and of the sessions that are open.
 *
 * A slot is taken as a whole or not at all. Its events are appended to the
 * ring, and only then does its PgnTaken say that they were read, with nothing in
 * between that could fail: a worker that dies, or an agent that does, loses
 * nothing and counts nothing twice. What a session is now goes beside the events
 * of the same reading, so that its end and its last figures are seen at once.
 */
#include "events.h"

#include "utils/memutils.h"

#include "report.h"
#include "ring.h"

/* What is known of a slot; lost with the process, which then reads it again. */
typedef struct Known
{
	bool		read;			/* ever */
	uint32		version;		/* as the session was read */
	uint64		messages;		/* as the statements were read */
	PgnSession	session;
	uint64		protocol_out;
	uint64		told;			/* serial of the session that the agent knows; 0: none */
	bool		changed;		/* since the agent was told */
} Known;

static Known *known = NULL;

/* A slot's contents, as they are being taken. */
static PgnSession session;
static PgnAccount accounts[PGN_ACCOUNTS];
static PgnStatement statements[PGN_STATEMENTS];
static bool is_read[PGN_STATEMENTS];

/* The events made of them. */
static struct
{
	char		bytes[PGN_ACCOUNTS * PGN_ACCOUNT_EVENT_MAX + PGN_STATEMENTS * PGN_STATEMENT_EVENT_MAX + PGN_FOLDED_EVENT_MAX];
	PgnWriter	writer;
	uint32		count;
}			batch;

static void
begin_batch(void)
{
	memset(&batch.writer, 0, sizeof(batch.writer));
	batch.writer.data = batch.bytes;
	batch.writer.size = sizeof(batch.bytes);
	batch.count = 0;
}

static uint64
next_number(void)
{
	batch.count++;
	return pgn_ring_last() + batch.count;
}

/* Appends the events to the ring, all or none. */
static bool
append_batch(PgnTaking *taking)
{
	PgnSlice	frames = {batch.bytes, batch.writer.len};

	Assert(batch.writer.len <= batch.writer.size);
	if (batch.count == 0)
		return true;
	if (!pgn_ring_append(frames, batch.count, false))
	{
		taking->ring_full = true;
		return false;
	}
	taking->events = true;
	return true;
}

/* Counters are structs of nothing but words; tells whether any has changed. */
static bool
subtract(void *delta, const void *now, const void *before, size_t size)
{
	bool		changed = false;

	for (size_t i = 0; i < size / sizeof(uint64); i++)
	{
		uint64		d = ((const uint64 *) now)[i] - (before != NULL ? ((const uint64 *) before)[i] : 0);

		((uint64 *) delta)[i] = d;
		changed |= d != 0;
	}
	return changed;
}

static void
note_fullness(PgnTaking *taking, int changed, int entries)
{
	taking->fullness = Max(taking->fullness, changed * 100 / entries);
}

static void
add_accounts(const PgnTaken *taken, PgnTaking *taking)
{
	int			changed = 0;

	for (int i = 0; i < PGN_ACCOUNTS; i++)
	{
		const PgnAccount *entry = &accounts[i];
		const PgnTakenAccount *before = &taken->accounts[i];
		PgnAccountCounters delta;

		if (!subtract(&delta, &entry->counters,
					  before->serial == entry->serial ? &before->counters : NULL, sizeof(delta)))
			continue;
		pgn_put_account(&batch.writer, next_number(), &entry->key, &delta);
		changed++;
	}
	note_fullness(taking, changed, PGN_ACCOUNTS);
}

static void
add_statements(const PgnSlot *slot, const PgnTaken *taken, PgnTaking *taking)
{
	int			changed = 0;

	for (int i = 0; i < PGN_STATEMENTS; i++)
	{
		const PgnStatement *entry = &statements[i];
		const PgnTakenStatement *before = &taken->statements[i];
		PgnStatementCounters delta;
		bool		new_max;

		is_read[i] = pgn_statement_read(&slot->statements[i], &statements[i]);
		if (!is_read[i])
			continue;
		new_max = pgn_max_is_new(entry, before);
		is_read[i] = subtract(&delta, &entry->counters,
							  before->serial == entry->serial ? &before->counters : NULL, sizeof(delta)) || new_max;
		if (!is_read[i])
			continue;
		pgn_put_statement(&batch.writer, next_number(), &entry->key, &delta, new_max ? entry->max_bytes : 0);
		changed++;
	}
	note_fullness(taking, changed, PGN_STATEMENTS);
}

static void
accounts_taken(PgnTaken *taken)
{
	for (int i = 0; i < PGN_ACCOUNTS; i++)
	{
		taken->accounts[i].counters = accounts[i].counters;
		pg_write_barrier();
		taken->accounts[i].serial = accounts[i].serial;
	}
}

static void
statements_taken(PgnTaken *taken)
{
	for (int i = 0; i < PGN_STATEMENTS; i++)
	{
		PgnTakenStatement *entry = &taken->statements[i];

		if (!is_read[i])
			continue;
		entry->max_bytes = statements[i].max_epoch == entry->epoch ? statements[i].max_bytes : 0;
		entry->epoch++;
		entry->counters = statements[i].counters;
		pg_write_barrier();
		entry->serial = statements[i].serial;
	}
}

/* Bytes of the protocol change without the lock, and matter to Unix sockets only. */
static bool
protocol_changed(const PgnSlot *slot, const Known *k)
{
	return k->session.live && k->session.key.remote.family == PGN_FAMILY_UNIX &&
		slot->protocol_out != k->protocol_out;
}

/* Takes a slot, if something has changed in it. */
static void
take_slot(PgnSlot *slot, PgnTaken *taken, Known *k, PgnTaking *taking)
{
	uint64		messages = slot->messages;
	uint64		folded = slot->folded;
	bool		who = !k->read || slot->version != k->version || protocol_changed(slot, k);
	bool		what = !k->read || messages != k->messages;
	uint64		protocol_out;
	uint32		version;

	if (!who && !what && folded == taken->folded)
		return;
	pg_read_barrier();
	if (who && !pgn_slot_read(slot, &session, accounts, &protocol_out, &version))
	{
		/* Its backend does not get on; another time, soon. */
		note_fullness(taking, 1, 1);
		return;
	}
	begin_batch();
	if (who)
		add_accounts(taken, taking);
	if (what)
		add_statements(slot, taken, taking);
	if (folded != taken->folded)
	{
		pgn_put_folded(&batch.writer, next_number(), folded - taken->folded);
		note_fullness(taking, 1, 1);
	}
	if (!append_batch(taking))
		return;
	/* The slot was read before anything says so: its backend may overwrite it then. */
	pg_memory_barrier();
	if (who)
		accounts_taken(taken);
	if (what)
		statements_taken(taken);
	taken->folded = folded;
	taken->times++;
	k->messages = messages;
	k->read = true;
	if (!who)
		return;
	k->version = version;
	k->session = session;
	k->protocol_out = protocol_out;
	k->changed = true;
}

/* Takes what no slot has counted. */
static void
take_refused(PgnTaking *taking)
{
	PgnAccountKey key;
	PgnAccountCounters now;
	PgnAccountCounters delta;

	pgn_refused_read(&now);
	if (!subtract(&delta, &now, pgn_refused_taken(), sizeof(delta)))
		return;
	memset(&key, 0, sizeof(key));
	key.flags = PGN_KEY_NONE;
	begin_batch();
	pgn_put_account(&batch.writer, next_number(), &key, &delta);
	if (append_batch(taking))
		*pgn_refused_taken() = now;
}

/* Takes all that has changed. Never raises an error. */
PgnTaking
pgn_events_take(void)
{
	PgnTaking	taking = {0, false, false};

	if (known == NULL)
		known = MemoryContextAllocExtended(TopMemoryContext, sizeof(Known) * pgn_slots_count(),
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (known == NULL)
		return taking;
	for (int i = 0; i < pgn_slots_count(); i++)
	{
		if (pgn_slot_used(i))
			take_slot(pgn_slot_at(i), pgn_taken_at(i), &known[i], &taking);
	}
	take_refused(&taking);
	return taking;
}

/* There is a new agent, who knows of nobody. */
void
pgn_events_forget_agent(void)
{
	for (int i = 0; known != NULL && i < pgn_slots_count(); i++)
	{
		known[i].told = 0;
		known[i].changed = true;
	}
}

/* Tells whether the agent, who has had the events before a position, lacks something. */
bool
pgn_events_pending(uint64 from)
{
	if (from != pgn_ring_head())
		return true;
	for (int i = 0; known != NULL && i < pgn_slots_count(); i++)
	{
		if (known[i].changed && (known[i].told != 0 || known[i].session.live))
			return true;
	}
	return false;
}

/* Writes all that the agent lacks, and the end of it. */
void
pgn_events_put(PgnWriter *writer, uint64 from, uint32 request)
{
	PgnSlice	parts[2];

	pgn_ring_parts(from, parts);
	pgn_put_bytes(writer, parts[0].data, parts[0].len);
	pgn_put_bytes(writer, parts[1].data, parts[1].len);
	for (int i = 0; known != NULL && i < pgn_slots_count(); i++)
	{
		const Known *k = &known[i];

		if (!k->changed)
			continue;
		if (k->told != 0 && (!k->session.live || k->session.serial != k->told))
			pgn_put_ended(writer, k->told);
		if (k->session.live)
			pgn_put_live(writer, &k->session, k->protocol_out);
	}
	pgn_put_taken(writer, request, pgn_ring_last());
}

/* The agent was sent what pgn_events_put wrote. */
void
pgn_events_told(void)
{
	for (int i = 0; known != NULL && i < pgn_slots_count(); i++)
	{
		known[i].told = known[i].session.live ? known[i].session.serial : 0;
		known[i].changed = false;
	}
}

/* Tells whether there are sessions that end before the server does; walsenders come last. */
bool
pgn_sessions_left(void)
{
	for (int i = 0; i < pgn_slots_count(); i++)
	{
		const volatile PgnSession *left = &pgn_slot_at(i)->session;

		if (pgn_slot_used(i) && left->live && left->kind != PGN_SESSION_WALSENDER)
			return true;
	}
	return false;
}

/* The session that was open in a slot when it was taken last, or NULL. */
const PgnSession *
pgn_events_live(int index)
{
	return known != NULL && known[index].session.live ? &known[index].session : NULL;
}

/*
 * A session that was open when the file was saved, and of whose end nobody
 * knows; false if there is no room for it.
 */
bool
pgn_events_add_ghost(const PgnSession *ghost)
{
	PgnSlice	frame = {batch.bytes, 0};

	begin_batch();
	pgn_put_ghost(&batch.writer, next_number(), ghost);
	frame.len = batch.writer.len;
	return pgn_ring_append(frame, batch.count, true);
}
