/* Which addresses are this host's: the prefixes of its routing table "local". */
#ifndef PG_NETSTAT_LOCAL_H
#define PG_NETSTAT_LOCAL_H

#include <linux/in6.h>

#include "control.h"

#define LOCAL_PREFIXES 65536

struct prefix4 {
	__u32 length;
	__be32 address;
};

struct prefix6 {
	__u32 length;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LOCAL_PREFIXES);
	__type(key, struct prefix4);
	__type(value, __u8);
} local4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, LOCAL_PREFIXES);
	__type(key, struct prefix6);
	__type(value, __u8);
} local6 SEC(".maps");

static __noinline int
is_local4(__be32 address)
{
	struct prefix4 key = {.length = 32, .address = address};

	return bpf_map_lookup_elem(&local4, &key) != 0;
}

static __noinline int
is_local6(const struct in6_addr *address)
{
	struct prefix6 key = {.length = 128};

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return bpf_map_lookup_elem(&local6, &key) != 0;
}

#endif
