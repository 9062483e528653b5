/* Fragments of a datagram, of which only the first says the ports. */
#ifndef PG_NETSTAT_FRAGMENT_H
#define PG_NETSTAT_FRAGMENT_H

#include "control.h"

#define FRAGMENTED_DATAGRAMS 4096

/* One datagram on one device; an IPv4 address is in the first four bytes. */
struct datagram {
	__u8 source[16];
	__u8 destination[16];
	__u32 id;
	__u16 slot;
	__u8 protocol;
	__u8 version;
};

/* What a datagram is, as its first fragment told. */
enum verdict {
	UNKNOWN,
	DATAGRAM_IN,
	DATAGRAM_OUT,
	FOREIGN,
};

/*
 * What passed of a datagram besides its first fragment, by half. The agent
 * adds to the readings what the verdict says is the server's, and removes what
 * is old. So nothing has to be moved between maps while packets arrive on
 * several processors, in any order.
 */
struct held {
	__u64 packets[2];
	__u64 bytes[2];
	__u32 verdict;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FRAGMENTED_DATAGRAMS);
	__type(key, struct datagram);
	__type(value, struct held);
} fragments SEC(".maps");

/* Fragments that found no room, by half. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} lost_fragments SEC(".maps");

/* The first fragment says what the others are. */
static __noinline int
judge(struct datagram *key, __u32 verdict)
{
	struct held *f = bpf_map_lookup_elem(&fragments, key);

	if (!f) {
		struct held first = {.verdict = verdict};

		if (!bpf_map_update_elem(&fragments, key, &first, BPF_NOEXIST))
			return 0;
		f = bpf_map_lookup_elem(&fragments, key);
	}
	if (f)
		f->verdict = verdict;
	return 0;
}

/* A fragment that is not the first, whether or not that has passed already. */
static __noinline int
hold(struct datagram *key, __u64 bytes)
{
	__u32 odd = LIVE_HALF(live);
	struct held *f = bpf_map_lookup_elem(&fragments, key);

	if (!f) {
		struct held piece = {};
		__u64 *lost;

		if (odd) {
			KEEP_APART();
			piece.packets[1] = 1;
			piece.bytes[1] = bytes;
			KEEP_APART();
		} else {
			KEEP_APART();
			piece.packets[0] = 1;
			piece.bytes[0] = bytes;
			KEEP_APART();
		}
		if (!bpf_map_update_elem(&fragments, key, &piece, BPF_NOEXIST))
			return 0;
		f = bpf_map_lookup_elem(&fragments, key);
		if (!f) {
			lost = bpf_map_lookup_elem(&lost_fragments, &odd);
			if (lost)
				*lost += 1;
			return 0;
		}
	}
	if (f->verdict == FOREIGN)
		return 0;
	if (odd) {
		KEEP_APART();
		__sync_fetch_and_add(&f->packets[1], 1);
		__sync_fetch_and_add(&f->bytes[1], bytes);
		KEEP_APART();
	} else {
		KEEP_APART();
		__sync_fetch_and_add(&f->packets[0], 1);
		__sync_fetch_and_add(&f->bytes[0], bytes);
		KEEP_APART();
	}
	return 0;
}

#endif
