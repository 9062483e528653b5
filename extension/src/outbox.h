/*
 * outbox.h
 *		What the agent is told.
 */
#ifndef PGN_OUTBOX_H
#define PGN_OUTBOX_H

#include "supervise.h"

/* Bytes that may wait for the agent to read. */
extern Size pgn_max_pending(void);

extern void pgn_outbox_open(PgnSupervision *sup);
extern void pgn_outbox_settings(PgnSupervision *sup);
extern void pgn_outbox_reset(PgnSupervision *sup);
extern void pgn_outbox_quit(PgnSupervision *sup);

extern int64 pgn_outbox_next_take(PgnSupervision *sup);

/* Reads what the backends count; tells the agent, if there is one. */
extern void pgn_outbox_take(PgnSupervision *sup, int64 now);

#endif							/* PGN_OUTBOX_H */
