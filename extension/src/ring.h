/*
 * ring.h
 *		The numbered events that no published set of snapshots contains yet, as
 *		whole frames for the agent, in main shared memory.
 *
 * The worker alone touches it, and the postmaster when nobody else is left. An
 * agent that dies, and a worker that does, leave it to the next one.
 */
#ifndef PGN_RING_H
#define PGN_RING_H

#include "postgres.h"

#include "frame.h"

extern Size pgn_ring_size(void);
extern void pgn_ring_attach(void);
extern void pgn_ring_clear(void);

extern uint64 pgn_ring_last(void);
extern bool pgn_ring_append(PgnSlice frames, uint32 count, bool loading);
extern void pgn_ring_release(uint64 seq);

/* Positions count all bytes that ever were appended. */
extern uint64 pgn_ring_tail(void);
extern uint64 pgn_ring_head(void);
extern void pgn_ring_parts(uint64 from, PgnSlice parts[2]);

/* NULL, or what is wrong with events that were saved. */
extern const char *pgn_ring_load(PgnSlice frames, uint64 after, uint64 last);

#endif							/* PGN_RING_H */
