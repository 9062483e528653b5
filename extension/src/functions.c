/*
 * functions.c
 *		The functions besides pg_netstat_read: facts about the worker, and reset.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "shmem.h"
#include "text.h"

PG_FUNCTION_INFO_V1(pg_netstat_name);
PG_FUNCTION_INFO_V1(pg_netstat_worker);
PG_FUNCTION_INFO_V1(pg_netstat_reset);

#define WORKER_COLUMNS 10
#define RESET_WAIT 5000			/* ms */

/*
 * A name of the catalogs that are shared by all databases, whatever their encoding:
 * its bytes need not be text here, and where a client's encoding is another, the
 * server would fail its query for that.
 */
Datum
pg_netstat_name(PG_FUNCTION_ARGS)
{
	const char *name = NameStr(*PG_GETARG_NAME(0));
	PgnSlice	bytes = {name, strlen(name)};
	Size		len;
	char	   *text = pgn_text(GetDatabaseEncoding(), bytes, true, &len);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(text, (int) len));
}

static const char *
state_name(const PgnFacts *facts)
{
	if (facts->worker_pid == 0)
		return "no worker";
	switch (facts->state)
	{
		case PGN_STATE_STARTING:
			return "starting";
		case PGN_STATE_RUNNING:
			return "running";
		case PGN_STATE_NO_AGENT:
			return "no agent";
		case PGN_STATE_RESTART_NEEDED:
			return "restart needed";
	}
	return NULL;
}

/* Sets the next column, to null if the fact is not known. */
static void
add_column(Datum *values, bool *nulls, int *column, bool is_known, Datum value)
{
	values[*column] = value;
	nulls[*column] = !is_known;
	(*column)++;
}

static void
add_text(Datum *values, bool *nulls, int *column, const char *string)
{
	PgnSlice	bytes = {string, strlen(string)};
	Size		len;
	char	   *text = pgn_text(GetDatabaseEncoding(), bytes, true, &len);

	add_column(values, nulls, column, len > 0, CStringGetTextDatum(text));
}

static void
add_time(Datum *values, bool *nulls, int *column, TimestampTz at)
{
	add_column(values, nulls, column, at != 0, TimestampTzGetDatum(at));
}

Datum
pg_netstat_worker(PG_FUNCTION_ARGS)
{
	Datum		values[WORKER_COLUMNS];
	bool		nulls[WORKER_COLUMNS];
	int			i = 0;
	TupleDesc	desc;
	PgnFacts	facts;
	TimestampTz published_at;

	pgn_require_shared();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != WORKER_COLUMNS)
		elog(ERROR, "pg_netstat_worker is declared with another result than it has");
	LWLockAcquire(pgn_shared->lock, LW_SHARED);
	facts = pgn_shared->facts;
	published_at = pgn_active_set()->published_at;
	LWLockRelease(pgn_shared->lock);

	add_text(values, nulls, &i, state_name(&facts));
	add_column(values, nulls, &i, facts.worker_pid != 0, Int32GetDatum(facts.worker_pid));
	add_column(values, nulls, &i, facts.agent_pid != 0, Int32GetDatum(facts.agent_pid));
	add_text(values, nulls, &i, facts.agent_version);
	add_time(values, nulls, &i, facts.started_at);
	add_column(values, nulls, &i, true, Int64GetDatum(Max(facts.starts - 1, 0)));
	add_text(values, nulls, &i, facts.last_error);
	add_time(values, nulls, &i, facts.last_error_at);
	add_time(values, nulls, &i, published_at);
	add_time(values, nulls, &i, facts.saved_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Makes a request and wakes the worker; returns the request's number. */
static uint64
request_reset(void)
{
	uint64		number;
	Latch	   *latch;

	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	number = ++pgn_shared->reset_requests;
	latch = pgn_shared->worker_latch;
	LWLockRelease(pgn_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
	return number;
}

static bool
reset_is_applied(uint64 number)
{
	bool		applied;

	LWLockAcquire(pgn_shared->lock, LW_SHARED);
	applied = pgn_shared->loaded && pgn_shared->reset_applied >= pgn_shared->reset_base + number;
	LWLockRelease(pgn_shared->lock);
	return applied;
}

Datum
pg_netstat_reset(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	uint64		number;
	bool		applied;

	(void) fcinfo;
	pgn_require_shared();
	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RESET_WAIT);
	number = request_reset();
	ConditionVariablePrepareToSleep(&pgn_shared->reset_cv);
	while (!(applied = reset_is_applied(number)))
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		/* A clock that was stepped back must not prolong the wait. */
		if (left <= 0 || ConditionVariableTimedSleep(&pgn_shared->reset_cv, Min(left, RESET_WAIT), PG_WAIT_EXTENSION))
			break;
	}
	ConditionVariableCancelSleep();
	if (!applied && !reset_is_applied(number))
		ereport(WARNING,
				(errmsg("the reset is not applied yet"),
				 errdetail("It is recorded, and will be applied as soon as the agent runs."),
				 errhint("See \"SELECT * FROM pg_netstat_status\".")));
	PG_RETURN_VOID();
}
