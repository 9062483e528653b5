/*
 * settings.h
 *		The settings pg_netstat.*, and what the agent is told of them.
 */
#ifndef PGN_SETTINGS_H
#define PGN_SETTINGS_H

#include "frame.h"

/* The settings that the module itself heeds; the others are the agent's. */
extern char *pgn_agent_path;
extern int	pgn_max_memory;		/* kB */
extern bool pgn_save;
extern bool pgn_track_statements;

extern void pgn_settings_define(void);
extern void pgn_settings_put(PgnWriter *writer);

#endif							/* PGN_SETTINGS_H */
