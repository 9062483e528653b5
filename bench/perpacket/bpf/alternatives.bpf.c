/*
 * What the engine's program is measured beside: a program that does nothing,
 * and one as it would be written without further thought.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT 5432

struct counters {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 32768);
	__type(key, __be32);
	__type(value, struct counters);
} clients SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} device SEC(".maps");

SEC("socket")
int empty(struct __sk_buff *skb)
{
	return 0;
}

static __always_inline void
add(struct counters *c, int out, __u64 bytes)
{
	if (out) {
		asm volatile("" : : "i"(1) : "memory");
		c->packets_out++;
		c->bytes_out += bytes;
		asm volatile("" : : "i"(2) : "memory");
	} else {
		asm volatile("" : : "i"(3) : "memory");
		c->packets_in++;
		c->bytes_in += bytes;
		asm volatile("" : : "i"(4) : "memory");
	}
}

/* One table without halves, no super-packets, tags, fragments or local addresses. */
SEC("socket")
int plain(struct __sk_buff *skb)
{
	struct iphdr ip;
	struct tcphdr tcp;
	struct counters *c, zero = {};
	int out = skb->pkt_type == PACKET_OUTGOING;
	__u32 first = 0;
	__be32 client;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) < 0)
		return 0;
	if (ip.version != 4 || ip.protocol != IPPROTO_TCP)
		return 0;
	if (bpf_skb_load_bytes(skb, ip.ihl * 4, &tcp, sizeof(tcp)) < 0)
		return 0;
	if (out) {
		if (tcp.source != bpf_htons(PORT))
			return 0;
		asm volatile("" : : "i"(5) : "memory");
		client = ip.daddr;
		asm volatile("" : : "i"(6) : "memory");
	} else {
		if (tcp.dest != bpf_htons(PORT))
			return 0;
		asm volatile("" : : "i"(7) : "memory");
		client = ip.saddr;
		asm volatile("" : : "i"(8) : "memory");
	}
	c = bpf_map_lookup_elem(&clients, &client);
	if (!c) {
		bpf_map_update_elem(&clients, &client, &zero, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&clients, &client);
	}
	if (c)
		add(c, out, skb->len + ETH_HLEN);
	c = bpf_map_lookup_elem(&device, &first);
	if (c)
		add(c, out, skb->len + ETH_HLEN);
	return 0;
}

char LICENSE[] SEC("license") = "Apache-2.0";
