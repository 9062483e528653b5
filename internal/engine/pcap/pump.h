/*
 * A pump is a thread that takes packets out of the rings of a device's captures
 * and puts the first bytes of each into a queue in ordinary memory.
 *
 * The rings are small and must be emptied a hundred times a second. For Go's
 * scheduler each of these times costs a dozen thread switches, since it watches
 * every thread that is in C; for a thread that it does not know, one. The reader
 * in Go comes for the queue at its leisure.
 *
 * The pump alone writes head, answered and failed, the reader alone the others.
 */
#ifndef PUMP_H
#define PUMP_H

#include <pcap.h>
#include <pthread.h>
#include <stdint.h>

/* One for each direction. */
#define PUMP_CAPTURES 2

struct pump_packet
{
	int64_t		seconds;
	int64_t		fraction;	/* of a second, as the handle has it */
	uint32_t	captured;	/* bytes in the queue */
	uint32_t	wire;		/* bytes on the wire */
	uint32_t	capture;	/* index of that it came from */
	uint32_t	unused;
};

struct pump
{
	/* Counts of packets that were ever put into and taken out of the queue. */
	uint64_t	head;
	uint64_t	tail;

	/*
	 * The reader counts asked up to learn when everything that was readable by
	 * then is in the queue: answered is what asked was before all rings were
	 * found empty.
	 */
	uint64_t	asked;
	uint64_t	answered;

	uint32_t	sleeping;	/* the reader wants news of the next packet */
	uint32_t	stop;
	uint32_t	failed;		/* 1 + index of a capture that cannot be read */

	/* What follows does not change while the pump runs. */
	uint32_t	size;		/* packets in the queue, a power of two */
	uint32_t	stride;		/* bytes of a packet in the queue */
	uint32_t	slots;		/* packets that a ring has room for, about */
	uint32_t	captures;
	int			longest;	/* ms, the longest time not to look at the rings */
	int			timeout;	/* ms, the longest time to wait for a packet */
	int			wake;		/* event for the pump */
	int			news;		/* event for the reader */
	pcap_t	   *handle[PUMP_CAPTURES];
	pthread_t	thread;
	struct pump_packet *packets;
	uint8_t    *bytes;
};

extern struct pump *pump_new(uint32_t size, uint32_t stride);

/* Adds a capture, before the start. */
extern void pump_add(struct pump *p, uintptr_t handle);

/* Gives 0 or an errno. */
extern int	pump_start(struct pump *p);

/* Waits for the thread, which has been told to stop or has failed. */
extern void pump_join(struct pump *p);
extern void pump_free(struct pump *p);

#endif
