/* The headers between an IP header and that of TCP. */
#ifndef PG_NETSTAT_EXTENSION_H
#define PG_NETSTAT_EXTENSION_H

#include "control.h"

/* RFC 8200 has each once, destination options twice; more is not followed. */
#define EXTENSIONS_MAX 8

#define NEXT_HOP_BY_HOP 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_AUTHENTICATION 51
#define NEXT_DESTINATION 60
#define NEXT_MOBILITY 135

/* Where a packet's headers have been followed to. */
struct chain {
	__u32 at;         /* offset of the header of the protocol next */
	__u32 fragment;   /* the fragment header's offset and flag, or 0 */
	__u32 id;         /* and its identification */
	__u8 next;
	__u8 first_next;  /* what its datagram begins with */
};

#define FRAGMENT6_OFFSET 0xfff8
#define FRAGMENT6_MORE 0x0001

/* Gives whether c->next is the protocol of what the packet carries at c->at. */
static __noinline int
follow(struct __sk_buff *skb, struct chain *c)
{
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		__u8 h[8];

		switch (c->next) {
		case NEXT_HOP_BY_HOP:
		case NEXT_ROUTING:
		case NEXT_FRAGMENT:
		case NEXT_AUTHENTICATION:
		case NEXT_DESTINATION:
		case NEXT_MOBILITY:
			break;
		default:
			return 1;
		}
		if (bpf_skb_load_bytes(skb, c->at, h, sizeof(h)) < 0)
			return 0;
		if (c->next == NEXT_FRAGMENT) {
			c->fragment = h[2] << 8 | h[3];
			c->fragment &= FRAGMENT6_OFFSET | FRAGMENT6_MORE;
			c->id = *(__u32 *)(h + 4);
			c->first_next = h[0];
			c->at += 8;
			if (c->fragment & FRAGMENT6_OFFSET)
				return 1;
		} else if (c->next == NEXT_AUTHENTICATION) {
			c->at += (h[1] + 2) * 4;
		} else {
			c->at += (h[1] + 1) * 8;
		}
		c->next = h[0];
	}
	return 0;
}

#endif
