/*
 * A pump is a thread that takes packets out of a capture's ring and puts the
 * first bytes of each into a queue in ordinary memory.
 *
 * The ring is small and must be emptied some fifty times a second. For Go's
 * scheduler each of these times costs a dozen thread switches, since it watches
 * every thread that is in C; for a thread that it does not know, one. The reader
 * in Go comes for the queue at its leisure.
 *
 * The pump alone writes head, answered and failed, the reader alone tail, asked
 * and stop. Either sets sleeping: the reader to 1 before it waits, the pump to
 * 0 when it wakes it up.
 */
#ifndef PUMP_H
#define PUMP_H

#include <pcap.h>
#include <pthread.h>
#include <stdint.h>

struct pump_packet
{
	int64_t		seconds;
	int64_t		fraction;	/* of a second, as the handle has it */
	uint32_t	captured;	/* bytes in the queue */
	uint32_t	wire;		/* bytes on the wire */
};

struct pump
{
	/* Counts of packets that were ever put into and taken out of the queue. */
	uint64_t	head;
	uint64_t	tail;

	/*
	 * The reader counts asked up to learn when everything that was readable by
	 * then is in the queue: answered is what asked was before the ring was
	 * found empty.
	 */
	uint64_t	asked;
	uint64_t	answered;

	uint32_t	sleeping;	/* the reader waits for news */
	uint32_t	stop;
	uint32_t	failed;		/* the capture cannot be read */

	/* What follows does not change while the pump runs. */
	uint32_t	size;		/* packets in the queue, a power of two */
	uint32_t	stride;		/* bytes of a packet in the queue */
	uint32_t	slots;		/* packets that the ring has room for, about */
	int			longest;	/* ms, the longest time not to look at the ring */
	int			timeout;	/* ms, the longest time to wait for a packet */
	int			wake;		/* event for the pump */
	int			news;		/* event for the reader */
	pcap_t	   *handle;
	pthread_t	thread;
	struct pump_packet *packets;
	uint8_t    *bytes;
};

/* These return 0 or an errno. */
extern int	pump_start(struct pump *p);
extern struct pump *pump_new(uintptr_t handle, uint32_t size, uint32_t stride);

/* Waits for the thread, which has been told to stop or has failed. */
extern void pump_join(struct pump *p);
extern void pump_free(struct pump *p);

#endif
