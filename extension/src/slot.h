/*
 * slot.h
 *		What a backend tells of its session and of its statements, in a slot of
 *		main shared memory that it alone writes.
 *
 * There is one slot for each possible backend. It outlives the backend: the
 * next one continues its counters, so nothing has to be flushed at an exit and
 * nothing is counted twice. The worker reads the slots, and the postmaster does
 * when no child is left.
 *
 * Who may touch what:
 *
 * The session and the accounts change at the open, the close and the split of a
 * session only. They are under a sequence lock: the version is odd while
 * they are written, and a reader tries again if it changed.
 *
 * The statements are not, since they change with every message. Each of their
 * counters is one aligned word of 8 bytes that never goes back while the entry's
 * serial stays the same, so whatever a reader finds is true or a moment
 * old. The serial is odd while the key changes.
 *
 * What the worker has read of each entry it keeps in the slot's PgnTaken,
 * which it alone writes. An entry may be given another key only if that
 * equals it: then all that it has counted has been read. Where none may, the
 * entry "(other)" takes what comes, and folded says how often. So nobody waits,
 * nothing is allocated, and the sums are exact in any case.
 */
#ifndef PGN_SLOT_H
#define PGN_SLOT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "tcpinfo.h"

#define PGN_ACCOUNTS 16			/* entry 0 is "(other)" */
#define PGN_STATEMENTS 64		/* entry 0 is "(other)" */
#define PGN_OTHER 0
#define PGN_NAMELESS 1			/* account of a session under names that have no place */

#define PGN_FAMILY_UNIX 1
#define PGN_FAMILY_IPV4 4
#define PGN_FAMILY_IPV6 6

/* A peer's or our own address. */
typedef struct PgnAddress
{
	uint8		family;			/* 0 if it is not known */
	uint8		bytes[16];		/* IPv4 in the first four */
} PgnAddress;

/* Whom bytes belong to. All zero but for the address: nobody, "(none)". */
typedef struct PgnAccountKey
{
	uint8		flags;			/* PGN_KEY_… */
	PgnAddress	remote;
	PgnAddress	local;
	Oid			databaseid;
	Oid			roleid;			/* the session's user */
	char		database[NAMEDATALEN];	/* raw, as the client sent them; padded with zeros */
	char		role[NAMEDATALEN];
	char		application[NAMEDATALEN];
} PgnAccountKey;

#define PGN_KEY_NONE 1			/* of no session: database, role and application are unknown */
#define PGN_KEY_OTHER 2			/* of whom is not known, as the slot was full */
#define PGN_KEY_NAMELESS 4		/* the application is not known, as the slot was full */

typedef struct PgnAccountCounters
{
	uint64		opened;
	uint64		closed;
	uint64		failed;
	PgnTraffic	traffic;
} PgnAccountCounters;

typedef struct PgnAccount
{
	uint64		serial;			/* changes with the key; 0: never used */
	PgnAccountKey key;
	PgnAccountCounters counters;
} PgnAccount;

typedef enum PgnSessionKind
{
	PGN_SESSION_CLIENT,
	PGN_SESSION_WALSENDER
} PgnSessionKind;

/* A session that is open. */
typedef struct PgnSession
{
	bool		live;
	bool		tls;
	uint8		kind;			/* PgnSessionKind */
	int32		pid;
	uint16		remote_port;
	uint64		serial;			/* of the server's life; never 0 */
	uint64		cookie;			/* SO_COOKIE; 0 for a Unix socket */
	TimestampTz connected_at;
	PgnAccountKey key;			/* who it is now */
	PgnTraffic	base;			/* the connection's counters when it became so */
	uint64		protocol_base;	/* protocol_out then */
} PgnSession;

typedef enum PgnStatementClass
{
	PGN_CLASS_STATEMENT,
	PGN_CLASS_PROTOCOL,			/* messages of no statement: authentication, ready for query … */
	PGN_CLASS_NONE,				/* of no statement that is known */
	PGN_CLASS_OTHER				/* of which statement is not known, as the slot was full */
} PgnStatementClass;

typedef struct PgnStatementKey
{
	uint64		queryid;
	Oid			userid;
	Oid			dbid;
	uint32		class;			/* PgnStatementClass */
	uint32		unused;
} PgnStatementKey;

