/*
 * logline.c
 *		Log lines of the agent, both those in frames and those on its stderr.
 *
 * Both count against one limit, so that an agent gone mad does not fill the disk
 * of the server.
 */
#include "logline.h"

#include "mb/pg_wchar.h"

#include "shmem.h"
#include "text.h"

#define LINES_MAX 100			/* in each window */
#define WINDOW 10000			/* ms */
#define LINE_MAX_BYTES 1000		/* of stderr; a longer line is cut into several */

static int64 window_start = 0;
static int	lines = 0;
static int	left_out = 0;

static char line[LINE_MAX_BYTES];
static size_t line_len = 0;

/* Ends the window if it is over, and says what was left out in it. */
void
pgn_log_tick(int64 now)
{
	if (now - window_start < WINDOW)
		return;
	if (left_out > 0)
		ereport(LOG,
				(errmsg("pg_netstat: %d log lines of the agent were left out", left_out)));
	window_start = now;
	lines = 0;
	left_out = 0;
}

static bool
may_log(int64 now)
{
	pgn_log_tick(now);
	if (lines < LINES_MAX)
	{
		lines++;
		return true;
	}
	left_out++;
	return false;
}

/* Logs are UTF-8 to whoever reads them; the worker has no database's encoding. */
static char *
log_text(PgnSlice bytes)
{
	Size		len;

	return pgn_text(PG_UTF8, bytes, false, &len);
}

void
pgn_log_message(const PgnMessage *message, int64 now)
{
	static const int levels[] = {DEBUG1, LOG, WARNING, WARNING};
	int			level = levels[message->level];
	char	   *text = log_text(message->data);

	if (message->level == PGN_LOG_ERROR)
		pgn_set_last_error(text);
	if (!message_level_is_interesting(level) || !may_log(now))
		return;
	ereport(level,
			(errmsg_internal("pg_netstat: %s", text),
			 message->detail.len > 0 ? errdetail_internal("%s", log_text(message->detail)) : 0,
			 message->hint.len > 0 ? errhint("%s", log_text(message->hint)) : 0));
}

static void
end_line(int64 now)
{
	PgnSlice	bytes = {line, line_len};

	if (line_len > 0 && may_log(now))
		ereport(LOG,
				(errmsg_internal("pg_netstat: agent: %s", log_text(bytes))));
	line_len = 0;
}

/* Takes what the agent wrote to its stderr, whole lines or parts of them. */
void
pgn_log_errors(PgnSlice bytes, int64 now)
{
	for (size_t i = 0; i < bytes.len; i++)
	{
		if (bytes.data[i] != '\n')
			line[line_len++] = bytes.data[i];
		if (bytes.data[i] == '\n' || line_len == sizeof(line))
			end_line(now);
	}
}

/* The agent writes no more; its last line may lack an end. */
void
pgn_log_errors_end(int64 now)
{
	end_line(now);
}
