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

	"golang.org/x/sys/unix"
)

const (
	// queueSize is how many packets wait for the reader at most, a power of two.
	// What does not fit stays in the capture's ring.
	queueSize = 8192
	// stride is how many bytes of a packet are looked at, at most: all headers
	// that there can be have place in it, unless they are there to fill it.
	stride = 256
)

// pump is the Go side of pump.h: the queue of packets that a thread of C's takes
// out of a capture. gopacket hands them out one at a time, where the call into C
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

// newPump starts to take packets out of a handle, which stays the caller's to
// close, but not before close.
func newPump(c *capture, snaplen int) (*pump, error) {
	// The pcap_t of a gopacket handle.
	ptr := reflect.ValueOf(c.handle).Elem().FieldByName("cptr")
	if !ptr.IsValid() || ptr.Kind() != reflect.Pointer || ptr.IsNil() {
		return nil, errors.New("this version of gopacket has other handles than the one that was tested")
	}
	p := &pump{unit: int64(c.handle.Resolution().ToDuration()), stride: min(snaplen, stride)}
	p.c = C.pump_new(C.uintptr_t(ptr.Pointer()), queueSize, C.uint32_t(p.stride))
	if p.c == nil {
		return nil, errors.New("no memory for packets")
	}
	p.packets = unsafe.Slice(p.c.packets, queueSize)
	p.bytes = unsafe.Slice((*byte)(unsafe.Pointer(p.c.bytes)), queueSize*p.stride)
	if err := p.events(); err != nil {
		C.pump_free(p.c)
		return nil, err
	}
	p.c.slots = C.uint32_t(c.slots)
	p.c.longest = C.int(c.pause.Milliseconds())
	p.c.timeout = C.int(c.timeout.Milliseconds())
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

// answered gives the last question that is answered by the packets up to what
// ready gives after it.
func (p *pump) answered() uint64 { return atomic.LoadUint64(u64(&p.c.answered)) }

// ready gives how many packets wait.
func (p *pump) ready() int { return int(atomic.LoadUint64(u64(&p.c.head)) - p.tail) }

// failed tells whether the capture cannot be read any more.
func (p *pump) failed() bool { return atomic.LoadUint32(u32(&p.c.failed)) != 0 }

// at gives the i-th of those that wait.
func (p *pump) at(i int) (ts int64, data []byte, wire int) {
	slot := int((p.tail + uint64(i)) & (queueSize - 1))
	h := &p.packets[slot]
	return int64(h.seconds)*int64(time.Second) + int64(h.fraction)*p.unit,
		p.bytes[slot*p.stride:][:h.captured], int(h.wire)
}

// taken gives the place of the first n that wait to others.
func (p *pump) taken(n int) {
	p.tail += uint64(n)
	atomic.StoreUint64(u64(&p.c.tail), p.tail)
}

// wait returns when there is a packet or an answer that is not known, or
// after interrupt.
func (p *pump) wait(known uint64) {
	atomic.StoreUint32(u32(&p.c.sleeping), 1)
	if p.ready() > 0 || p.answered() != known || p.failed() {
		atomic.StoreUint32(u32(&p.c.sleeping), 0)
		return
	}
	var event [8]byte
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
