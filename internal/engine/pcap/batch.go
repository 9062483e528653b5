package pcap

/*
#cgo LDFLAGS: -lpcap
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <pcap.h>

struct head
{
	int64_t  seconds;
	int64_t  fraction;
	uint32_t captured;
	uint32_t wire;
};

struct batch
{
	struct head *heads;
	uint8_t     *bytes;
	uint32_t     stride;
	uint32_t     filled;
};

static void
keep(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct batch *b = (struct batch *) user;
	struct head *to = &b->heads[b->filled];

	to->seconds = h->ts.tv_sec;
	to->fraction = h->ts.tv_usec;
	to->wire = h->len;
	to->captured = h->caplen < b->stride ? h->caplen : b->stride;
	memcpy(b->bytes + (size_t) b->filled * b->stride, bytes, to->captured);
	b->filled++;
}

static int
drain(uintptr_t handle, struct head *heads, uint8_t *bytes, uint32_t stride, uint32_t most)
{
	struct batch b = {heads, bytes, stride, 0};
	int result;

	result = pcap_dispatch((pcap_t *) handle, (int) most, keep, (u_char *) &b);
	return result < 0 && b.filled == 0 ? result : (int) b.filled;
}

static void
wait_readable(uintptr_t handle, int wake, int timeout)
{
	struct pollfd fds[2];

	fds[0].fd = pcap_get_selectable_fd((pcap_t *) handle);
	fds[0].events = POLLIN;
	fds[1].fd = wake;
	fds[1].events = POLLIN;
	(void) poll(fds, 2, timeout);
}
*/
import "C"

import (
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket/pcap"
)

const (
	// batchSize is how many packets are taken at once.
	batchSize = 512
	// stride is how many bytes of a packet are looked at, at most: all headers
	// that there can be have place in it, unless they are there to fill it.
	stride = 256
)

// batch is a number of packets taken from a capture. gopacket hands out one at a
// time, where the call into C costs more than everything done with the packet.
type batch struct {
	handle C.uintptr_t
	unit   int64 // ns that a unit of the fraction has
	stride int
	heads  []C.struct_head
	bytes  []byte
}

func newBatch(h *pcap.Handle, snaplen int) (*batch, error) {
	// The pcap_t of a gopacket handle.
	p := reflect.ValueOf(h).Elem().FieldByName("cptr")
	if !p.IsValid() || p.Kind() != reflect.Pointer || p.IsNil() {
		return nil, fmt.Errorf("this version of gopacket has other handles than the one that was tested")
	}
	b := &batch{handle: C.uintptr_t(p.Pointer()), stride: min(snaplen, stride)}
	b.unit = int64(h.Resolution().ToDuration())
	b.heads = make([]C.struct_head, batchSize)
	b.bytes = make([]byte, batchSize*b.stride)
	return b, nil
}

// fill takes the packets that there are, without waiting. Less than batchSize
// means that there were no more.
func (b *batch) fill() (int, bool) {
	n := int(C.drain(b.handle, &b.heads[0], (*C.uint8_t)(unsafe.Pointer(&b.bytes[0])),
		C.uint32_t(b.stride), batchSize))
	return max(n, 0), n >= 0
}

// at gives a packet of the batch.
func (b *batch) at(i int) (ts int64, data []byte, wire int) {
	h := &b.heads[i]
	at := i * b.stride
	return int64(h.seconds)*int64(time.Second) + int64(h.fraction)*b.unit,
		b.bytes[at : at+int(h.captured)], int(h.wire)
}

// wait returns when there may be a packet, the descriptor wake is readable, or
// the timeout has passed.
func (b *batch) wait(wake int, timeout time.Duration) {
	C.wait_readable(b.handle, C.int(wake), C.int(timeout.Milliseconds()))
}
