/* VLAN tags: in the buffer's metadata, in front of its data, or in its data. */
#ifndef PG_NETSTAT_VLAN_H
#define PG_NETSTAT_VLAN_H

#include "control.h"

#define TAG_BYTES 4
#define TAGS_MAX 4

static __always_inline int
is_tag(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Bytes of the tag that the kernel took off, or the device will put on. */
static __always_inline __u32
tag_beside(struct __sk_buff *skb)
{
	return skb->vlan_present ? TAG_BYTES : 0;
}

/*
 * A received packet with a second tag begins with the rest of that tag: two
 * bytes of it, then the type of what follows. Gives the bytes of such tags,
 * which are in the buffer's length.
 */
static __always_inline int
tags_within(struct __sk_buff *skb)
{
	int at = 0;

	for (int i = 0; i < TAGS_MAX; i++) {
		__be16 next;

		if (bpf_skb_load_bytes(skb, at + 2, &next, sizeof(next)) < 0)
			break;
		at += TAG_BYTES;
		if (!is_tag(next))
			break;
	}
	return at;
}

/*
 * A sent packet with tags in its frame begins behind them, at the IP header.
 * Gives the bytes of such tags, which are not in the buffer's length.
 */
static __always_inline int
tags_ahead(struct __sk_buff *skb)
{
	int bytes = 0;

	for (int i = 0; i < TAGS_MAX; i++) {
		__be16 type;

		if (bpf_skb_load_bytes_relative(skb, ETH_ALEN * 2 + bytes, &type,
						sizeof(type), BPF_HDR_START_MAC) < 0)
			break;
		if (!is_tag(type))
			break;
		bytes += TAG_BYTES;
	}
	return bytes ? bytes : TAG_BYTES;
}

#endif
