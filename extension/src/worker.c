/*
 * worker.c
 *		The background worker: its registration, its loop, its end.
 *
 * It has no database connection, so it runs on a standby and during recovery.
 * It never exits with 0, after which the postmaster would not start it again, nor
 * with anything but 1, which would make the postmaster restart every process.
 * An ERROR that nobody catches ends in exit code 1 by the server's own handler.
 */
#include "worker.h"

#include <signal.h>
#include <time.h>

#include "libpq/pqsignal.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/procsignal.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "events.h"
#include "outbox.h"
#include "save.h"
#include "settings.h"
#include "shmem.h"
#include "supervise.h"

#define TICK 1000				/* ms between two looks at the clock */
#define SAVE_EVERY 60000		/* ms */
#define SAVE_AGAIN 1000			/* ms after one that failed, then twice as long each time */
#define QUIT_WAIT 2000			/* ms that an agent has for its last set */
#define SESSIONS_WAIT 2000		/* ms that sessions have to end before that */
#define SESSIONS_LOOK 10		/* ms between two looks whether they have */

/* Positions in the set of what is waited for. */
#define WAIT_SOCKET 2

static PgnSupervision supervision;

/* What is waited for, and for which descriptors that was made. */
static WaitEventSet *wait_set = NULL;
static uint64 wait_generation = 0;

static int64 save_due = 0;		/* when the worker next saves */
static int64 save_again = SAVE_AGAIN;	/* ms until then, should it fail */

/* Milliseconds of a clock that nobody sets. */
static int64
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
pgn_worker_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "pg_netstat");
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "pg_netstat_worker_main");
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_netstat worker");
	snprintf(worker.bgw_type, BGW_MAXLEN, "pg_netstat worker");
	RegisterBackgroundWorker(&worker);
}

/*
 * Exit callback. Comes after an ERROR and after the postmaster's death as well,
 * so it takes no lock that somebody might hold for ever.
 */
static void
worker_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	pgn_supervise_abandon(&supervision);
	pgn_shared->worker_ended = true;
	LWLockReleaseAll();
	if (!LWLockConditionalAcquire(pgn_shared->lock, LW_EXCLUSIVE))
	{
		pg_usleep(10000L);
		if (!LWLockConditionalAcquire(pgn_shared->lock, LW_EXCLUSIVE))
			return;
	}
	pgn_shared->worker_latch = NULL;
	pgn_shared->facts.state = PGN_STATE_NO_AGENT;
	pgn_shared->facts.worker_pid = 0;
	pgn_shared->facts.agent_pid = 0;
	LWLockRelease(pgn_shared->lock);
}

/* There is one worker; a second one would start a second agent. */
static void
claim(void)
{
	int			other;

	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	other = pgn_shared->facts.worker_pid;
	if (other != 0 && other != MyProcPid && kill(other, 0) == 0)
	{
		LWLockRelease(pgn_shared->lock);
		ereport(LOG,
				(errmsg("pg_netstat: a worker is already running with PID %d", other)));
		proc_exit(1);
	}
	pgn_shared->facts.worker_pid = MyProcPid;
	pgn_shared->facts.agent_pid = 0;
	pgn_shared->worker_latch = MyLatch;
	pgn_shared->worker_ended = false;
	LWLockRelease(pgn_shared->lock);
	before_shmem_exit(worker_exit, (Datum) 0);
}

static void
rebuild_wait_set(void)
{
	if (wait_set != NULL)
		FreeWaitEventSet(wait_set);
	wait_set = compat_create_wait_event_set(4);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (supervision.agent.socket >= 0)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, supervision.agent.socket, NULL, NULL);
	if (supervision.agent.errors >= 0)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, supervision.agent.errors, NULL, NULL);
	wait_generation = supervision.generation;
}

