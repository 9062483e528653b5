/* What the agent tells the program, and the constants of each instance of it. */
#ifndef PG_NETSTAT_CONTROL_H
#define PG_NETSTAT_CONTROL_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/*
 * Which half is counted into, and among how many entries a client's home is: few
 * for few clients, so that little memory is touched. The agent changes all of it
 * with one store to the mapped page; each packet reads it once, and counts its
 * client and its device by what it read.
 */
volatile __u64 live SEC(".data.control");

#define LIVE_HALF(word) ((word) & 1)
#define LIVE_HOMES4(word) ((word) >> 1 & 0x7fffffff)
#define LIVE_HOMES6(word) ((word) >> 32)

/* The server's port, in the host's order. */
volatile __u16 port SEC(".data.control");

/*
 * An instance of the program serves one device. The agent sets these before it
 * loads the instance; they are constants to the verifier.
 */
const volatile __u32 slot = 0;          /* the device's place in a part of devices */
const volatile __u32 link_header = 0;   /* bytes in front of each packet, without tags */
const volatile __u8 loopback = 0;       /* each packet passes twice, once each way */
const volatile __u32 cpus = 1;          /* processors that there may be */

/* Whole packets on the wire. In is toward the server, out from it. */
struct counters {
	__u64 packets_in;
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
};

/* What one buffer of the kernel stands for on the wire. */
struct wire {
	__u64 bytes;
	__u64 packets;
};

enum direction {
	NEITHER,
	IN,
	OUT,
};

/*
 * The compiler would join two ways that differ in a constant only into one with
 * the constant in a register, as an offset or as the map to look into. The
 * verifier refuses or fences that for those without CAP_PERFMON. A text of
 * assembly that is empty and yet another at each place keeps it from joining.
 */
#define KEEP_APART() asm volatile("" : : "i"(__COUNTER__) : "memory")

/*
 * The compiler would compute a value late, or in parts, and keep all that goes
 * into it until then: in more registers than there are, and the first store to
 * a word of the stack is fenced. From here on the value is in one register.
 */
#define COMPUTED(value) asm volatile("" : "+r"(value))

static __always_inline void
tally(struct counters *c, enum direction d, struct wire w)
{
	if (d == IN) {
		KEEP_APART();
		c->packets_in += w.packets;
		c->bytes_in += w.bytes;
		KEEP_APART();
	} else {
		KEEP_APART();
		c->packets_out += w.packets;
		c->bytes_out += w.bytes;
		KEEP_APART();
	}
}

#endif
