/*
 * report.h
 *		The frames that tell the agent what was read from the slots.
 */
#ifndef PGN_REPORT_H
#define PGN_REPORT_H

#include "frame.h"
#include "slot.h"

/* Bytes of the longest frame of each kind. */
#define PGN_ACCOUNT_EVENT_MAX 384
#define PGN_STATEMENT_EVENT_MAX 96
#define PGN_FOLDED_EVENT_MAX 32
#define PGN_GHOST_EVENT_MAX 384
#define PGN_LIVE_MAX 448

/* Events, each with its number. */
extern void pgn_put_account(PgnWriter *writer, uint64 seq, const PgnAccountKey *key, const PgnAccountCounters *counters);
extern void pgn_put_statement(PgnWriter *writer, uint64 seq, const PgnStatementKey *key,
							  const PgnStatementCounters *counters, uint64 max_bytes);
extern void pgn_put_folded(PgnWriter *writer, uint64 seq, uint64 count);
extern void pgn_put_ghost(PgnWriter *writer, uint64 seq, const PgnSession *session);

/* What is so now. */
extern void pgn_put_live(PgnWriter *writer, const PgnSession *session, uint64 protocol_out);
extern void pgn_put_ended(PgnWriter *writer, uint64 serial);
extern void pgn_put_taken(PgnWriter *writer, uint32 request, uint64 seq);

#endif							/* PGN_REPORT_H */
