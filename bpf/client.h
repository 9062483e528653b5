/* The counters of each client address, in two halves. */
#ifndef PG_NETSTAT_CLIENT_H
#define PG_NETSTAT_CLIENT_H

#include "control.h"
#include "device.h"
#include "local.h"

/*
 * The local address is a part of the key, so that a client that is found needs
 * no other look-up to know that the packet is this host's. The agent sets how
 * many entries there are.
 */
struct client4 {
	__be32 local;
	__be32 remote;
};

struct client6 {
	__u64 local[2];
	__u64 remote[2];
};

#define CLIENTS(name, key_type)                                                \
	struct {                                                               \
		__uint(type, BPF_MAP_TYPE_PERCPU_HASH);                        \
		__uint(max_entries, 1);                                        \
		__type(key, key_type);                                         \
		__type(value, struct counters);                                \
	} name SEC(".maps")

CLIENTS(clients4_even, struct client4);
CLIENTS(clients4_odd, struct client4);
CLIENTS(clients6_even, struct client6);
CLIENTS(clients6_odd, struct client6);

/* How admit4 and admit6 are told the half and the direction in one register. */
#define WAY(odd, d) ((odd) | (d) << 1)

/*
 * A client that is not in the table: enters it if the local address is this
 * host's. Another processor may have entered it since, but only with zeroes for
 * this one, so BPF_ANY overwrites nothing that was counted.
 */
#define ADMIT(family, key_type, is_local)                                      \
	static __noinline int admit##family(key_type *key, __u64 packets,      \
					    __u64 bytes, __u32 way)            \
	{                                                                      \
		struct wire w = {.bytes = bytes, .packets = packets};          \
		struct counters c = {};                                        \
		enum direction d = way >> 1;                                   \
		long failed;                                                   \
									       \
		if (!is_local)                                                 \
			return 0;                                              \
		tally(&c, d, w);                                               \
		if (way & 1)                                                   \
			failed = bpf_map_update_elem(&clients##family##_odd,   \
						     key, &c, BPF_ANY);        \
		else                                                           \
			failed = bpf_map_update_elem(&clients##family##_even,  \
						     key, &c, BPF_ANY);        \
		if (failed)                                                    \
			count_other(way & 1, d, w);                            \
		return 1;                                                      \
	}

ADMIT(4, struct client4, is_local4(key->local))
ADMIT(6, struct client6, is_local6((void *)key->local))

/*
 * Count one buffer's packets for its client and its device, or for neither if
 * the local address is not this host's: tells which. d is a constant where the
 * speed matters. key and word are words of the stack as count_device says.
 */
#define COUNT(family, key_type)                                                \
	static __always_inline int count##family(key_type *key, __u32 *word,   \
						 enum direction d,             \
						 struct wire w)                \
	{                                                                      \
		__u32 odd = half;                                              \
		struct counters *c;                                            \
									       \
		if (odd) {                                                     \
			KEEP_APART();                                          \
			c = bpf_map_lookup_elem(&clients##family##_odd, key);  \
		} else {                                                       \
			KEEP_APART();                                         \
			c = bpf_map_lookup_elem(&clients##family##_even, key); \
		}                                                              \
		if (c)                                                         \
			tally(c, d, w);                                        \
		else if (!admit##family(key, w.packets, w.bytes, WAY(odd, d))) \
			return 0;                                              \
		count_device(word, odd, d, w);                                 \
		return 1;                                                      \
	}

COUNT(4, struct client4)
COUNT(6, struct client6)

#endif
