/*
 * supervise.c
 *		Starts an agent, watches over it, and ends it if it misbehaves. What it is
 *		told is outbox.c's, what it says is inbox.c's.
 */
#include "supervise.h"

#include "utils/timestamp.h"

#include "inbox.h"
#include "logline.h"
#include "outbox.h"
#include "settings.h"
#include "shmem.h"

#define GREETING_WAIT 10000		/* ms until an agent must have greeted */
#define SILENCE_MAX 20000		/* ms without a frame, or without reading ours */
#define DELAY_LEAST 1000		/* ms before a new start, doubled each time */
#define DELAY_MOST 60000
#define GOOD_RUN 60000			/* ms of running that make up for former failures */
#define END_WAIT 200			/* ms between the end of its socket and its own */
#define LATE 5000				/* ms between two ticks that are too many */
#define REAP_WAIT 1000			/* ms that a killed agent may take to go */

void
pgn_supervise_init(PgnSupervision *sup)
{
	memset(sup, 0, sizeof(*sup));
	sup->agent.socket = sup->agent.errors = -1;
	sup->delay = DELAY_LEAST;
	pgn_channel_close(&sup->channel);
}

/* Tells whether there is an agent to talk with. */
bool
pgn_supervise_live(const PgnSupervision *sup)
{
	return sup->agent.socket >= 0;
}

