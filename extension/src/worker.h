/*
 * worker.h
 *		The background worker.
 */
#ifndef PGN_WORKER_H
#define PGN_WORKER_H

#include "postgres.h"

extern void pgn_worker_register(void);
extern PGDLLEXPORT void pg_netstat_worker_main(Datum arg);

#endif							/* PGN_WORKER_H */
