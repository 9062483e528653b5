/*
 * compat.h
 *		Every difference between the versions of PostgreSQL, and no #if on a
 *		version anywhere else.
 */
#ifndef PGN_COMPAT_H
#define PGN_COMPAT_H

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/autovacuum.h"
#include "replication/walsender.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/queryjumble.h"
#else
#include "utils/queryjumble.h"
#endif

#if PG_VERSION_NUM < 140000
#error "pg_netstat needs PostgreSQL 14 or later"
#endif

#if PG_VERSION_NUM >= 180000
#define PGN_MODULE_MAGIC(module, number) PG_MODULE_MAGIC_EXT(.name = module, .version = number)
#else
#define PGN_MODULE_MAGIC(module, number) PG_MODULE_MAGIC
#endif

#if PG_VERSION_NUM < 150000
typedef void (*shmem_request_hook_type) (void);
#endif

/*
 * Arranges that request is called when main shared memory may be asked for, and
 * returns what it has to call before. Version 14 lets _PG_init ask itself.
 */
static inline shmem_request_hook_type
compat_on_shmem_request(shmem_request_hook_type request)
{
#if PG_VERSION_NUM >= 150000
	shmem_request_hook_type previous = shmem_request_hook;

	shmem_request_hook = request;
	return previous;
#else
	request();
	return NULL;
#endif
}

/* How many backends there can be; known when shared memory is asked for. */
static inline int
compat_max_backends(void)
{
#if PG_VERSION_NUM >= 150000
	return MaxBackends;
#else
	return MaxConnections + autovacuum_max_workers + 1 + max_worker_processes + max_wal_senders;
#endif
}

/* This backend's number, less than compat_max_backends() if it serves a client. */
static inline int
compat_proc_number(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

static inline void
compat_reserve_prefix(const char *prefix)
{
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved(prefix);
#else
	EmitWarningsOnPlaceholders(prefix);
#endif
}

/* Of a hook on ExecutorRun. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_EXECUTOR_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define COMPAT_EXECUTOR_RUN_ARGUMENTS queryDesc, direction, count
#else
#define COMPAT_EXECUTOR_RUN_PARAMETERS QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define COMPAT_EXECUTOR_RUN_ARGUMENTS queryDesc, direction, count, execute_once
#endif

/* A set that lives until it is freed. */
static inline WaitEventSet *
compat_create_wait_event_set(int nevents)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, nevents);
#else
	return CreateWaitEventSet(TopMemoryContext, nevents);
#endif
}

#endif							/* PGN_COMPAT_H */
