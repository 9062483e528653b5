/*
 * agent.h
 *		The agent as a child process of the worker.
 */
#ifndef PGN_AGENT_H
#define PGN_AGENT_H

#include <sys/types.h>

#include "postgres.h"

typedef struct PgnAgent
{
	pid_t		pid;			/* 0 if there is none */
	int			socket;			/* ours of the pair, not blocking; -1 if closed */
	int			errors;			/* what it writes to stderr; -1 if closed */
} PgnAgent;

/* Why no agent could be started. */
typedef struct PgnSpawnError
{
	char		message[256];
	const char *hint;			/* or NULL */
} PgnSpawnError;

extern bool pgn_agent_spawn(const char *path, PgnAgent *agent, PgnSpawnError *error);
extern void pgn_agent_close_socket(PgnAgent *agent);
extern void pgn_agent_close_errors(PgnAgent *agent);
extern bool pgn_agent_reap(PgnAgent *agent, int *status);
extern void pgn_agent_kill(const PgnAgent *agent);
extern bool pgn_agent_reap_within(PgnAgent *agent, int *status, int milliseconds);
extern void pgn_agent_describe(int status, char *buffer, size_t size);

#endif							/* PGN_AGENT_H */