static void
handle_event(const WaitEvent *event)
{
	int64		now = clock_now();

	if (event->events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	/* The event before this one may have ended the agent. */
	if (wait_generation != supervision.generation)
		return;
	if (event->fd == supervision.agent.errors && (event->events & WL_SOCKET_READABLE))
		pgn_supervise_errors(&supervision, now);
	else if (event->fd == supervision.agent.socket && (event->events & WL_SOCKET_READABLE))
		pgn_supervise_socket(&supervision, now);
}

/* Waits for something to happen, for timeout ms at most, and handles it. */
static void
wait_and_handle(int64 timeout)
{
	WaitEvent	events[4];
	int			count;

	if (wait_set == NULL || wait_generation != supervision.generation)
		rebuild_wait_set();
	if (pgn_supervise_live(&supervision))
		ModifyWaitEvent(wait_set, WAIT_SOCKET,
						WL_SOCKET_READABLE |
						(pgn_channel_pending(&supervision.channel) > 0 ? WL_SOCKET_WRITEABLE : 0), NULL);
	count = WaitEventSetWait(wait_set, (long) timeout, events, lengthof(events), PG_WAIT_EXTENSION);
	for (int i = 0; i < count; i++)
		handle_event(&events[i]);
}

static void
save(int64 now)
{
	supervision.save_wanted = supervision.save_soon = false;
	save_due = now + SAVE_EVERY;
	if (!pgn_save_write())
	{
		supervision.save_wanted = true;
		save_due = now + save_again;
		save_again = Min(2 * save_again, SAVE_EVERY);
		pgn_set_last_error("the snapshots could not be saved; see the server's log");
		return;
	}
	save_again = SAVE_AGAIN;
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	pgn_shared->facts.saved_at = GetCurrentTimestamp();
	LWLockRelease(pgn_shared->lock);
}

/* One turn of the loop. */
static void
turn(void)
{
	int64		now = clock_now();
	int64		timeout = TICK;

	/* Also handles a barrier that another process waits for. */
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		pgn_supervise_reload(&supervision, now);
	}
	pgn_supervise_tick(&supervision, now);
	if (now >= pgn_outbox_next_take(&supervision))
		pgn_outbox_take(&supervision, now);
	if (pgn_save && (supervision.save_soon || (supervision.save_wanted && now >= save_due)))
		save(now);
	timeout = Min(timeout, supervision.next_take - now);
	if (!pgn_supervise_live(&supervision))
		timeout = Min(timeout, Max(supervision.next_start - now, 10));
	wait_and_handle(Max(timeout, 1));
}

/*
 * Waits until the sessions are over, so that the agent learns their last figures.
 * What comes later is not lost: the postmaster saves it beside what the agent has
 * published.
 */
static void
await_sessions(void)
{
	int64		now = clock_now();
	int64		deadline = now + SESSIONS_WAIT;

	while (pgn_supervise_live(&supervision) && pgn_sessions_left() && now < deadline)
	{
		pgn_channel_flush(&supervision.channel, now);
		wait_and_handle(Min(SESSIONS_LOOK, deadline - now));
		now = clock_now();
	}
}

/* Lets the agent publish what it has, before the postmaster saves it. */
static void
finish(void)
{
	int64		now;
	int64		deadline;

	await_sessions();
	if (!pgn_supervise_live(&supervision))
		return;
	now = clock_now();
	deadline = now + QUIT_WAIT;
	pgn_supervise_quit(&supervision, now);
	while (pgn_supervise_live(&supervision) && (now = clock_now()) < deadline)
	{
		pgn_channel_flush(&supervision.channel, now);
		wait_and_handle(deadline - now);
	}
	if (pgn_supervise_live(&supervision))
		ereport(LOG,
				(errmsg("pg_netstat: the agent did not end within %d s", QUIT_WAIT / 1000),
				 errdetail("The packets that it counted since it last published are lost.")));
}

void
pg_netstat_worker_main(Datum arg)
{
	MemoryContext context;

	(void) arg;
	/* The module was preloaded from elsewhere: 0, since it would be so each time. */
	if (pgn_shared == NULL)
	{
		ereport(LOG,
				(errmsg("pg_netstat: the module that \"shared_preload_libraries\" names is not the one that is installed")));
		proc_exit(0);
	}
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGUSR1, procsignal_sigusr1_handler);
	BackgroundWorkerUnblockSignals();

	pgn_supervise_init(&supervision);
	claim();
	context = AllocSetContextCreate(TopMemoryContext, "pg_netstat worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	pgn_save_load();
	save_due = clock_now() + SAVE_EVERY;
	while (!ShutdownRequestPending)
	{
		turn();
		MemoryContextReset(context);
	}
	finish();
	proc_exit(1);
}
