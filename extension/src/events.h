/*
 * events.h
 *		What the backends count, on its way from their slots to the agent.
 *
 * For the worker, and for the postmaster when nobody else is left.
 */
#ifndef PGN_EVENTS_H
#define PGN_EVENTS_H

#include "frame.h"
#include "slot.h"

typedef struct PgnTaking
{
	int			fullness;		/* of the entries of the fullest slot, how many were not read yet; percent */
	bool		events;			/* there were some */
	bool		ring_full;		/* what did not fit stays in the slots */
} PgnTaking;

extern PgnTaking pgn_events_take(void);

/* What the agent is told. */
extern void pgn_events_forget_agent(void);
extern bool pgn_events_pending(uint64 from);
extern void pgn_events_put(PgnWriter *writer, uint64 from, uint32 request);
extern void pgn_events_told(void);

extern bool pgn_sessions_left(void);

/* For the saved file. */
extern const PgnSession *pgn_events_live(int index);
extern bool pgn_events_add_ghost(const PgnSession *session);

#endif							/* PGN_EVENTS_H */
