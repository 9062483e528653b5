/*
 * hotpath.c
 *		Does again and again what a server does for a prepared lookup, as far as a
 *		module can see it, and nothing else: the hooks of the executor are called
 *		and messages are put, but nothing is executed and nothing is sent.
 *
 * It must be preloaded before the module that is measured, which then finds these
 * hooks and methods in the places of the server's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "tcop/pquery.h"
#include "utils/array.h"

#include "compat.h"

#define LOOKUPS 1000			/* that are timed together */

PG_MODULE_MAGIC;

void		_PG_init(void);

PG_FUNCTION_INFO_V1(hotpath);

static const char body[64] = "SELECT 1";
static bool pretends = false;
static const PQcommMethods *server_methods;
static PQcommMethods our_methods;

static int
putmessage(char type, const char *content, size_t len)
{
	return pretends ? 0 : server_methods->putmessage(type, content, len);
}

static int
flush(void)
{
	return pretends ? 0 : server_methods->flush();
}

static void
start(QueryDesc *query, int eflags)
{
	if (!pretends)
		standard_ExecutorStart(query, eflags);
}

static void
run(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
	if (pretends)
		PqCommMethods->putmessage('D', body, 11);
	else
		standard_ExecutorRun(COMPAT_EXECUTOR_RUN_ARGUMENTS);
}

static void
end(QueryDesc *query)
{
	if (!pretends)
		standard_ExecutorEnd(query);
}

/* Bind, Describe, Execute and Sync. */
static void
lookup(QueryDesc *query, Portal portal)
{
	ActivePortal = NULL;
	ExecutorStart_hook(query, 0);
	PqCommMethods->putmessage('2', body, 0);
	PqCommMethods->putmessage('T', body, 33);
	ActivePortal = portal;
#if PG_VERSION_NUM >= 180000
	ExecutorRun_hook(query, ForwardScanDirection, 0);
#else
	ExecutorRun_hook(query, ForwardScanDirection, 0, true);
#endif
	ActivePortal = NULL;
	PqCommMethods->putmessage('C', body, 9);
	ExecutorEnd_hook(query);
	PqCommMethods->putmessage('Z', body, 1);
	PqCommMethods->flush();
	ActivePortal = portal;
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/* Times LOOKUPS so many times, and gives the ns that each took: the least, and the median. */
Datum
hotpath(PG_FUNCTION_ARGS)
{
	int32		times = PG_GETARG_INT32(0);
	double	   *ns = palloc(times * sizeof(double));
	PlannedStmt planned = {.type = T_PlannedStmt, .commandType = CMD_SELECT, .queryId = 42};
	QueryDesc	query = {.operation = CMD_SELECT, .plannedstmt = &planned};
	Portal		portal = ActivePortal;

	for (int32 i = 0; i < times; i++)
	{
		instr_time	begin;
		instr_time	took;

		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(begin);
		pretends = true;
		for (int k = 0; k < LOOKUPS; k++)
			lookup(&query, portal);
		pretends = false;
		INSTR_TIME_SET_CURRENT(took);
		INSTR_TIME_SUBTRACT(took, begin);
		ns[i] = INSTR_TIME_GET_DOUBLE(took) * 1e9 / LOOKUPS;
	}
	qsort(ns, times, sizeof(double), compare);
	PG_RETURN_ARRAYTYPE_P(construct_array((Datum[]) {Float8GetDatum(ns[0]), Float8GetDatum(ns[times / 2])}, 2,
										  FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	server_methods = PqCommMethods;
	our_methods = *PqCommMethods;
	our_methods.putmessage = putmessage;
	our_methods.flush = flush;
	PqCommMethods = &our_methods;
	ExecutorStart_hook = start;
	ExecutorRun_hook = run;
	ExecutorEnd_hook = end;
}
