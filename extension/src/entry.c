/*
 * entry.c
 *		How a slot's backend finds the entries that it counts in.
 */
#include "slot.h"

#define PROBES 16				/* entries that a statement may be in */

/* So many new keys since the slot was taken make its backend ask for that. */
#define MANY_ACCOUNTS 3
#define MANY_STATEMENTS 24

static bool many_accounts = false;	/* were given new keys */

/* Session and accounts may be written between these two. */
void
pgn_slot_begin(void)
{
	pgn_slot->version++;
	pg_write_barrier();
}

void
pgn_slot_end(void)
{
	pg_write_barrier();
	pgn_slot->version++;
	if (many_accounts)
		pgn_slots_want();
	many_accounts = false;
}

/*
 * Counts a key that an entry was given; true, once, when there are many of them
 * since the slot was taken.
 */
static bool
note_new_key(uint32 *keys, uint32 many)
{
	if (pgn_slot->times != pgn_slot_taken->times)
	{
		pgn_slot->times = pgn_slot_taken->times;
		pgn_slot->new_accounts = pgn_slot->new_statements = 0;
	}
	return ++*keys == many;
}

static bool
account_is_read(int index)
{
	const PgnAccount *entry = &pgn_slot->accounts[index];
	const PgnTakenAccount *read = &pgn_slot_taken->accounts[index];

	if (*(volatile const uint64 *) &read->serial != entry->serial)
		return false;
	/* The worker wrote the counters first. */
	pg_read_barrier();
	return memcmp(&read->counters, &entry->counters, sizeof(entry->counters)) == 0;
}

/* Gives an entry that was read another key. */
static PgnAccount *
give_account(int index, const PgnAccountKey *key)
{
	PgnAccount *entry = &pgn_slot->accounts[index];

	/* The worker read the entry before it said so. */
	pg_memory_barrier();
	entry->serial += 2;
	entry->key = *key;
	memset(&entry->counters, 0, sizeof(entry->counters));
	many_accounts |= note_new_key(&pgn_slot->new_accounts, MANY_ACCOUNTS);
	return entry;
}

static bool
has_key(const PgnAccount *entry, const PgnAccountKey *key)
{
	return entry->serial != 0 && memcmp(&entry->key, key, sizeof(*key)) == 0;
}

/*
 * The account of all names of a session that find no place: its database, role
 * and client are known at least. "(other)" if even that is taken, by the session
 * before.
 */
static PgnAccount *
nameless_account(const PgnAccountKey *key)
{
	PgnAccountKey nameless = *key;

	if ((key->flags & PGN_KEY_NONE) == 0)
		nameless.flags |= PGN_KEY_NAMELESS;
	memset(nameless.application, 0, sizeof(nameless.application));
	pgn_slot->folded++;
	if (has_key(&pgn_slot->accounts[PGN_NAMELESS], &nameless))
		return &pgn_slot->accounts[PGN_NAMELESS];
	if (account_is_read(PGN_NAMELESS))
		return give_account(PGN_NAMELESS, &nameless);
	return &pgn_slot->accounts[PGN_OTHER];
}

/*
 * The account of a key, whose unused bytes are zero, or what is nearest to it if all
 * that there are hold what was not read. To be called between begin and end.
 */
PgnAccount *
pgn_slot_account(const PgnAccountKey *key)
{
	const uint32 named = PGN_ACCOUNTS - PGN_NAMELESS - 1;

	for (int i = PGN_NAMELESS + 1; i < PGN_ACCOUNTS; i++)
	{
		if (has_key(&pgn_slot->accounts[i], key))
			return &pgn_slot->accounts[i];
	}
	for (uint32 i = 0; i < named; i++)
	{
		int			index = PGN_NAMELESS + 1 + pgn_slot->next_account++ % named;

		if (account_is_read(index))
			return give_account(index, key);
	}
	return nameless_account(key);
}

static inline bool
same_statement(const PgnStatementKey *a, const PgnStatementKey *b)
{
	return a->queryid == b->queryid && a->userid == b->userid && a->dbid == b->dbid && a->class == b->class;
}

static bool
statement_is_read(int index)
{
	const PgnStatement *entry = &pgn_slot->statements[index];
	const PgnTakenStatement *read = &pgn_slot_taken->statements[index];

	if (*(volatile const uint64 *) &read->serial != entry->serial)
		return false;
	/* The worker wrote the counters first. */
	pg_read_barrier();
	return memcmp(&read->counters, &entry->counters, sizeof(entry->counters)) == 0 && !pgn_max_is_new(entry, read);
}

static PgnStatement *
give_statement(int index, const PgnStatementKey *key)
{
	PgnStatement *entry = &pgn_slot->statements[index];

	/* The worker read the entry before it said so. */
	pg_memory_barrier();
	entry->serial++;
	pg_write_barrier();
	entry->key = *key;
	memset(&entry->counters, 0, sizeof(entry->counters));
	entry->max_bytes = 0;
	entry->max_epoch = pgn_slot_taken->statements[index].epoch;
	pg_write_barrier();
	entry->serial++;
	if (note_new_key(&pgn_slot->new_statements, MANY_STATEMENTS))
		pgn_slots_want();
	return entry;
}

static PgnStatement *
find_statement(const PgnStatementKey *key)
{
	uint64		hash = (key->queryid ^ (uint64) key->userid << 32 ^ key->dbid ^ (uint64) key->class << 24) *
		UINT64CONST(0x9E3779B97F4A7C15);
	int			index = (hash >> 32) % (PGN_STATEMENTS - 1) + 1;
	int			usable = 0;

	for (int i = 0; i < PROBES; i++)
	{
		PgnStatement *entry = &pgn_slot->statements[index];

		if (entry->serial != 0 && same_statement(&entry->key, key))
			return entry;
		if (usable == 0 && statement_is_read(index))
			usable = index;
		index = index % (PGN_STATEMENTS - 1) + 1;
	}
	if (usable != 0)
		return give_statement(usable, key);
	pgn_slot->folded++;
	return &pgn_slot->statements[PGN_OTHER];
}

/* The statement of a key; "(other)" if those where it may be hold what was not read. */
PgnStatement *
pgn_slot_statement(const PgnStatementKey *key)
{
	static PgnStatement *last = NULL;

	if (likely(last != NULL && same_statement(&last->key, key)))
		return last;
	last = find_statement(key);
	return last;
}

/* A call of an entry has sent so many bytes; the worker knows if this comes late for its epoch. */
void
pgn_slot_max(PgnStatement *entry, uint64 bytes)
{
	uint64		epoch = *(volatile const uint64 *) &pgn_slot_taken->statements[entry - pgn_slot->statements].epoch;

	if (unlikely(entry->max_epoch != epoch))
	{
		entry->max_bytes = 0;
		pg_write_barrier();
		entry->max_epoch = epoch;
	}
	if (entry->max_bytes < bytes)
		entry->max_bytes = bytes;
}
