/*
 * shmem.h
 *		What the worker shares with the backends and leaves to its successor:
 *		the snapshots, facts about worker and agent, requests to reset.
 *
 * Who may touch what:
 *
 * The snapshots are kept in two halves. Readers copy out of the active one
 * while they hold the lock shared. The worker alone writes: into the inactive
 * half without any lock, since nobody reads there; then it makes that half the
 * active one under the exclusive lock. So no reader waits for a copy, and a
 * worker that dies leaves at most a dirty inactive half.
 *
 * All other members are protected by the lock, except that the worker may read
 * without it what only the worker writes.
 */
#ifndef PGN_SHMEM_H
#define PGN_SHMEM_H

#include "datatype/timestamp.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "frame.h"

#define PGN_SNAPSHOTS_MAX 64	/* in one set */
#define PGN_ERROR_MAX 512		/* bytes of last_error */

typedef enum PgnState
{
	PGN_STATE_STARTING,			/* an agent runs, but has published nothing yet */
	PGN_STATE_RUNNING,
	PGN_STATE_NO_AGENT,			/* it is dead or missing, and will be started */
	PGN_STATE_RESTART_NEEDED	/* module and agent are of different versions */
} PgnState;

/* How the agent learns where its first snapshots come from. */
typedef enum PgnOrigin
{
	PGN_ORIGIN_NOTHING,
	PGN_ORIGIN_MEMORY,
	PGN_ORIGIN_FILE
} PgnOrigin;

typedef struct PgnEntry
{
	char		name[PGN_NAME_MAX + 1];
	uint64		offset;			/* in the half's bytes */
	uint64		len;
	int64		agent;			/* which agent of this server published it; 0 if none */
} PgnEntry;

/* One half: a set of snapshots, and what it contains. */
typedef struct PgnSet
{
	uint32		count;
	uint64		used;			/* bytes */
	TimestampTz published_at;	/* 0 if never */
	uint64		event_seq;
	PgnEntry	entries[PGN_SNAPSHOTS_MAX];
} PgnSet;

/* Facts about worker and agent, for the status view. */
typedef struct PgnFacts
{
	PgnState	state;
	int			worker_pid;		/* 0 if there is none */
	int			agent_pid;		/* 0 if there is none */
	char		agent_version[64];
	TimestampTz started_at;		/* of the agent; 0 if it never was */
	int64		starts;			/* how often an agent was started */
	char		last_error[PGN_ERROR_MAX];
	TimestampTz last_error_at;
	TimestampTz saved_at;
} PgnFacts;

typedef struct PgnShared
{
	LWLock	   *lock;
	Latch	   *worker_latch;	/* NULL if there is no worker */
	bool		loaded;			/* the saved file was looked at */
	bool		worker_ended;	/* no worker was stopped in the middle; read when none is left */
	PgnOrigin	origin;			/* of the active set */

	/*
	 * Requests to reset since the server started. Their numbers go on from
	 * those in the saved file, of which backends know nothing.
	 */
	uint64		reset_base;
	uint64		reset_requests;
	uint64		reset_applied;	/* base included */
	ConditionVariable reset_cv;

	PgnFacts	facts;
	int			active;			/* which half is read */
	PgnSet		sets[2];
} PgnShared;

/* NULL if the module was not preloaded. */
extern PgnShared *pgn_shared;

extern void pgn_shmem_request(void);
extern bool pgn_shmem_attach(void);
extern Size pgn_set_capacity(void);
extern void pgn_require_shared(void);

/* For everybody. */
extern char *pgn_copy_out(const char *name, Size *len);
extern void pgn_set_last_error(const char *message);

/* For the worker alone, and for the postmaster when nobody else is left. */
extern const PgnSet *pgn_active_set(void);
extern PgnSlice pgn_entry_data(const PgnEntry *entry);
extern void pgn_stage_clear(void);
extern bool pgn_stage_put(PgnSlice name, PgnSlice data);
extern bool pgn_stage_publish(uint64 event_seq, uint64 reset_seq, TimestampTz at, PgnOrigin origin);

#endif							/* PGN_SHMEM_H */
