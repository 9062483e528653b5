/*
 * supervise.h
 *		The life of an agent, from its start to its end and the next start.
 */
#ifndef PGN_SUPERVISE_H
#define PGN_SUPERVISE_H

#include "agent.h"
#include "channel.h"

/*
 * What the worker knows of the present agent, or of the last one. Times are in
 * milliseconds of a clock that nobody sets.
 */
typedef struct PgnSupervision
{
	PgnAgent	agent;
	PgnChannel	channel;
	uint64		generation;		/* changes with the descriptors to wait for */
	int64		started;
	int64		heard;			/* when the last whole frame came */
	int64		ticked;			/* when the worker last looked at the clock */
	int64		next_start;
	int64		delay;			/* before the next start, if this agent ends */
	bool		greeted;
	bool		quitting;		/* it was asked to end */
	bool		published;		/* this agent published something */
	bool		save_wanted;	/* something was published that is worth a save */
	bool		save_soon;		/* a reset was applied */
	uint64		reset_sent;		/* number of the last request it was told of */

	/* What the backends count. */
	uint64		events_sent;	/* position in the ring up to which it was sent */
	uint64		event_sent;		/* number of the last event that it was sent */
	uint32		request;		/* of the agent to take; 0 if there is none */
	int64		taken;			/* when the slots were read last */
	int64		next_take;
	int64		take_delay;

	/* What came within the present second, to find out a flood. */
	int64		second;
	int64		frames;
	int64		publishes;
	int64		bytes;			/* of the frames */
	int64		error_bytes;

	int64		unpublished;	/* bytes of snapshots since it last published */
} PgnSupervision;

extern void pgn_supervise_init(PgnSupervision *sup);
extern bool pgn_supervise_live(const PgnSupervision *sup);
extern void pgn_supervise_tick(PgnSupervision *sup, int64 now);
extern void pgn_supervise_reload(PgnSupervision *sup, int64 now);
extern void pgn_supervise_socket(PgnSupervision *sup, int64 now);
extern void pgn_supervise_errors(PgnSupervision *sup, int64 now);
extern void pgn_supervise_quit(PgnSupervision *sup, int64 now);
extern void pgn_supervise_abandon(PgnSupervision *sup);

#endif							/* PGN_SUPERVISE_H */
