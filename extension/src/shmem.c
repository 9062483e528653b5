/*
 * shmem.c
 *		Main shared memory: the two halves that hold the snapshots, and the rest
 *		of what shmem.h describes.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "ring.h"
#include "settings.h"
#include "shmem.h"
#include "slot.h"

#define LOCK_NAME "pg_netstat"

PgnShared  *pgn_shared = NULL;

/* Memory of the snapshots' bytes, both halves one after the other. */
static char *halves = NULL;

/* Bytes that the snapshots of one set may take. */
Size
pgn_set_capacity(void)
{
	return (Size) pgn_max_memory * 1024 / 2;
}

/* Asks for the memory and the lock while the server still lets one ask. */
void
pgn_shmem_request(void)
{
	RequestAddinShmemSpace(add_size(MAXALIGN(sizeof(PgnShared)), 2 * pgn_set_capacity()));
	RequestAddinShmemSpace(pgn_slots_size());
	RequestAddinShmemSpace(pgn_ring_size());
	RequestNamedLWLockTranche(LOCK_NAME, 1);
}

/* Finds or makes the shared memory; tells whether it was made now. */
bool
pgn_shmem_attach(void)
{
	Size		fixed = MAXALIGN(sizeof(PgnShared));
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	pgn_shared = ShmemInitStruct("pg_netstat", add_size(fixed, 2 * pgn_set_capacity()), &found);
	if (!found)
	{
		/* Not the halves: memory that nothing was published to stays untouched. */
		memset(pgn_shared, 0, sizeof(PgnShared));
		pgn_shared->lock = &(GetNamedLWLockTranche(LOCK_NAME))->lock;
		pgn_shared->facts.state = PGN_STATE_NO_AGENT;
		ConditionVariableInit(&pgn_shared->reset_cv);
	}
	pgn_slots_attach();
	pgn_ring_attach();
	LWLockRelease(AddinShmemInitLock);
	halves = (char *) pgn_shared + fixed;
	return !found;
}

/* Every function that a user can call needs the shared memory. */
void
pgn_require_shared(void)
{
	if (pgn_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_netstat must be loaded via \"shared_preload_libraries\""),
				 errhint("Add \"pg_netstat\" to that setting, and restart the server.")));
}

static char *
half_data(int half)
{
	return halves + (Size) half * pgn_set_capacity();
}

static PgnEntry *
find_entry(PgnSet *set, const char *name, size_t len)
{
	for (uint32 i = 0; i < set->count; i++)
	{
		PgnEntry   *entry = &set->entries[i];

		if (strlen(entry->name) == len && memcmp(entry->name, name, len) == 0)
			return entry;
	}
	return NULL;
}

/*
 * A copy of a snapshot, with a byte to spare behind it, or NULL if there is
 * none of that name.
 */
char *
pgn_copy_out(const char *name, Size *len)
{
	PgnEntry   *entry;
	char	   *copy = NULL;

	LWLockAcquire(pgn_shared->lock, LW_SHARED);
	entry = find_entry(&pgn_shared->sets[pgn_shared->active], name, strlen(name));
	if (entry != NULL)
	{
		*len = entry->len;
		copy = palloc(entry->len + 1);
		memcpy(copy, half_data(pgn_shared->active) + entry->offset, entry->len);
	}
	LWLockRelease(pgn_shared->lock);
	return copy;
}

void
pgn_set_last_error(const char *message)
{
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	snprintf(pgn_shared->facts.last_error, PGN_ERROR_MAX, "%s", message);
	pgn_shared->facts.last_error_at = GetCurrentTimestamp();
	LWLockRelease(pgn_shared->lock);
}

const PgnSet *
pgn_active_set(void)
{
	return &pgn_shared->sets[pgn_shared->active];
}

/* The bytes of an entry of the active set. */
PgnSlice
pgn_entry_data(const PgnEntry *entry)
{
	PgnSlice	data = {half_data(pgn_shared->active) + entry->offset, entry->len};

	return data;
}

static PgnSet *
staged_set(void)
{
	return &pgn_shared->sets[1 - pgn_shared->active];
}

/* Begins a new set in the inactive half. */
void
pgn_stage_clear(void)
{
	memset(staged_set(), 0, sizeof(PgnSet));
}

/* Closes the gap that an entry leaves which is written once more. */
static void
drop_entry(PgnSet *set, PgnEntry *entry)
{
	char	   *base = half_data(1 - pgn_shared->active);
	uint64		end = entry->offset + entry->len;
	uint64		hole = entry->len;
	uint32		index = entry - set->entries;

	memmove(base + entry->offset, base + end, set->used - end);
	memmove(entry, entry + 1, (set->count - index - 1) * sizeof(PgnEntry));
	set->count--;
	set->used -= hole;
	for (uint32 i = index; i < set->count; i++)
		set->entries[i].offset -= hole;
}

/* Adds a snapshot to the new set; false if there is no room for it. */
bool
pgn_stage_put(PgnSlice name, PgnSlice data)
{
	PgnSet	   *set = staged_set();
	PgnEntry   *entry = find_entry(set, name.data, name.len);

	if (entry != NULL)
		drop_entry(set, entry);
	if (set->count >= PGN_SNAPSHOTS_MAX || data.len > pgn_set_capacity() - set->used)
		return false;
	entry = &set->entries[set->count];
	memset(entry, 0, sizeof(*entry));
	memcpy(entry->name, name.data, name.len);
	entry->offset = set->used;
	entry->len = data.len;
	entry->agent = pgn_shared->facts.starts;
	memcpy(half_data(1 - pgn_shared->active) + entry->offset, data.data, data.len);
	set->used += data.len;
	set->count++;
	return true;
}

/*
 * Copies what the new set lacks from the active one: what the present agent has
 * published, or what is there from others.
 */
static bool
carry_over(bool others)
{
	const PgnSet *active = pgn_active_set();
	PgnSet	   *set = staged_set();

	for (uint32 i = 0; i < active->count; i++)
	{
		const PgnEntry *entry = &active->entries[i];
		PgnSlice	name = {entry->name, strlen(entry->name)};

		if ((entry->agent != pgn_shared->facts.starts) != others || find_entry(set, name.data, name.len) != NULL)
			continue;
		if (!pgn_stage_put(name, pgn_entry_data(entry)))
			return false;
		set->entries[set->count - 1].agent = entry->agent;
	}
	return true;
}

/*
 * Makes the new set visible, in which everything stays that was not written
 * again. False, and nothing changed, if that does not fit. What others than the
 * present agent have left behind must not be in its way, and goes if it is.
 */
bool
pgn_stage_publish(uint64 event_seq, uint64 reset_seq, TimestampTz at, PgnOrigin origin)
{
	PgnSet	   *set = staged_set();
	bool		swap = set->count > 0;

	if (swap && !carry_over(false))
		return false;
	if (swap)
		(void) carry_over(true);
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	if (swap)
		pgn_shared->active = 1 - pgn_shared->active;
	else
		set = &pgn_shared->sets[pgn_shared->active];
	set->published_at = at;
	set->event_seq = event_seq;
	pgn_shared->origin = origin;
	pgn_shared->reset_applied = reset_seq;
	LWLockRelease(pgn_shared->lock);
	ConditionVariableBroadcast(&pgn_shared->reset_cv);
	pgn_stage_clear();
	return true;
}
