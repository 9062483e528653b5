/* The way of packets that are not plain TCP over IP: slower, and knows all. */
#ifndef PG_NETSTAT_GENERAL_H
#define PG_NETSTAT_GENERAL_H

#include <linux/ip.h>
#include <linux/ipv6.h>

#include "client.h"
#include "control.h"
#include "direction.h"
#include "extension.h"
#include "fragment.h"
#include "segment.h"
#include "vlan.h"

#define FRAGMENT4_OFFSET 0x1fff
#define FRAGMENT4_MORE 0x2000

#define TCP_HEADER_MIN 20
#define TCP_DATA_OFFSET 12

/* What the ports and the way say; NEITHER also if the ports are not there. */
static __noinline int
direction_at(struct __sk_buff *skb, __u32 at)
{
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, at, ports, sizeof(ports)) < 0)
		return NEITHER;
	return direction(skb, bpf_ntohs(ports[0]), bpf_ntohs(ports[1]));
}

/* Bytes of the TCP header; the least there can be if the packet is cut before. */
static __noinline __u32
tcp_header(struct __sk_buff *skb, __u32 at)
{
	__u8 offset;

	if (bpf_skb_load_bytes(skb, at + TCP_DATA_OFFSET, &offset, 1) < 0)
		return TCP_HEADER_MIN;
	return (offset >> 4) * 4;
}

/*
 * Whether a fragment is this host's, as far as can be known without its ports.
 * Both ends are on loopback.
 */
static __always_inline int
is_own4(struct __sk_buff *skb, struct iphdr *ip)
{
	if (!loopback && skb->pkt_type == PACKET_OUTGOING)
		return is_local4(ip->saddr);
	return is_local4(ip->daddr);
}

static __always_inline int
is_own6(struct __sk_buff *skb, struct ipv6hdr *ip)
{
	if (!loopback && skb->pkt_type == PACKET_OUTGOING)
		return is_local6(&ip->saddr);
	return is_local6(&ip->daddr);
}

/* A packet whose TCP header is at the offset transport. */
static __noinline int
count_flow4(struct __sk_buff *skb, struct iphdr *ip, __u32 link, __u32 transport)
{
	int d = direction_at(skb, transport);
	__u32 source = bpf_ntohl(ip->saddr), destination = bpf_ntohl(ip->daddr);
	struct wire w;
	__u64 key;

	if (d == NEITHER)
		return FOREIGN;
	key = d == IN ? client4(destination, source) : client4(source, destination);
	w = wire_of(skb, link, transport + tcp_header(skb, transport));
	if (!count_anywhere4(key, w.packets, w.bytes, d))
		return FOREIGN;
	return d == IN ? DATAGRAM_IN : DATAGRAM_OUT;
}

/* The packet begins with at bytes of tags, and stands link bytes into the frame. */
__noinline int
count_any4(struct __sk_buff *skb, __u32 at, __u32 link)
{
	struct chain c = {};
	struct datagram key = {};
	struct iphdr ip;
	__u32 fragment;
	int verdict;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0 || ip.ihl < 5)
		return 0;
	if (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_AH)
		return 0;
	fragment = bpf_ntohs(ip.frag_off);
	c.at = at + ip.ihl * 4;
	c.next = ip.protocol;
	if (!(fragment & FRAGMENT4_OFFSET) &&
	    (!follow(skb, &c) || c.next != IPPROTO_TCP))
		return 0;
	if (!(fragment & (FRAGMENT4_OFFSET | FRAGMENT4_MORE)))
		return count_flow4(skb, &ip, link, c.at);

	if (!is_own4(skb, &ip))
		return 0;
	__builtin_memcpy(key.source, &ip.saddr, 4);
	__builtin_memcpy(key.destination, &ip.daddr, 4);
	key.id = ip.id;
	key.slot = slot;
	key.protocol = ip.protocol;
	key.version = 4;
	if (fragment & FRAGMENT4_OFFSET)
		return hold(&key, (__u64)skb->len + link);
	verdict = count_flow4(skb, &ip, link, c.at);
	return judge(&key, verdict);
}

