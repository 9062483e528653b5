/*
 * logline.h
 *		What the agent says, in the server's log, with a bound on how much.
 */
#ifndef PGN_LOGLINE_H
#define PGN_LOGLINE_H

#include "postgres.h"

#include "frame.h"

extern void pgn_log_message(const PgnMessage *message, int64 now);
extern void pgn_log_errors(PgnSlice bytes, int64 now);
extern void pgn_log_errors_end(int64 now);
extern void pgn_log_tick(int64 now);

#endif							/* PGN_LOGLINE_H */
