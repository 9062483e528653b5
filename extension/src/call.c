/*
 * call.c
 *		Which call of a statement the session's messages belong to.
 *
 * The first hook that tells a query id begins the call. Whatever tells one while
 * it lives is nested in it and sends nothing for itself. The message that tells
 * the client of its end also ends it here. So no level of nesting is kept, and
 * nothing has to be put right after an error.
 *
 * Nothing here may raise an error, allocate, lock or wait.
 */
#include "call.h"

#include "miscadmin.h"

#include "settings.h"

#define SUSPENDED 8

/* A call whose portal is suspended. */
typedef struct Suspended
{
	Portal		portal;			/* NULL: none. It may be gone: only to be followed if its name leads to it */
	TimestampTz created;		/* when the portal was */
	char		name[NAMEDATALEN];
	PgnStatementKey key;
	uint64		bytes;
} Suspended;

PgnCall		pgn_call;

/* With more of them than these, the oldest one's bytes so far are missing in its largest call. */
static Suspended suspended[SUSPENDED];

/* Begins a call unless it would be nested in one; says whether it did. */
bool
pgn_call_begin(uint64 queryid, PgnPhase phase)
{
	if (pgn_call.lives || pgn_slot == NULL || !pgn_track_statements)
		return false;
	pgn_call.lives = true;
	pgn_call.counted = false;
	pgn_call.resumed = false;
	pgn_call.borrows = false;
	pgn_call.copies_in = false;
	pgn_call.phase = phase;
	pgn_call.portal = NULL;
	pgn_call.key.queryid = queryid;
	pgn_call.key.userid = GetUserId();
	pgn_call.key.dbid = MyDatabaseId;
	pgn_call.key.class = queryid != 0 ? PGN_CLASS_STATEMENT : PGN_CLASS_NONE;
	pgn_call.entry = NULL;
	pgn_call.bytes = 0;
	pgn_call.rows = 0;
	pgn_call.bytes_in = 0;
	return true;
}

/* The suspended call of a portal that exists. */
static Suspended *
find_suspended(Portal portal)
{
	for (int i = 0; i < SUSPENDED; i++)
	{
		if (suspended[i].portal == portal && suspended[i].created == portal->creation_time)
			return &suspended[i];
	}
	return NULL;
}

static void
resume(Portal portal)
{
	const Suspended *from = find_suspended(portal);

	pgn_call.counted = true;
	pgn_call.resumed = true;
	if (from != NULL)
	{
		pgn_call.key = from->key;
		pgn_call.bytes = from->bytes;
	}
}

/* The call that has begun is of a portal that runs. */
static void
enter(Portal portal)
{
	size_t		len = strnlen(portal->name, sizeof(pgn_call.portal_name) - 1);

	pgn_call.portal = portal;
	memcpy(pgn_call.portal_name, portal->name, len);
	pgn_call.portal_name[len] = '\0';
	if (!portal->atStart)
		resume(portal);
}

/* Begins a call in the active portal, or goes on with it. */
bool
pgn_call_run(uint64 queryid)
{
	Portal		portal = pgn_active_portal();

	/* What is run without a portal was not asked for by the client, but by a trigger at a commit. */
	if (portal == NULL || !pgn_call_begin(queryid, PGN_RUNS))
		return false;
	enter(portal);
	return true;
}

/*
 * The portal that has just come to its end without sending a row: it keeps its
 * rows, and all had been fetched before.
 */
static Portal
finished_portal(void)
{
	for (int i = 0; i < SUSPENDED; i++)
	{
		Portal		portal = suspended[i].portal;

		if (portal != NULL && GetPortalByName(suspended[i].name) == portal &&
			portal->creation_time == suspended[i].created && portal->atEnd)
			return portal;
	}
	return NULL;
}

/*
 * Goes on with the call of a portal that keeps its rows (of INSERT … RETURNING,
 * of EXPLAIN) and calls no hook when it is asked for more of them.
 */
bool
pgn_call_adopt(bool finished)
{
	Portal		portal = pgn_active_portal();
	PlannedStmt *primary;

	if (portal == NULL && finished)
		portal = finished_portal();
	if (portal == NULL)
		return false;
	primary = PortalGetPrimaryStmt(portal);
	if (!pgn_call_begin(primary != NULL ? primary->queryId : 0, PGN_RUNS))
		return false;
	enter(portal);
	return true;
}

/*
 * The entry to count a message of the call in. The call itself is counted with its
 * first message; if it fails before it runs, with the end.
 */
PgnStatement *
pgn_call_count(void)
{
	/* The entry has another key if it was all read, and needed, in the middle of the call. */
	if (unlikely(pgn_call.entry == NULL || pgn_call.entry->serial != pgn_call.serial))
	{
		pgn_call.entry = pgn_slot_statement(&pgn_call.key);
		pgn_call.serial = pgn_call.entry->serial;
	}
	if (!pgn_call.counted && pgn_call.phase == PGN_RUNS)
	{
		pgn_call.entry->counters.calls++;
		pgn_call.counted = true;
	}
	return pgn_call.entry;
}

/* Its portal was suspended: the client may ask for more. */
void
pgn_call_suspend(void)
{
	static int	oldest = 0;
	PgnStatement *entry;
	Suspended  *to;

	if (!pgn_call.lives)
		return;
	pgn_call.lives = false;
	entry = pgn_call_count();
	entry->counters.rows += pgn_call.rows;
	pgn_slot_max(entry, pgn_call.bytes);
	if (pgn_call.portal == NULL || GetPortalByName(pgn_call.portal_name) != pgn_call.portal)
		return;
	to = pgn_call.resumed ? find_suspended(pgn_call.portal) : NULL;
	if (to == NULL)
	{
		to = &suspended[oldest];
		oldest = (oldest + 1) % SUSPENDED;
	}
	to->portal = pgn_call.portal;
	to->created = pgn_call.portal->creation_time;
	memcpy(to->name, pgn_call.portal_name, sizeof(to->name));
	to->key = pgn_call.key;
	to->bytes = pgn_call.bytes;
}

/* It has come to its end, in success or not. */
void
pgn_call_end(uint64 rows)
{
	PgnStatement *entry;

	if (!pgn_call.lives)
		return;
	pgn_call.lives = false;
	if (pgn_call.phase == PGN_PREPARES)
		pgn_call.phase = PGN_RUNS;
	entry = pgn_call_count();
	entry->counters.rows += rows;
	entry->counters.bytes_in += pgn_call.bytes_in;
	pgn_slot_max(entry, pgn_call.bytes);
	for (int i = 0; pgn_call.resumed && i < SUSPENDED; i++)
	{
		if (suspended[i].portal == pgn_call.portal)
			suspended[i].portal = NULL;
	}
}
