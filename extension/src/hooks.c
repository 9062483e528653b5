/*
 * hooks.c
 *		How the server tells which statement it works on.
 *
 * The hooks only tell query ids. They are installed when the session opens, so
 * that they are the outermost: pg_stat_statements sets the id of utility
 * statements to zero for those inside of it, and what auto_explain sends when a
 * query ends is the query's as well.
 */
#include "postgres.h"

#include "hooks.h"

#include "commands/prepare.h"
#include "commands/progress.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"

#include "call.h"
#include "compat.h"

static planner_hook_type next_planner;
static ExecutorStart_hook_type next_start;
static ExecutorRun_hook_type next_run;
static ExecutorEnd_hook_type next_end;
static ProcessUtility_hook_type next_utility;

/* EXECUTE has the id of what it executes first, where that was not known before. */
static void
lend(uint64 queryid)
{
	if (likely(!pgn_call.lives || !pgn_call.borrows))
		return;
	pgn_call.borrows = false;
	if (queryid != 0 && pgn_call.entry == NULL)
	{
		pgn_call.key.queryid = queryid;
		pgn_call.key.class = PGN_CLASS_STATEMENT;
	}
}

static PlannedStmt *
plan(Query *parse, const char *query_string, int cursorOptions, ParamListInfo boundParams)
{
	bool		begun = pgn_call_begin(parse->queryId, PGN_PREPARES);
	PlannedStmt *planned;

	lend(parse->queryId);
	if (next_planner != NULL)
		planned = next_planner(parse, query_string, cursorOptions, boundParams);
	else
		planned = standard_planner(parse, query_string, cursorOptions, boundParams);
	if (begun)
		pgn_call_leave();
	return planned;
}

static void
start(QueryDesc *query, int eflags)
{
	bool		begun = pgn_call_begin(query->plannedstmt->queryId, PGN_PREPARES);

	lend(query->plannedstmt->queryId);
	if (next_start != NULL)
		next_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
	if (begun)
		pgn_call_leave();
}

/* A call that this begins lives on: its rows may leave when the executor has ended. */
static void
run(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
	lend(queryDesc->plannedstmt->queryId);
	(void) pgn_call_run(queryDesc->plannedstmt->queryId);
	if (next_run != NULL)
		next_run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
	else
		standard_ExecutorRun(COMPAT_EXECUTOR_RUN_ARGUMENTS);
}

static void
end(QueryDesc *query)
{
	bool		begun = pgn_call_begin(query->plannedstmt->queryId, PGN_CLEANS_UP);

	if (next_end != NULL)
		next_end(query);
	else
		standard_ExecutorEnd(query);
	if (begun)
		pgn_call_leave();
}

/* The id of a statement prepared under a name; 0 if that is not sure. */
static uint64
prepared_queryid(const char *name)
{
	PreparedStatement *prepared = FetchPreparedStatement(name, false);

	if (prepared == NULL || !prepared->plansource->is_valid || prepared->plansource->query_list == NIL)
		return 0;
	return linitial_node(Query, prepared->plansource->query_list)->queryId;
}

static bool
is_copy_in(Node *statement)
{
	CopyStmt   *copy = (CopyStmt *) statement;

	return IsA(statement, CopyStmt) && copy->is_from && copy->filename == NULL && !copy->is_program;
}

static bool
begin_utility(PlannedStmt *planned)
{
	Node	   *statement = planned->utilityStmt;
	uint64		queryid = planned->queryId;
	Portal		portal = pgn_active_portal();

	if (IsA(statement, ExecuteStmt))
		queryid = prepared_queryid(((ExecuteStmt *) statement)->name);
	/* A cached plan keeps the zero that pg_stat_statements has set. */
	else if (queryid == 0 && portal != NULL && portal->prepStmtName != NULL)
		queryid = prepared_queryid(portal->prepStmtName);
	if (!pgn_call_run(queryid))
		return false;
	pgn_call.borrows = queryid == 0 && IsA(statement, ExecuteStmt);
	pgn_call.copies_in = is_copy_in(statement);
	return true;
}

/* Must not look at the statement: ROLLBACK has freed it. */
static void
after_utility(void)
{
	if (!pgn_call.lives)
		return;
	/* As pg_stat_statements has it, SET ROLE is of the role that it sets. */
	if (pgn_call.entry == NULL)
		pgn_call.key.userid = GetUserId();
	if (pgn_call.copies_in && pgstat_track_activities && MyBEEntry != NULL)
		pgn_call.bytes_in = MyBEEntry->st_progress_param[PROGRESS_COPY_BYTES_PROCESSED];
	pgn_call.copies_in = false;
}

static void
utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	bool		begun = !pgn_call.lives && begin_utility(pstmt);

	if (next_utility != NULL)
		next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	if (begun)
		after_utility();
}

/* To be called once, when all modules that are loaded for a session are there. */
void
pgn_hooks_install(void)
{
	next_planner = planner_hook;
	planner_hook = plan;
	next_start = ExecutorStart_hook;
	ExecutorStart_hook = start;
	next_run = ExecutorRun_hook;
	ExecutorRun_hook = run;
	next_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}
