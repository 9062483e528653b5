/* What a buffer that holds several segments is on the wire. */
#ifndef PG_NETSTAT_SEGMENT_H
#define PG_NETSTAT_SEGMENT_H

#include "control.h"

/*
 * Segmentation offload hands the kernel one buffer for up to thousands of
 * packets, each of which has all headers on the wire. link is what precedes the
 * data of the buffer on the wire, headers what precedes the payload in it.
 * Buffers from guests (virtio, tap, Xen) say the size of the segments and not
 * their number.
 */
static __always_inline struct wire
wire_of(struct __sk_buff *skb, __u32 link, __u32 headers)
{
	struct wire w = {.bytes = (__u64)skb->len + link, .packets = 1};
	__u32 size = skb->gso_size;

	if (size) {
		__u32 segments = skb->gso_segs;

		if (!segments && skb->len > headers)
			segments = (skb->len - headers + size - 1) / size;
		if (segments > 1) {
			w.packets = segments;
			w.bytes += (__u64)(segments - 1) * (link + headers);
		}
	}
	return w;
}

#endif
