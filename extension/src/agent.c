/*
 * agent.c
 *		Starts the agent, kills it, reaps it.
 *
 * The agent must get nothing of the server but its socket: no descriptor, no
 * environment, no signal handling, and a process group of its own, since the
 * postmaster signals the whole group of a worker. Nothing between fork and exec
 * may run the server's exit callbacks, so a failure there ends in _exit, and is
 * told through a pipe that a successful exec closes.
 */
#include "postgres.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/fd.h"

#include "agent.h"

#define AGENT_NAME "pg_netstat-agent"
#define AGENT_SOCKET 3			/* where the agent expects it */
#define SPARE_FD 10				/* above all that the child arranges */
#define EXEC_WAIT 5000			/* ms; exec may hang on a file system */
#define FDS_MAX 65536			/* closed one by one where close_range is missing */

/* What the child tells of its failure. */
typedef struct Failure
{
	int			error;
	bool		executing;
} Failure;

static void
child_fail(int report, bool executing)
{
	Failure		failure;

	memset(&failure, 0, sizeof(failure));
	failure.error = errno;
	failure.executing = executing;
	(void) !write(report, &failure, sizeof(failure));
	_exit(127);
}

static void
child_reset_signals(void)
{
	struct sigaction action;
	sigset_t	none;

	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_DFL;
	sigemptyset(&action.sa_mask);
	/* Some cannot be changed, and need not be. */
	for (int i = 1; i < NSIG; i++)
		(void) sigaction(i, &action, NULL);
	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
child_close_above(int last)
{
#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned int) last + 1, ~0U, 0) == 0)
		return;
#endif
	for (int fd = last + 1; fd < FDS_MAX; fd++)
		(void) close(fd);
}

/* Moves the descriptors out of the way first, since any of them may be 0 to 4. */
static int
child_arrange_fds(int socket, int errors, int report)
{
	int			kept = fcntl(report, F_DUPFD_CLOEXEC, SPARE_FD);
	int			null;

	if (kept < 0)
		child_fail(report, false);
	socket = fcntl(socket, F_DUPFD_CLOEXEC, SPARE_FD);
	errors = fcntl(errors, F_DUPFD_CLOEXEC, SPARE_FD);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (socket < 0 || errors < 0 || null < 0 ||
		(null = fcntl(null, F_DUPFD_CLOEXEC, SPARE_FD)) < 0 ||
		dup2(null, STDIN_FILENO) < 0 ||
		dup2(null, STDOUT_FILENO) < 0 ||
		dup2(errors, STDERR_FILENO) < 0 ||
		dup2(socket, AGENT_SOCKET) < 0 ||
		dup3(kept, AGENT_SOCKET + 1, O_CLOEXEC) < 0)
		child_fail(kept, false);
	child_close_above(AGENT_SOCKET + 1);
	return AGENT_SOCKET + 1;
}

static void
child_main(const char *path, pid_t worker, int socket, int errors, int report)
{
	char		name[] = AGENT_NAME;
	char	   *const arguments[] = {name, NULL};
	char	   *const environment[] = {NULL};

	report = child_arrange_fds(socket, errors, report);
	/* A core file of the agent has no place in the data directory. */
	if (setsid() < 0 || chdir("/") < 0)
		child_fail(report, false);

	/*
	 * The agent asks for this again, since exec of a file with capabilities
	 * forgets it. Until then it covers a worker that dies right now.
	 */
	(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != worker)
		_exit(127);
	child_reset_signals();
	execve(path, arguments, environment);
	child_fail(report, true);
}

static const char *
exec_hint(int error)
{
	switch (error)
	{
		case ENOENT:
			return "Install the agent, or set pg_netstat.agent_path to where it is.";
		case EACCES:
			return "The group of the server's operating system user must be allowed to execute it.";
		case EPERM:
			return "Its file capabilities may be marked effective where they cannot be had. Mark them permitted only, with \"setcap cap_net_raw,cap_bpf+p\".";
		case ENOEXEC:
			return "It is no program for this machine.";
		default:
			return NULL;
	}
}

/* Waits until exec has succeeded, or says why not. */
static bool
await_exec(int report, const char *path, PgnSpawnError *error)
{
	struct pollfd poller = {report, POLLIN, 0};
	Failure		failure;
	ssize_t		got;
	int			ready;

	do
		ready = poll(&poller, 1, EXEC_WAIT);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
	{
		snprintf(error->message, sizeof(error->message), "could not execute \"%s\" within %d s", path, EXEC_WAIT / 1000);
		return false;
	}
	do
		got = read(report, &failure, sizeof(failure));
	while (got < 0 && errno == EINTR);
	if (got == 0)
		return true;
	if (got != sizeof(failure))
		failure = (Failure){EIO, false};
	errno = failure.error;
	if (failure.executing)
	{
		snprintf(error->message, sizeof(error->message), "could not execute \"%s\": %m", path);
		error->hint = exec_hint(failure.error);
	}
	else
		snprintf(error->message, sizeof(error->message), "could not prepare the agent's process: %m");
	return false;
}

static void
close_pair(int pair[2])
{
	for (int i = 0; i < 2; i++)
	{
		if (pair[i] >= 0)
			close(pair[i]);
		pair[i] = -1;
	}
}

static pid_t
fork_agent(const char *path, int socket, int errors, int report)
{
	pid_t		worker = getpid();
	pid_t		pid;
	sigset_t	all;
	sigset_t	before;

	/* No handler of the server may run in the child. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		child_main(path, worker, socket, errors, report);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* Starts the agent. On failure nothing is left of it but the error. */
bool
pgn_agent_spawn(const char *path, PgnAgent *agent, PgnSpawnError *error)
{
	int			sockets[2] = {-1, -1};
	int			errors[2] = {-1, -1};
	int			report[2] = {-1, -1};
	bool		started = false;

	error->hint = NULL;
	agent->pid = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0 &&
		pipe2(errors, O_CLOEXEC) == 0 && pipe2(report, O_CLOEXEC) == 0 &&
		fcntl(sockets[0], F_SETFL, O_NONBLOCK) == 0 && fcntl(errors[0], F_SETFL, O_NONBLOCK) == 0)
		agent->pid = fork_agent(path, sockets[1], errors[1], report[1]);
	if (agent->pid < 0)
		snprintf(error->message, sizeof(error->message), "could not create the agent's process: %m");
	else
	{
		close(report[1]);
		report[1] = -1;
		started = await_exec(report[0], path, error);
	}
	if (started)
	{
		agent->socket = sockets[0];
		agent->errors = errors[0];
		sockets[0] = errors[0] = -1;
		ReserveExternalFD();
		ReserveExternalFD();
	}
	else if (agent->pid > 0)
	{
		/* One that hangs in exec stays ours to reap. */
		int			status;

		pgn_agent_kill(agent);
		pgn_agent_reap_within(agent, &status, 1000);
	}
	else
		agent->pid = 0;
	close_pair(sockets);
	close_pair(errors);
	close_pair(report);
	return started;
}

static void
close_external(int *fd)
{
	if (*fd >= 0)
	{
		close(*fd);
		ReleaseExternalFD();
	}
	*fd = -1;
}

void
pgn_agent_close_socket(PgnAgent *agent)
{
	close_external(&agent->socket);
}

void
pgn_agent_close_errors(PgnAgent *agent)
{
	close_external(&agent->errors);
}

/*
 * Tells whether the agent is gone, and then how it ended. What it has left in its
 * group goes too: that must be done before its id is given back.
 */
bool
pgn_agent_reap(PgnAgent *agent, int *status)
{
	siginfo_t	ended;
	pid_t		pid;

	if (agent->pid <= 0)
		return true;
	ended.si_pid = 0;
	if (waitid(P_PID, (id_t) agent->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0)
	{
		if (ended.si_pid == 0)
			return false;
		(void) kill(-agent->pid, SIGKILL);
	}
	pid = waitpid(agent->pid, status, WNOHANG);
	if (pid == 0 || (pid < 0 && errno == EINTR))
		return false;
	if (pid < 0)
		*status = 0;
	agent->pid = 0;
	return true;
}

/* Kills the agent and whatever it has started in its group. */
void
pgn_agent_kill(const PgnAgent *agent)
{
	if (agent->pid <= 0)
		return;
	(void) kill(-agent->pid, SIGKILL);
	(void) kill(agent->pid, SIGKILL);
}

/* Waits for the agent's end, but not for ever: it may hang in the kernel. */
bool
pgn_agent_reap_within(PgnAgent *agent, int *status, int milliseconds)
{
	const int	step = 5;

	for (int waited = 0; !pgn_agent_reap(agent, status); waited += step)
	{
		if (waited >= milliseconds)
			return false;
		pg_usleep(step * 1000L);
	}
	return true;
}

/* Says in words how the agent ended. */
void
pgn_agent_describe(int status, char *buffer, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(buffer, size, "the agent was terminated by signal %d: %s",
				 WTERMSIG(status), pg_strsignal(WTERMSIG(status)));
	else
		snprintf(buffer, size, "the agent exited with exit code %d%s", WEXITSTATUS(status),
				 WEXITSTATUS(status) == 0 ? ", to be started anew" : "");
}
