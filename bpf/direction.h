/* Whether a packet goes to the server, comes from it, or is none of its. */
#ifndef PG_NETSTAT_DIRECTION_H
#define PG_NETSTAT_DIRECTION_H

#include "control.h"

/*
 * The port says it together with the way the packet takes through the device,
 * so that this host as the client of another server on the same port counts
 * nothing. Packets that the device heard for another hardware address count as
 * received: those of a macvlan pass its parent so. On loopback the way says
 * nothing, for each packet takes both: the received copy counts.
 */
static __always_inline enum direction
direction(struct __sk_buff *skb, __u16 source, __u16 destination)
{
	if (loopback) {
		if (skb->pkt_type == PACKET_OUTGOING)
			return NEITHER;
		if (destination == port)
			return IN;
		return source == port ? OUT : NEITHER;
	}
	if (skb->pkt_type == PACKET_OUTGOING)
		return source == port ? OUT : NEITHER;
	return destination == port ? IN : NEITHER;
}

#endif
