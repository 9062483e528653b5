/* The counters of each device. */
#ifndef PG_NETSTAT_DEVICE_H
#define PG_NETSTAT_DEVICE_H

#include "table.h"

/* A part has the counters of both halves of each slot. */
TABLE(devices);

const volatile __u32 devices_part = 0;  /* bytes */

/*
 * Where in devices this instance counts: before any branch by the half, behind
 * which the verifier would know two sums and allow one.
 */
static __always_inline __u64
device_place(__u32 cpu, __u32 odd)
{
	__u64 at = (__u64)devices_part * cpu + (slot * 2 + odd) * sizeof(struct counters);

	COMPUTED(at);
	return at;
}

#endif
