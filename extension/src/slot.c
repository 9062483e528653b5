/*
 * slot.c
 *		The slots' memory, and how the worker reads it.
 */
#include "slot.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shmem.h"

#define READ_TRIES 1000			/* until a writer is taken for dead or stopped */

#define COUNTER_WORDS(type) (sizeof(type) / sizeof(uint64))
#define REFUSED_WORDS COUNTER_WORDS(PgnAccountCounters)

/*
 * All is zero at first, which new shared memory is by itself: slots that were
 * never used are not touched, and take no memory of the machine.
 */
typedef struct Slots
{
	pg_atomic_uint64 serial;	/* of the session opened last */
	pg_atomic_uint64 refused[REFUSED_WORDS];	/* as in PgnAccountCounters */
	PgnAccountCounters refused_taken;
	bool		wanted;			/* a backend asks that the slots be taken soon */
	bool		used[FLEXIBLE_ARRAY_MEMBER];	/* each slot, ever */
} Slots;

PgnSlot    *pgn_slot = NULL;
const PgnTaken *pgn_slot_taken = NULL;

static Slots *slots = NULL;

/* Two backends must not write to the same line of a cache. */
#define SLOTS_SIZE CACHELINEALIGN(offsetof(Slots, used) + pgn_slots_count())
#define SLOT_SIZE CACHELINEALIGN(sizeof(PgnSlot))
#define TAKEN_SIZE CACHELINEALIGN(sizeof(PgnTaken))

int
pgn_slots_count(void)
{
	return compat_max_backends();
}

Size
pgn_slots_size(void)
{
	return add_size(SLOTS_SIZE, mul_size(SLOT_SIZE + TAKEN_SIZE, pgn_slots_count()));
}

/* Tells whether a slot was ever used. */
bool
pgn_slot_used(int index)
{
	return slots->used[index];
}

PgnSlot *
pgn_slot_at(int index)
{
	return (PgnSlot *) ((char *) slots + SLOTS_SIZE + (Size) index * SLOT_SIZE);
}

PgnTaken *
pgn_taken_at(int index)
{
	return (PgnTaken *) ((char *) slots + SLOTS_SIZE + (Size) pgn_slots_count() * SLOT_SIZE + (Size) index * TAKEN_SIZE);
}

/* Finds or makes the slots; the caller holds AddinShmemInitLock. */
void
pgn_slots_attach(void)
{
	bool		found;

	slots = ShmemInitStruct("pg_netstat slots", pgn_slots_size(), &found);
	if (found)
		return;
	/* Serials of a former life of the server may still be in the saved file. */
	pg_atomic_init_u64(&slots->serial, (uint64) GetCurrentTimestamp());
	for (size_t i = 0; i < REFUSED_WORDS; i++)
		pg_atomic_init_u64(&slots->refused[i], 0);
	memset(&slots->refused_taken, 0, sizeof(slots->refused_taken));
}

/* A number for a session that is opened. */
uint64
pgn_slot_serial(void)
{
	return pg_atomic_add_fetch_u64(&slots->serial, 1);
}

/* Gives this backend its slot; MyProc must be set. */
void
pgn_slot_acquire(void)
{
	int			index = compat_proc_number();

	if (slots == NULL || index < 0 || index >= pgn_slots_count())
		return;
	pgn_slot = pgn_slot_at(index);
	pgn_slot_taken = pgn_taken_at(index);
	/* The last backend may have gone without its callbacks. */
	if (pgn_slot->version % 2 != 0)
		pgn_slot_end();
	pgn_slot_begin();
	pgn_slot->session.live = false;
	pgn_slot->protocol_out = 0;
	if (pgn_slot->accounts[PGN_OTHER].serial == 0)
	{
		pgn_slot->accounts[PGN_OTHER].serial = 2;
		pgn_slot->accounts[PGN_OTHER].key.flags = PGN_KEY_OTHER;
		pgn_slot->statements[PGN_OTHER].key.class = PGN_CLASS_OTHER;
		pg_write_barrier();
		pgn_slot->statements[PGN_OTHER].serial = 2;
	}
	pgn_slot_end();
	slots->used[index] = true;
}

/*
 * Wakes the worker. A latch that is no worker's any more is set for nothing, so no
 * lock is needed to read where it is.
 */
void
pgn_slots_want(void)
{
	Latch	   *latch = pgn_shared->worker_latch;

	slots->wanted = true;
	if (latch != NULL)
		SetLatch(latch);
}

/* Tells whether some backend has asked to be taken since this was asked last. */
bool
pgn_slots_wanted(void)
{
	bool		wanted = slots->wanted;

	slots->wanted = false;
	return wanted;
}

/*
 * Copies what the sequence lock protects, and the bytes of the protocol that
 * belong to that session; false if somebody is writing and does not end.
 */
bool
pgn_slot_read(const PgnSlot *slot, PgnSession *session, PgnAccount *accounts,
			  uint64 *protocol_out, uint32 *version)
{
	for (int i = 0; i < READ_TRIES; i++)
	{
		uint32		before = *(volatile const uint32 *) &slot->version;

		pg_read_barrier();
		if (before % 2 == 0)
		{
			memcpy(session, &slot->session, sizeof(*session));
			memcpy(accounts, slot->accounts, sizeof(slot->accounts));
			*protocol_out = slot->protocol_out;
			pg_read_barrier();
			*version = *(volatile const uint32 *) &slot->version;
			if (*version == before)
				return true;
		}
		pg_spin_delay();
	}
	return false;
}

/* Copies an entry; false if it has no key, or is being given one. */
bool
pgn_statement_read(const PgnStatement *entry, PgnStatement *copy)
{
	uint64		before = *(volatile const uint64 *) &entry->serial;

	pg_read_barrier();
	memcpy(copy, entry, sizeof(*copy));
	pg_read_barrier();
	return before != 0 && before % 2 == 0 && *(volatile const uint64 *) &entry->serial == before;
}

void
pgn_refused_add(const PgnAccountCounters *counters)
{
	const uint64 *words = (const uint64 *) counters;

	if (slots == NULL)
		return;
	for (size_t i = 0; i < REFUSED_WORDS; i++)
		pg_atomic_fetch_add_u64(&slots->refused[i], (int64) words[i]);
}

void
pgn_refused_read(PgnAccountCounters *counters)
{
	uint64	   *words = (uint64 *) counters;

	for (size_t i = 0; i < REFUSED_WORDS; i++)
		words[i] = pg_atomic_read_u64(&slots->refused[i]);
}

PgnAccountCounters *
pgn_refused_taken(void)
{
	return &slots->refused_taken;
}
