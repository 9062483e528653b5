/*
 * Counts the packets between the server and its clients: a socket filter on a
 * packet socket of type SOCK_DGRAM, so that a packet begins with its IP header.
 * It lets nothing through to the socket.
 *
 * It runs for every packet of the device, so a packet of others leaves as early
 * as can be known, and plain TCP over IP takes a short way: one copy of its
 * headers to the stack, which the table's key is then made of in place. What
 * decides the time here are fences: loaded without CAP_PERFMON, the first store
 * of the program to a word of its stack costs one, unless a helper has written
 * there before.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include "client.h"
#include "control.h"
#include "direction.h"
#include "general.h"
#include "segment.h"
#include "vlan.h"

#define KEEP_NOTHING 0

struct tcp4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct tcp6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

/* As bytes in memory: version 4 and no options. */
#define PLAIN_IPV4 0x45
#define FRAGMENT4 (FRAGMENT4_OFFSET | FRAGMENT4_MORE)

static __always_inline int
count_plain4(struct __sk_buff *skb, struct tcp4 *h, enum direction d)
{
	__u32 link = link_header + tag_beside(skb);
	struct wire w = wire_of(skb, link, sizeof(h->ip) + h->tcp.doff * 4);
	struct client4 *key = (void *)&h->ip.saddr;

	if (d == IN) {
		__be32 source = h->ip.saddr;

		h->ip.saddr = h->ip.daddr;
		h->ip.daddr = source;
	}
	return count4(key, (void *)h, d, w);
}

static __always_inline int
count_plain6(struct __sk_buff *skb, struct tcp6 *h, enum direction d)
{
	__u32 link = link_header + tag_beside(skb);
	struct wire w = wire_of(skb, link, sizeof(h->ip) + h->tcp.doff * 4);
	struct client6 *key = (void *)&h->ip.saddr;

	if (d == IN) {
		__u64 high = key->local[0], low = key->local[1];

		key->local[0] = key->remote[0];
		key->local[1] = key->remote[1];
		key->remote[0] = high;
		key->remote[1] = low;
	}
	return count6(key, (void *)h, d, w);
}

static __always_inline int
count_ipv4(struct __sk_buff *skb)
{
	struct tcp4 h __attribute__((aligned(8)));

	if (bpf_skb_load_bytes(skb, 0, &h, sizeof(h)) < 0)
		return count_any(skb);
	if (*(__u8 *)&h != PLAIN_IPV4 || (h.ip.frag_off & bpf_htons(FRAGMENT4)))
		return count_any(skb);
	if (h.ip.protocol != IPPROTO_TCP)
		return h.ip.protocol == IPPROTO_AH ? count_any(skb) : 0;
	switch (direction(skb, h.tcp.source, h.tcp.dest)) {
	case IN:
		return count_plain4(skb, &h, IN);
	case OUT:
		return count_plain4(skb, &h, OUT);
	case NEITHER:
		break;
	}
	return 0;
}

static __always_inline int
count_ipv6(struct __sk_buff *skb)
{
	struct tcp6 h __attribute__((aligned(8)));

	if (bpf_skb_load_bytes(skb, 0, &h, sizeof(h)) < 0)
		return count_any(skb);
	if (h.ip.version != 6)
		return count_any(skb);
	switch (h.ip.nexthdr) {
	case IPPROTO_TCP:
		break;
	case IPPROTO_UDP:
	case IPPROTO_ICMPV6:
		return 0;
	default:
		return count_any(skb);
	}
	switch (direction(skb, h.tcp.source, h.tcp.dest)) {
	case IN:
		return count_plain6(skb, &h, IN);
	case OUT:
		return count_plain6(skb, &h, OUT);
	case NEITHER:
		break;
	}
	return 0;
}

/*
 * The version is what the header says: skb->protocol is only which one to try
 * first, but where it says that tags come before.
 */
SEC("socket")
int count_packet(struct __sk_buff *skb)
{
	__u32 protocol = skb->protocol;

	if (protocol == bpf_htons(ETH_P_IP))
		count_ipv4(skb);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		count_ipv6(skb);
	else
		count_any(skb);
	return KEEP_NOTHING;
}

char LICENSE[] SEC("license") = "Apache-2.0";