/*
 * The kernel puts a jumbo option in front of a buffer of more than 64 KB, and
 * takes it off again when it cuts that into segments: no wire ever bears it.
 */
static __noinline __u32
jumbo_bytes(struct __sk_buff *skb, struct ipv6hdr *ip, __u32 at)
{
	__u8 h[4];

	if (ip->nexthdr != NEXT_HOP_BY_HOP || ip->payload_len || !skb->gso_size)
		return 0;
	if (bpf_skb_load_bytes(skb, at + sizeof(*ip), h, sizeof(h)) < 0)
		return 0;
	return h[1] == 0 && h[2] == 194 ? 8 : 0;
}

static __noinline int
count_flow6(struct __sk_buff *skb, struct ipv6hdr *ip, __u32 at, __u32 link, __u32 transport)
{
	int d = direction_at(skb, transport);
	struct client6 key;
	struct wire w;

	if (d == NEITHER)
		return FOREIGN;
	if (d == IN) {
		__builtin_memcpy(key.local, &ip->daddr, 16);
		__builtin_memcpy(key.remote, &ip->saddr, 16);
		KEEP_APART();
	} else {
		__builtin_memcpy(key.local, &ip->saddr, 16);
		__builtin_memcpy(key.remote, &ip->daddr, 16);
		KEEP_APART();
	}
	w = wire_of(skb, link, transport + tcp_header(skb, transport));
	w.bytes -= jumbo_bytes(skb, ip, at) * w.packets;
	if (!count_anywhere6(&key, w.packets, w.bytes, d))
		return FOREIGN;
	return d == IN ? DATAGRAM_IN : DATAGRAM_OUT;
}

/* Whether the fragment of a datagram that begins with next may be one of TCP. */
static __always_inline int
may_be_tcp(__u8 next)
{
	return next == IPPROTO_TCP || next == NEXT_DESTINATION ||
	       next == NEXT_AUTHENTICATION || next == NEXT_ROUTING;
}

__noinline int
count_any6(struct __sk_buff *skb, __u32 at, __u32 link)
{
	struct chain c = {};
	struct datagram key = {};
	struct ipv6hdr ip;
	int verdict;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) < 0)
		return 0;
	c.at = at + sizeof(ip);
	c.next = ip.nexthdr;
	if (!follow(skb, &c))
		return 0;
	if (!c.fragment)
		return c.next == IPPROTO_TCP ? count_flow6(skb, &ip, at, link, c.at) : 0;

	if (!may_be_tcp(c.first_next))
		return 0;
	if (!is_own6(skb, &ip))
		return 0;
	__builtin_memcpy(key.source, &ip.saddr, 16);
	__builtin_memcpy(key.destination, &ip.daddr, 16);
	key.id = c.id;
	key.slot = slot;
	key.version = 6;
	if (c.fragment & FRAGMENT6_OFFSET)
		return hold(&key, (__u64)skb->len + link);
	verdict = FOREIGN;
	if (c.next == IPPROTO_TCP)
		verdict = count_flow6(skb, &ip, at, link, c.at);
	return judge(&key, verdict);
}

/* Not static, as count_client4. */
__noinline int
count_any(struct __sk_buff *skb)
{
	__u32 link = link_header + tag_beside(skb);
	__u32 at = 0;
	__u8 version;

	if (is_tag(skb->protocol)) {
		if (skb->pkt_type == PACKET_OUTGOING)
			link += tags_ahead(skb);
		else
			at = tags_within(skb);
	}
	if (bpf_skb_load_bytes(skb, at, &version, 1) < 0)
		return 0;
	switch (version >> 4) {
	case 4:
		return count_any4(skb, at, link);
	case 6:
		return count_any6(skb, at, link);
	}
	return 0;
}

#endif