/* Notes that there is no agent, and when there will be one. */
static void
schedule(PgnSupervision *sup, PgnState state, const char *why, const char *hint, int64 now)
{
	int64		delay = state == PGN_STATE_RESTART_NEEDED ? DELAY_MOST : sup->delay;

	sup->next_start = now + delay;
	sup->delay = Min(sup->delay * 2, DELAY_MOST);
	pgn_set_last_error(why);
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	pgn_shared->facts.state = state;
	pgn_shared->facts.agent_pid = 0;
	LWLockRelease(pgn_shared->lock);
	ereport(LOG,
			(errmsg("pg_netstat: %s", why),
			 errdetail("The agent will be started in %d s.", (int) (delay / 1000)),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* Ends the agent for good; wrong says why it is us who end it, or is NULL. */
static void
end_agent(PgnSupervision *sup, const char *wrong, int64 now)
{
	bool		other = wrong == pgn_other_protocol;
	char		message[256];
	int			status = 0;
	int			killed;
	bool		ended;

	/* If it ended itself, its own end is what has to be told. */
	ended = wrong == NULL && pgn_agent_reap_within(&sup->agent, &status, END_WAIT);
	pgn_agent_kill(&sup->agent);
	(void) pgn_agent_reap_within(&sup->agent, &killed, REAP_WAIT);
	if (sup->agent.errors >= 0)
		(void) pgn_inbox_errors(sup, now);
	pgn_log_errors_end(now);
	pgn_agent_close_errors(&sup->agent);
	pgn_agent_close_socket(&sup->agent);
	pgn_channel_close(&sup->channel);
	sup->generation++;
	if (sup->quitting && ended && status == 0)
		return;

	if (other)
		snprintf(message, sizeof(message), "%s", wrong);
	else if (wrong != NULL)
		snprintf(message, sizeof(message), "the agent was stopped: %s", wrong);
	else if (ended)
		pgn_agent_describe(status, message, sizeof(message));
	else
		snprintf(message, sizeof(message), "the agent was stopped: it closed its socket, but did not end");
	/* One that ends of itself and in order wants to be started anew. */
	if (sup->published && (now - sup->started >= GOOD_RUN || (ended && status == 0)))
		sup->delay = DELAY_LEAST;
	schedule(sup, other ? PGN_STATE_RESTART_NEEDED : PGN_STATE_NO_AGENT, message,
			 other ? "Restart the server to load the module that was installed with the agent." : NULL, now);
}

static void
start_agent(PgnSupervision *sup, int64 now)
{
	PgnSpawnError error;
	int			status;

	/* One that was killed while it hung in the kernel is waited for here. */
	if (!pgn_agent_reap(&sup->agent, &status))
		return;
	sup->started = sup->heard = now;
	sup->greeted = sup->published = false;
	sup->second = now;
	sup->frames = sup->publishes = sup->bytes = sup->error_bytes = sup->unpublished = 0;
	if (!pgn_agent_spawn(pgn_agent_path, &sup->agent, &error))
	{
		schedule(sup, PGN_STATE_NO_AGENT, error.message, error.hint, now);
		return;
	}
	sup->generation++;
	pgn_stage_clear();
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	pgn_shared->facts.state = PGN_STATE_STARTING;
	pgn_shared->facts.agent_pid = sup->agent.pid;
	pgn_shared->facts.agent_version[0] = '\0';
	pgn_shared->facts.started_at = GetCurrentTimestamp();
	pgn_shared->facts.starts++;
	LWLockRelease(pgn_shared->lock);

	pgn_channel_open(&sup->channel, sup->agent.socket, now);
	pgn_outbox_open(sup);
}

/* NULL, or what the agent fails to do. */
static const char *
watch(const PgnSupervision *sup, int64 now)
{
	if (!sup->greeted && now - sup->started >= GREETING_WAIT)
		return "it did not greet within 10 s";
	if (now - sup->heard >= SILENCE_MAX)
		return "it was silent for 20 s";
	if (now - sup->channel.progress >= SILENCE_MAX || pgn_channel_pending(&sup->channel) > pgn_max_pending())
		return "it does not read what it is sent";
	return NULL;
}

/*
 * A worker that was itself stopped, or starved, or waited for a disk, could not
 * hear the agent: that time does not count against it.
 */
static void
forgive(PgnSupervision *sup, int64 now)
{
	int64		late = now - sup->ticked;

	sup->ticked = now;
	if (late < LATE)
		return;
	sup->started += late;
	sup->heard += late;
	sup->channel.progress += late;
}

/* To be called at least once a second. */
void
pgn_supervise_tick(PgnSupervision *sup, int64 now)
{
	const char *wrong;

	pgn_log_tick(now);
	forgive(sup, now);
	if (!pgn_supervise_live(sup))
	{
		if (now >= sup->next_start)
			start_agent(sup, now);
		if (!pgn_supervise_live(sup))
			return;
	}
	pgn_outbox_reset(sup);
	pgn_channel_flush(&sup->channel, now);
	wrong = watch(sup, now);
	if (wrong != NULL)
		end_agent(sup, wrong, now);
}

/* Settings changed: an agent is told so, and one that failed may work now. */
void
pgn_supervise_reload(PgnSupervision *sup, int64 now)
{
	if (pgn_supervise_live(sup))
	{
		pgn_outbox_settings(sup);
		return;
	}
	sup->delay = DELAY_LEAST;
	sup->next_start = Min(sup->next_start, Max(now, sup->started + DELAY_LEAST));
}

/* The socket is readable, or closed. */
void
pgn_supervise_socket(PgnSupervision *sup, int64 now)
{
	const char *wrong = pgn_inbox_receive(sup, now);

	if (wrong != NULL || sup->channel.closed)
		end_agent(sup, wrong, now);
	else if (sup->request != 0)
		pgn_outbox_take(sup, now);
}

/* The agent's stderr is readable, or closed. */
void
pgn_supervise_errors(PgnSupervision *sup, int64 now)
{
	const char *wrong = pgn_inbox_errors(sup, now);

	if (wrong != NULL)
		end_agent(sup, wrong, now);
}

/* Tells the agent the last there is, and asks it for a last set. */
void
pgn_supervise_quit(PgnSupervision *sup, int64 now)
{
	sup->quitting = true;
	pgn_outbox_take(sup, now);
	pgn_outbox_quit(sup);
	pgn_channel_flush(&sup->channel, now);
}

/* The worker goes: so does the agent, whatever state all of this is in. */
void
pgn_supervise_abandon(PgnSupervision *sup)
{
	int			status;

	pgn_agent_kill(&sup->agent);
	(void) pgn_agent_reap_within(&sup->agent, &status, REAP_WAIT);
}
