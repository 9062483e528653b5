/* The counters of each client address, in two halves. */
#ifndef PG_NETSTAT_CLIENT_H
#define PG_NETSTAT_CLIENT_H

#include "device.h"
#include "local.h"
#include "table.h"

/*
 * The local address is a part of the key, so that a client that is found needs
 * no other look-up to know that the packet is this host's: for IPv4 one word,
 * the local address high and the remote one low.
 */
struct client6 {
	__u64 local[2];
	__u64 remote[2];
};

#define KEY4_WORDS 1
#define KEY6_WORDS 4

TABLE(clients4_even);
TABLE(clients4_odd);
TABLE(clients6_even);
TABLE(clients6_odd);

const volatile struct extent extent4 = {};
const volatile struct extent extent6 = {};

static __always_inline __u64
client4(__u32 local, __u32 remote)
{
	__u64 key = (__u64)local << 32 | remote;

	COMPUTED(key);
	return key;
}

static __always_inline void
count_found(struct counters *c, __u64 device, enum direction d, struct wire w)
{
	if (d == IN) {
		tally(c, IN, w);
		tally(plus(devices, device), IN, w);
	} else {
		tally(c, OUT, w);
		tally(plus(devices, device), OUT, w);
	}
}

/* What became of a packet. */
enum outcome {
	NOT_LOCAL, /* the local address is not this host's */
	COUNTED,
	CROWDED,          /* nothing: all entries near the home have other clients */
};

/*
 * Count one buffer's packets for its client and its device. These functions are
 * not static so that the verifier looks at them once, not at every call. far is
 * for a client that is crowded out of the few entries. Should the half change in
 * between, the client may be in two places of the other half: both are read.
 */
__noinline int
count_client4(__u64 key, __u64 packets, __u64 bytes, __u32 d, __u32 far)
{
	struct wire w = {.bytes = bytes, .packets = packets};
	__u32 cpu = bpf_get_smp_processor_id(), odd;
	__u64 now = live, home, device;
	struct counters *c;
	struct found found;
	char *table;

	if (cpu >= cpus)
		return NOT_LOCAL;
	odd = LIVE_HALF(now);
	device = device_place(cpu, odd);
	table = half_of(clients4_even, clients4_odd, odd);
	home = far ? far_home_of(&extent4, LIVE_HOMES4(now), &key, KEY4_WORDS)
		   : home_of(&extent4, LIVE_HOMES4(now), &key, KEY4_WORDS);
	found = search(table, cpu, &extent4, home, &key, KEY4_WORDS);
	if (!found.entry && !far)
		return CROWDED;
	if (found.entry && !is_free(found.entry, KEY4_WORDS))
		c = counters_of(found.entry, KEY4_WORDS);
	else if (is_local4(bpf_htonl(key >> 32)))
		c = enter(head_of(table, cpu, &extent4), &extent4, found, &key, KEY4_WORDS);
	else
		return NOT_LOCAL;
	count_found(c, device, d, w);
	return COUNTED;
}

__noinline int
count_client6(const struct client6 *key, __u64 packets, __u64 bytes, __u32 d, __u32 far)
{
	struct wire w = {.bytes = bytes, .packets = packets};
	__u32 cpu = bpf_get_smp_processor_id(), odd;
	__u64 now = live, home, device;
	struct counters *c;
	struct found found;
	char *table;

	if (cpu >= cpus || !key)
		return NOT_LOCAL;
	odd = LIVE_HALF(now);
	device = device_place(cpu, odd);
	table = half_of(clients6_even, clients6_odd, odd);
	home = far ? far_home_of(&extent6, LIVE_HOMES6(now), key->local, KEY6_WORDS)
		   : home_of(&extent6, LIVE_HOMES6(now), key->local, KEY6_WORDS);
	found = search(table, cpu, &extent6, home, key->local, KEY6_WORDS);
	if (!found.entry && !far)
		return CROWDED;
	if (found.entry && !is_free(found.entry, KEY6_WORDS))
		c = counters_of(found.entry, KEY6_WORDS);
	else if (is_local6((void *)key->local))
		c = enter(head_of(table, cpu, &extent6), &extent6, found, key->local, KEY6_WORDS);
	else
		return NOT_LOCAL;
	count_found(c, device, d, w);
	return COUNTED;
}

/* Tell whether the local address is this host's, and the packets counted. */
static __noinline int
count_anywhere4(__u64 key, __u64 packets, __u64 bytes, __u32 d)
{
	int outcome = count_client4(key, packets, bytes, d, 0);

	if (outcome == CROWDED)
		outcome = count_client4(key, packets, bytes, d, 1);
	return outcome == COUNTED;
}

static __noinline int
count_anywhere6(const struct client6 *key, __u64 packets, __u64 bytes, __u32 d)
{
	int outcome = count_client6(key, packets, bytes, d, 0);

	if (outcome == CROWDED)
		outcome = count_client6(key, packets, bytes, d, 1);
	return outcome == COUNTED;
}

/* The same, fast for a client that is near its home. */
static __always_inline void
count_near4(__u64 key, enum direction d, struct wire w)
{
	__u32 cpu = bpf_get_smp_processor_id(), odd;
	__u64 now = live, home, device;
	struct counters *c;

	if (cpu >= cpus)
		return;
	home = home_of(&extent4, LIVE_HOMES4(now), &key, KEY4_WORDS);
	home = offset_of(cpu, &extent4, home, KEY4_WORDS);
	odd = LIVE_HALF(now);
	device = device_place(cpu, odd);
	c = find(half_of(clients4_even, clients4_odd, odd), home, &key, KEY4_WORDS);
	if (c)
		count_found(c, device, d, w);
	else
		count_anywhere4(key, w.packets, w.bytes, d);
}

static __always_inline void
count_near6(const struct client6 *key, enum direction d, struct wire w)
{
	__u32 cpu = bpf_get_smp_processor_id(), odd;
	__u64 now = live, home, device;
	struct counters *c;

	if (cpu >= cpus)
		return;
	home = home_of(&extent6, LIVE_HOMES6(now), key->local, KEY6_WORDS);
	home = offset_of(cpu, &extent6, home, KEY6_WORDS);
	odd = LIVE_HALF(now);
	device = device_place(cpu, odd);
	c = find(half_of(clients6_even, clients6_odd, odd), home, key->local, KEY6_WORDS);
	if (c)
		count_found(c, device, d, w);
	else
		count_anywhere6(key, w.packets, w.bytes, d);
}

#endif
