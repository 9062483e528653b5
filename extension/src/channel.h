/*
 * channel.h
 *		The worker's end of the socket: what came in and was not handled yet, what
 *		has to go out. Nothing here ever blocks.
 */
#ifndef PGN_CHANNEL_H
#define PGN_CHANNEL_H

#include "postgres.h"

#include "frame.h"

typedef struct PgnBuffer
{
	char	   *data;
	Size		size;
	Size		start;			/* of what is in it */
	Size		end;
} PgnBuffer;

typedef struct PgnChannel
{
	int			socket;			/* owned by the agent's struct */
	PgnBuffer	in;
	PgnBuffer	out;
	bool		closed;			/* the agent sends nothing any more */
	bool		deaf;			/* the agent reads nothing any more */
	int64		progress;		/* when output last went out, or was empty; ms */
} PgnChannel;

extern void pgn_channel_open(PgnChannel *channel, int socket, int64 now);
extern void pgn_channel_close(PgnChannel *channel);
extern Size pgn_channel_pending(const PgnChannel *channel);
extern char *pgn_channel_reserve(PgnChannel *channel, Size len);
extern void pgn_channel_flush(PgnChannel *channel, int64 now);
extern Size pgn_channel_receive(PgnChannel *channel, Size wanted);
extern PgnSlice pgn_channel_received(const PgnChannel *channel);
extern void pgn_channel_consume(PgnChannel *channel, Size len);

#endif							/* PGN_CHANNEL_H */
