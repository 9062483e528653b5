/*
 * pg_netstat.c
 *		The module's entry: what happens when the server loads it.
 *
 * Everything needs shared_preload_libraries. Loaded otherwise, the module does
 * nothing, and its functions say what is missing.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "compat.h"
#include "save.h"
#include "session.h"
#include "settings.h"
#include "shmem.h"
#include "statement.h"
#include "version.h"
#include "worker.h"

PGN_MODULE_MAGIC("pg_netstat", PGN_VERSION);

extern PGDLLEXPORT void _PG_init(void);

static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static void
request(void)
{
	if (previous_request != NULL)
		previous_request();
	pgn_shmem_request();
}

/* Runs at each start of the server's shared memory, so after a crash as well. */
static void
startup(void)
{
	if (previous_startup != NULL)
		previous_startup();
	(void) pgn_shmem_attach();
	if (!IsUnderPostmaster)
		on_shmem_exit(pgn_save_at_exit, (Datum) 0);
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	pgn_settings_define();
	previous_request = compat_on_shmem_request(request);
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = startup;

	/* pg_upgrade starts servers that nobody is to be served by. */
	if (IsBinaryUpgrade)
		return;
	pgn_session_install();
	pgn_statement_init();
	pgn_worker_register();
}
