/*
 * statement.c
 *		Whose bytes a session's messages are: decided by the type of each.
 *
 * What a statement sends goes to the outermost one, what the protocol needs to
 * "(protocol)", and what no statement is known for to "(none)". Every message
 * counts once, so that their sum is what the session sent.
 *
 * Nothing here may raise an error, allocate, lock or wait. It may also run in the
 * server's handler of SIGQUIT.
 */
#include "statement.h"

#include "commands/progress.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "utils/backend_status.h"

#include "call.h"
#include "compat.h"
#include "hooks.h"

#define HEADER 5				/* of a message: its type, and its length in 4 bytes */

static PgnStatement *ownerless[PGN_CLASS_OTHER];	/* by class; NULL if not known */

/* To be called while the server preloads its libraries. */
void
pgn_statement_init(void)
{
	/* Otherwise compute_query_id = auto yields none. */
	EnableQueryId();
}

/* The session is open, and all that is loaded for it is there. */
void
pgn_statement_open(void)
{
	pgn_hooks_install();
}

static pg_noinline PgnStatement *
find_ownerless(PgnStatementClass class)
{
	PgnStatementKey key = {.userid = GetSessionUserId(), .dbid = MyDatabaseId, .class = class};

	return ownerless[class] = pgn_slot_statement(&key);
}

/* The entry of what belongs to no statement, under the session's user. */
static inline PgnStatement *
ownerless_entry(PgnStatementClass class)
{
	PgnStatement *entry = ownerless[class];

	if (likely(entry != NULL && entry->key.class == class && entry->key.userid == GetSessionUserId() &&
			   entry->key.dbid == MyDatabaseId))
		return entry;
	return find_ownerless(class);
}

/* What a type of message tells; others serve the protocol and nothing else. */
#define OF_STATEMENT 1			/* it is of a statement, if one is known */
#define ENDS 2					/* with it a call ends, or the answer to the client does */

static const uint8 told[256] = {
	['T'] = OF_STATEMENT,		/* RowDescription */
	['D'] = OF_STATEMENT,		/* DataRow */
	['G'] = OF_STATEMENT,		/* CopyInResponse */
	['H'] = OF_STATEMENT,		/* CopyOutResponse */
	['W'] = OF_STATEMENT,		/* CopyBothResponse */
	['d'] = OF_STATEMENT,		/* CopyData */
	['c'] = OF_STATEMENT,		/* CopyDone */
	['N'] = OF_STATEMENT,		/* NoticeResponse */
	['C'] = OF_STATEMENT | ENDS,	/* CommandComplete */
	['s'] = OF_STATEMENT | ENDS,	/* PortalSuspended */
	['I'] = OF_STATEMENT | ENDS,	/* EmptyQueryResponse */
	['E'] = OF_STATEMENT | ENDS,	/* ErrorResponse */
	['1'] = ENDS,				/* ParseComplete */
	['2'] = ENDS,				/* BindComplete */
	['Z'] = ENDS,				/* ReadyForQuery */
};

/* A RowDescription outside of a portal answers a Describe, if it answers no replication command. */
static inline PgnStatementClass
ownerless_class(char type)
{
	if ((told[(uint8) type] & OF_STATEMENT) == 0 || (type == 'T' && !am_walsender))
		return PGN_CLASS_PROTOCOL;
	return PGN_CLASS_NONE;
}

/* The number at the end of a command's tag, which is of rows; 0 if there is none. */
static uint64
tag_rows(const char *tag, size_t len)
{
	size_t		end = len > 0 && tag[len - 1] == '\0' ? len - 1 : len;
	size_t		at = end;
	uint64		rows = 0;

	while (at > 0 && tag[at - 1] >= '0' && tag[at - 1] <= '9')
		at--;
	for (; at < end; at++)
		rows = rows * 10 + (tag[at] - '0');
	return rows;
}

/*
 * What a COPY FROM STDIN that fails has read. Its progress is the server's own
 * view's, and not known where track_activities is off.
 */
static void
ask_failed_copy(void)
{
	if (pgn_call.lives && pgn_call.copies_in && pgstat_track_activities && MyBEEntry != NULL &&
		MyBEEntry->st_progress_command == PROGRESS_COMMAND_COPY)
		pgn_call.bytes_in = MyBEEntry->st_progress_param[PROGRESS_COPY_BYTES_PROCESSED];
}

static pg_noinline void
end_with(char type, const char *body, size_t len)
{
	switch (type)
	{
		case 'C':
			pgn_call_end(tag_rows(body, len));
			break;
		case 's':
			pgn_call_suspend();
			break;
		case 'E':
			ask_failed_copy();
			pgn_call_end(0);
			break;
		case 'I':
			pgn_call_end(0);
			break;
		case 'Z':
		case '1':
		case '2':
			/* A parameter's function with a cursor of its own begins a call which no message ends. */
			pgn_call_leave();
			break;
	}
}

/* The session, which has its slot and is open, sends a message whose body has len bytes. */
void
pgn_statement_message(char type, const char *body, size_t len)
{
	const uint64 bytes = HEADER + len;
	const uint8 tells = told[(uint8) type];
	PgnStatement *entry;

	if ((tells & OF_STATEMENT) != 0 && (pgn_call.lives || pgn_call_adopt(type == 'C')))
	{
		entry = pgn_call_entry();
		pgn_call.bytes += bytes;
		pgn_call.rows += type == 'D';
	}
	else
		entry = ownerless_entry(ownerless_class(type));
	entry->counters.bytes_out += bytes;
	entry->counters.messages++;
	if ((tells & ENDS) != 0)
		end_with(type, body, len);
}

/* The session ends, perhaps in the middle of a statement. */
void
pgn_statement_close(void)
{
	ask_failed_copy();
	pgn_call_end(0);
}