typedef struct PgnStatementCounters
{
	uint64		calls;
	uint64		bytes_out;		/* of messages, with their type and length */
	uint64		messages;
	uint64		rows;
	uint64		bytes_in;		/* data of COPY FROM STDIN */
} PgnStatementCounters;

typedef struct PgnStatement
{
	uint64		serial;			/* changes with the key, odd meanwhile; 0: never used */
	PgnStatementKey key;
	PgnStatementCounters counters;
	uint64		max_bytes;		/* of one call, of those that ended since max_epoch began */
	uint64		max_epoch;
} PgnStatement;

/* What the worker has read of an entry. */
typedef struct PgnTakenAccount
{
	uint64		serial;
	PgnAccountCounters counters;
} PgnTakenAccount;

typedef struct PgnTakenStatement
{
	uint64		serial;
	PgnStatementCounters counters;
	uint64		epoch;			/* increased when the entry is taken */
	uint64		max_bytes;		/* read in the epoch before this one */
} PgnTakenStatement;

/* Written by the worker alone. */
typedef struct PgnTaken
{
	uint64		times;			/* how often the slot was taken */
	uint64		folded;
	PgnTakenAccount accounts[PGN_ACCOUNTS];
	PgnTakenStatement statements[PGN_STATEMENTS];
} PgnTaken;

/* Written by the slot's backend alone. */
typedef struct PgnSlot
{
	uint32		version;		/* of session and accounts; odd while they are written */
	uint64		protocol_out;	/* bytes of the session's messages so far */
	uint64		messages;		/* of all sessions; tells the worker that statements changed */
	uint64		folded;			/* how often "(other)" had to do */
	uint64		times;			/* how often it had been taken when these were zero: */
	uint32		new_accounts;	/* entries that were given another key since */
	uint32		new_statements;
	uint32		next_account;	/* the one to be given another key next, modulo their number */
	PgnSession	session;
	PgnAccount	accounts[PGN_ACCOUNTS];
	PgnStatement statements[PGN_STATEMENTS];
} PgnSlot;

/*
 * Tells whether the largest call is one that was not read: it is of the present
 * epoch, or its backend came to know too late that the worker began another.
 */
static inline bool
pgn_max_is_new(const PgnStatement *entry, const PgnTakenStatement *taken)
{
	if (entry->max_epoch == taken->epoch)
		return entry->max_bytes > 0;
	return entry->max_epoch + 1 == taken->epoch && entry->max_bytes > taken->max_bytes;
}

/* This backend's slot, NULL before it has one and after its end. */
extern PgnSlot *pgn_slot;
extern const PgnTaken *pgn_slot_taken;

extern Size pgn_slots_size(void);
extern void pgn_slots_attach(void);
extern int	pgn_slots_count(void);

/* For the slot's backend. */
extern void pgn_slot_acquire(void);
extern void pgn_slots_want(void);
extern void pgn_slot_begin(void);
extern void pgn_slot_end(void);
extern uint64 pgn_slot_serial(void);
extern PgnAccount *pgn_slot_account(const PgnAccountKey *key);
extern PgnStatement *pgn_slot_statement(const PgnStatementKey *key);
extern void pgn_slot_max(PgnStatement *entry, uint64 bytes);

/*
 * What connections counted that ended before they were given a place among the
 * backends, so that no slot is theirs: there were too many, or the server was
 * not ready.
 */
extern void pgn_refused_add(const PgnAccountCounters *counters);

/* For the worker. */
extern bool pgn_slots_wanted(void);
extern bool pgn_slot_used(int index);
extern PgnSlot *pgn_slot_at(int index);
extern PgnTaken *pgn_taken_at(int index);
extern bool pgn_slot_read(const PgnSlot *slot, PgnSession *session, PgnAccount *accounts,
						  uint64 *protocol_out, uint32 *version);
extern bool pgn_statement_read(const PgnStatement *entry, PgnStatement *copy);
extern void pgn_refused_read(PgnAccountCounters *counters);
extern PgnAccountCounters *pgn_refused_taken(void);

#endif							/* PGN_SLOT_H */
