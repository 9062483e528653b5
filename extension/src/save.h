/*
 * save.h
 *		The snapshots on disk, for the next start of the server.
 */
#ifndef PGN_SAVE_H
#define PGN_SAVE_H

#include "postgres.h"

extern void pgn_save_load(void);
extern bool pgn_save_write(void);
extern void pgn_save_at_exit(int code, Datum arg);

#endif							/* PGN_SAVE_H */
