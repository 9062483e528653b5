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

/*
 * Words and bytes of the packet in the host's order. A packet that ends before
 * ends the program, which keeps nothing.
 */
unsigned long long load_byte(void *skb, unsigned long long at) asm("llvm.bpf.load.byte");
unsigned long long load_word(void *skb, unsigned long long at) asm("llvm.bpf.load.word");

/* Version 4 and no options. */
#define PLAIN_IPV4 0x45

/* Where words of the IPv4 header are, and what is in them. */
#define FRAGMENT_AND_PROTOCOL4 6
#define FRAGMENT4 (FRAGMENT4_OFFSET | FRAGMENT4_MORE)
#define SOURCE4 12
#define DESTINATION4 16

/* Plain but for that they stand for several packets. */
static __noinline int
count_super4(struct __sk_buff *skb, __u64 key, __u32 d)
{
	__u32 at = sizeof(struct iphdr);
	struct wire w = wire_of(skb, link_header + tag_beside(skb), at + tcp_header(skb, at));

	return count_anywhere4(key, w.packets, w.bytes, d);
}

static __noinline int
count_super6(struct __sk_buff *skb, struct client6 *key, __u32 d)
{
	__u32 at = sizeof(struct ipv6hdr);
	struct wire w = wire_of(skb, link_header + tag_beside(skb), at + tcp_header(skb, at));

	return count_anywhere6(key, w.packets, w.bytes, d);
}

/* In place: what the helper has written to on the stack may be written again. */
static __always_inline void
swap_ends(struct client6 *key)
{
	__u64 high = key->local[0], low = key->local[1];

	key->local[0] = key->remote[0];
	key->local[1] = key->remote[1];
	key->remote[0] = high;
	key->remote[1] = low;
}

static __always_inline struct wire
one_packet(struct __sk_buff *skb)
{
	struct wire w = {.bytes = (__u64)skb->len + link_header + tag_beside(skb), .packets = 1};

	COMPUTED(w.bytes);
	return w;
}

static __always_inline void
count_ipv4(struct __sk_buff *skb)
{
	__u32 word = load_word(skb, FRAGMENT_AND_PROTOCOL4), ports;
	enum direction d;
	__u64 source, destination, key;

	switch (word & 0xff) {
	case IPPROTO_TCP:
		break;
	case IPPROTO_AH:
		count_any(skb);
		return;
	default:
		return;
	}
	if (load_byte(skb, 0) != PLAIN_IPV4 || word >> 16 & FRAGMENT4) {
		count_any(skb);
		return;
	}
	ports = load_word(skb, sizeof(struct iphdr));
	d = direction(skb, ports >> 16, ports & 0xffff);
	if (d == NEITHER)
		return;
	source = load_word(skb, SOURCE4);
	destination = load_word(skb, DESTINATION4);
	key = d == IN ? client4(destination, source) : client4(source, destination);
	COMPUTED(d);
	if (skb->gso_size)
		count_super4(skb, key, d);
	else
		count_near4(key, d, one_packet(skb));
}

static __always_inline void
count_ipv6(struct __sk_buff *skb)
{
	struct client6 key;
	enum direction d;
	__u32 ports;

	switch (load_byte(skb, offsetof(struct ipv6hdr, nexthdr))) {
	case IPPROTO_TCP:
		break;
	case IPPROTO_UDP:
	case IPPROTO_ICMPV6:
		return;
	default:
		count_any(skb);
		return;
	}
	if (load_byte(skb, 0) >> 4 != 6) {
		count_any(skb);
		return;
	}
	ports = load_word(skb, sizeof(struct ipv6hdr));
	d = direction(skb, ports >> 16, ports & 0xffff);
	if (d == NEITHER)
		return;
	if (bpf_skb_load_bytes(skb, offsetof(struct ipv6hdr, saddr), &key, sizeof(key)) < 0)
		return;
	if (d == IN)
		swap_ends(&key);
	COMPUTED(d);
	if (skb->gso_size)
		count_super6(skb, &key, d);
	else
		count_near6(&key, d, one_packet(skb));
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
