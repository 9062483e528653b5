/*
 * call.h
 *		The call of a statement that the client has asked for.
 */
#ifndef PGN_CALL_H
#define PGN_CALL_H

#include "postgres.h"

#include "slot.h"
#include "storage/ipc.h"
#include "tcop/pquery.h"
#include "utils/portal.h"

typedef enum PgnPhase
{
	PGN_PREPARES,				/* is planned or started, and may fail */
	PGN_RUNS,
	PGN_CLEANS_UP				/* its end was told to the client before */
} PgnPhase;

typedef struct PgnCall
{
	bool		lives;
	bool		counted;		/* as a call, which its first message does */
	bool		resumed;		/* its portal was suspended before */
	bool		borrows;		/* EXECUTE: takes the query id of what it executes */
	bool		copies_in;		/* COPY FROM STDIN that was not asked yet what it has read */
	PgnPhase	phase;
	Portal		portal;			/* the outermost. It may be gone, as a Suspended's may */
	char		portal_name[NAMEDATALEN];
	PgnStatementKey key;
	PgnStatement *entry;		/* of key, NULL before the first message */
	uint64		serial;			/* of entry, as it was then */
	uint64		bytes;			/* sent so far, in all pieces */
	uint64		rows;			/* sent in this piece */
	uint64		bytes_in;
} PgnCall;

/* The one that lives now, if any. */
extern PgnCall pgn_call;

extern bool pgn_call_begin(uint64 queryid, PgnPhase phase);
extern bool pgn_call_run(uint64 queryid);
extern bool pgn_call_adopt(bool finished);
extern PgnStatement *pgn_call_count(void);
extern void pgn_call_suspend(void);
extern void pgn_call_end(uint64 rows);

/*
 * The portal that the client runs, NULL if none. After a FATAL error nothing resets the
 * server's ActivePortal, and messages still come when its transaction has freed that.
 * A pinned portal is a function's, in a Bind's parameter for example.
 */
static inline Portal
pgn_active_portal(void)
{
	Portal		portal = likely(!proc_exit_inprogress) ? ActivePortal : NULL;

	return portal != NULL && likely(!portal->portalPinned) ? portal : NULL;
}

/* The entry to count another message of the call in. */
static inline PgnStatement *
pgn_call_entry(void)
{
	if (likely(pgn_call.counted && pgn_call.entry != NULL && pgn_call.entry->serial == pgn_call.serial))
		return pgn_call.entry;
	return pgn_call_count();
}

/* Ends it without a message: it goes on later, or was none. */
static inline void
pgn_call_leave(void)
{
	pgn_call.lives = false;
}

#endif							/* PGN_CALL_H */
