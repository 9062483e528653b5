/* The counters of each device, and of what the tables had no room for. */
#ifndef PG_NETSTAT_DEVICE_H
#define PG_NETSTAT_DEVICE_H

#include "control.h"

/* Two entries a device: slot * 2 + half. The agent sets how many. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct counters);
} device_counters SEC(".maps");

/* Packets of clients that found no room, by half. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct counters);
} other_counters SEC(".maps");

/*
 * key points to a word of the stack that a helper has written before: the first
 * store to a word of the stack costs a fence.
 */
static __always_inline void
count_device(__u32 *key, __u32 odd, enum direction d, struct wire w)
{
	struct counters *c;

	*key = slot * 2 + odd;
	c = bpf_map_lookup_elem(&device_counters, key);
	if (c)
		tally(c, d, w);
}

static __always_inline void
count_other(__u32 odd, enum direction d, struct wire w)
{
	struct counters *c = bpf_map_lookup_elem(&other_counters, &odd);

	if (c)
		tally(c, d, w);
}

#endif
