package pcap

/*
#cgo CFLAGS: -Wall -Wextra -Werror
#cgo LDFLAGS: -lpcap -lpthread
#include "pump.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket/pcap"
	"golang.org/x/sys/unix"
)

const (
	// queueSize is how many packets wait for the reader at most, a power of two.
	// What does not fit stays in the captures' rings.
	queueSize = 16384
	// stride is how many bytes of a packet are looked at, at most: all headers
	// that there can be have place in it, unless they are there to fill it.
	stride = 256
)

// pump is the Go side of pump.h: the queue of packets that a thread of C's takes
// out of captures. gopacket hands them out one at a time, where the call into C
// costs more than everything done with the packet.
type pump struct {
	c       *C.struct_pump
	unit    int64 // ns that a unit of a packet's fraction has
	stride  int
	packets []C.struct_pump_packet
	bytes   []byte
	wake    int      // C's; for the pump
	news    *os.File // C's; for the reader
	tail    uint64
}

// newPump starts to take packets out of handles, which stay the caller's to
// close, but not before the pump.
func newPump(handles []*pcap.Handle, snaplen int, r ring) (*pump, error) {
	p := &pump{unit: int64(handles[0].Resolution().ToDuration()), stride: min(snaplen, stride)}
	p.c = C.pump_new(queueSize, C.uint32_t(p.stride))
	if p.c == nil {
		return nil, errors.New("no memory for packets")
	}
	p.packets = unsafe.Slice(p.c.packets, queueSize)
	p.bytes = unsafe.Slice((*byte)(unsafe.Pointer(p.c.bytes)), queueSize*p.stride)
	p.c.slots = C.uint32_t(r.slots)
	p.c.longest = C.int(r.pause.Milliseconds())
	p.c.timeout = C.int(r.timeout.Milliseconds())
	for _, h := range handles {
		// The pcap_t of a gopacket handle.
		ptr := reflect.ValueOf(h).Elem().FieldByName("cptr")
		if !ptr.IsValid() || ptr.Kind() != reflect.Pointer || ptr.IsNil() {
			C.pump_free(p.c)
			return nil, errors.New("this version of gopacket has other handles than the one that was tested")
		}
		C.pump_add(p.c, C.uintptr_t(ptr.Pointer()))
	}
	if err := p.events(); err != nil {
		C.pump_free(p.c)
		return nil, err
	}
	if errno := C.pump_start(p.c); errno != 0 {
		p.free()
		return nil, fmt.Errorf("starting a thread: %w", syscall.Errno(errno))
	}
	return p, nil
}

func (p *pump) events() error {
	const flags = unix.EFD_CLOEXEC | unix.EFD_NONBLOCK
	wake, err := unix.Eventfd(0, flags)
	if err != nil {
		return err
	}
	news, err := unix.Eventfd(0, flags)
	if err != nil {
		unix.Close(wake)
		return err
	}
	p.wake, p.c.wake, p.c.news = wake, C.int(wake), C.int(news)
	p.news = os.NewFile(uintptr(news), "packets")
	return nil
}

func u64(p *C.uint64_t) *uint64 { return (*uint64)(unsafe.Pointer(p)) }
func u32(p *C.uint32_t) *uint32 { return (*uint32)(unsafe.Pointer(p)) }

// ask gives a number for answered: when that has it, everything that was readable
// by now has been taken. Any goroutine may ask.
func (p *pump) ask() uint64 {
	n := atomic.AddUint64(u64(&p.c.asked), 1)
	signal(p.wake)
	return n
}

// signal makes an event happen.
func signal(fd int) {
	_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// answered gives the last question that is answered.
func (p *pump) answered() uint64 { return atomic.LoadUint64(u64(&p.c.answered)) }

// progress is a question that is answered by the packets before head.
type progress struct {
	question, head uint64
}

// progress gives the last one.
func (p *pump) progress() progress {
	question := p.answered()
	return progress{question, atomic.LoadUint64(u64(&p.c.head))}
}

// ready gives how many packets wait.
func (p *pump) ready() int { return int(atomic.LoadUint64(u64(&p.c.head)) - p.tail) }

// failed gives the index of a capture that cannot be read any more.
func (p *pump) failed() (capture int, failed bool) {
	n := atomic.LoadUint32(u32(&p.c.failed))
	return int(n) - 1, n != 0
}

// at gives the i-th of those that wait.
func (p *pump) at(i int) (capture int, ts int64, data []byte, wire int) {
	slot := int((p.tail + uint64(i)) & (queueSize - 1))
	h := &p.packets[slot]
	return int(h.capture), int64(h.seconds)*int64(time.Second) + int64(h.fraction)*p.unit,
		p.bytes[slot*p.stride:][:h.captured], int(h.wire)
}

// taken gives the place of the first n that wait to others.
func (p *pump) taken(n int) {
	p.tail += uint64(n)
	atomic.StoreUint64(u64(&p.c.tail), p.tail)
}

// wait returns when a question is answered, the queue is half full or the time has
// come; with a zero time, when there is a packet. A wait may end for no reason.
func (p *pump) wait(known uint64, until time.Time) {
	if until.IsZero() {
		atomic.StoreUint32(u32(&p.c.sleeping), 1)
		defer atomic.StoreUint32(u32(&p.c.sleeping), 0)
		if p.ready() > 0 {
			return
		}
	}
	if _, failed := p.failed(); failed || p.answered() != known {
		return
	}
	var event [8]byte
	_ = p.news.SetReadDeadline(until)
	_, _ = p.news.Read(event[:])
}

// interrupt ends a wait, or the next. Any goroutine may call it.
func (p *pump) interrupt() { signal(int(p.c.news)) }

// close ends the thread and frees the queue.
func (p *pump) close() {
	atomic.StoreUint32(u32(&p.c.stop), 1)
	signal(p.wake)
	C.pump_join(p.c)
	p.free()
}

func (p *pump) free() {
	unix.Close(p.wake)
	p.news.Close()
	C.pump_free(p.c)
}
