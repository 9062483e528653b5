package pcap

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// direction is which packets of a device a reader sees.
type direction uint8

const (
	inward  direction = iota // coming in, so toward the server
	outward                  // going out, so from it
	both                     // loopback, where libpcap shows each packet once
)

// slack is how much later than its time a packet may be read, because it waited
// in a queue of the kernel's after it was given its time.
const slack = 20 * time.Millisecond

// view is what a reader has to know to judge a packet.
type view struct {
	device engine.Device
	port   uint16
	local  locals
}

// reader drains one capture handle in a goroutine of its own.
type reader struct {
	capture
	dir direction

	mu        sync.Mutex // guards what follows
	view      *view
	ledger    *ledger
	fragments fragments
	mine      address // the last local address found in view.local
	from      instant // packets before it are another reader's
	until     instant // packets from it on are another reader's
	last      uint64  // question after which to end, or 0
	over      bool    // end at once
	ended     bool    // nothing is read any more
	failure   error   // why it ended, if not by until

	reported stats       // what lost has told; of the one who takes readings
	big      atomic.Bool // a packet larger than the device's MTU was seen
}

// instant is a moment as the packets' times have it and as the monotonic clock
// has it, and when it is over at the latest, whatever the wall clock does.
type instant struct {
	ts     int64 // ns since 1970
	at     time.Time
	latest time.Time
}

// read counts packets until the reader is told to end or its handle fails.
func (r *reader) read() {
	r.pace()
	r.mu.Lock()
	r.ended = true
	for _, b := range r.ledger.open[:len(r.ledger.open)-1] {
		b.complete()
	}
	r.mu.Unlock()
	r.close()
}

const (
	// tick is how often packets are taken from the queue. All readers wake up
	// together.
	tick = 32 * time.Millisecond
	// quietFor is after how long without a packet a reader waits for one.
	quietFor = time.Second
)

var epoch = time.Now()

// pace reads until there is a reason to end.
func (r *reader) pace() {
	for quiet := time.Duration(0); ; {
		answer := r.pump.answered()
		failed := r.pump.failed()
		n := r.pump.ready()
		if !r.packets(n) || r.told(answer) {
			return
		}
		r.pump.taken(n)
		switch {
		case failed:
			r.fail(r.explain())
			return
		case n > queueSize/4:
			quiet = 0
		case n > 0 || quiet < quietFor:
			quiet += tick
			if n > 0 {
				quiet = 0
			}
			time.Sleep(tick - time.Since(epoch)%tick)
		default:
			r.pump.wait(answer)
			quiet = 0
		}
	}
}

// packets counts the first n packets that wait, and tells whether to go on.
func (r *reader) packets(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		if !r.packet(r.pump.at(i)) {
			return false
		}
	}
	return true
}

// fail notes why the handle cannot be read.
func (r *reader) fail(err error) {
	r.mu.Lock()
	r.failure = err
	r.mu.Unlock()
}

// told notes that what was readable when a question was asked has been counted,
// and tells whether to end.
func (r *reader) told(answer uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.answered(answer)
	return r.over || r.last != 0 && answer >= r.last
}

// packet counts a packet if it is the server's, and tells whether to go on. The
// lock is held.
func (r *reader) packet(ts int64, data []byte, wire int) bool {
	r.ledger.passed(ts - int64(slack))
	if r.from.ts != 0 {
		if ts >= r.from.ts+int64(slack) || time.Now().After(r.from.latest) {
			r.from = instant{}
		} else if ts < r.from.ts {
			return true
		}
	}
	if r.until.ts != 0 {
		if ts >= r.until.ts+int64(slack) || time.Now().After(r.until.latest) {
			return false
		} else if ts >= r.until.ts {
			return true
		}
	}
	var p packet
	if p.parse(r.link, data, wire) {
		r.judge(ts, &p)
	}
	return true
}

// judge counts a packet whose local end is the server's.
func (r *reader) judge(ts int64, p *packet) {
	in := r.dir != outward && (p.part == later || p.dstPort == r.view.port) && r.local(p.dst)
	out := r.dir != inward && (p.part == later || p.srcPort == r.view.port) && r.local(p.src)
	packets, bytes := r.wire(p)
	if p.part == whole {
		r.add(ts, p, packets, bytes, in, out)
		return
	}
	fate := r.fragments.fate(p.datagram(), ts)
	if p.part == first {
		for _, e := range r.fragments.decide(fate, in, out) {
			r.add(e.ts, p, e.packets, e.bytes, in, out)
		}
		r.add(ts, p, packets, bytes, in, out)
		return
	}
	switch {
	case fate.known:
		r.add(ts, p, packets, bytes, in && fate.in, out && fate.out)
	case in || out:
		r.fragments.wait(fate, early{ts, packets, bytes})
	}
}

func (r *reader) add(ts int64, p *packet, packets, bytes uint64, in, out bool) {
	if in {
		r.ledger.count(ts, p.src, engine.Counts{PacketsIn: packets, BytesIn: bytes})
	}
	if out {
		r.ledger.count(ts, p.dst, engine.Counts{PacketsOut: packets, BytesOut: bytes})
	}
}

// wire gives the packets that p is on the wire, and their bytes. What libpcap
// puts before a packet without a link header is not of it.
func (r *reader) wire(p *packet) (packets, bytes uint64) {
	link := r.view.device.LinkHeader + p.tags
	n := 1
	if p.size > r.view.device.MTU && !r.view.device.Loopback && r.view.device.MTU > 0 {
		r.big.Store(true)
		n = p.segments(r.view.device.MTU)
	}
	return uint64(n), uint64(p.size + link + (n-1)*(link+p.headers))
}

func (r *reader) local(a address) bool {
	if a == r.mine {
		return true
	}
	if !r.view.local.has(a) {
		return false
	}
	r.mine = a
	return true
}

// look changes how packets are judged from now on.
func (r *reader) look(v *view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view, r.mine = v, address{}
	r.ledger.open[len(r.ledger.open)-1].device = v.device.Name
	r.ledger.within = nil
}

// end lets the reader end when it has read what came before an instant.
func (r *reader) end(at instant) {
	r.mu.Lock()
	r.until = at
	r.mu.Unlock()
	time.AfterFunc(time.Until(at.at.Add(r.lag+slack)), func() {
		if question, ok := r.flush(); ok {
			r.mu.Lock()
			r.last = question
			r.mu.Unlock()
			r.interrupt()
		}
	})
}

// abandon ends the reader at once.
func (r *reader) abandon() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.interrupt()
}

// settle completes a period of the reader when all that is readable by now has
// been counted.
func (r *reader) settle(b *bucket) {
	question, ok := r.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok || r.ended {
		b.complete()
		return
	}
	b.question = question
}

// cut ends the present period of the reader. open is false if it was the last.
func (r *reader) cut(at int64, late bool) (b *bucket, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		b = r.ledger.open[len(r.ledger.open)-1]
		b.complete()
		return b, false
	}
	return r.ledger.cut(at, r.view.device.Name, late), true
}

// take gives what was counted in a period; r must not count in it further.
func (r *reader) take(b *bucket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ledger.open) > 1 {
		r.ledger.take(b)
	}
}

// lost gives the packets that were dropped since the last call.
func (r *reader) lost() uint64 {
	s, ok := r.stats()
	if !ok {
		return 0
	}
	n := uint64(s.dropped - r.reported.dropped)
	if r.dir != outward {
		// Of the two readers of a device, one says what the device dropped.
		n += uint64(s.missed - r.reported.missed)
	}
	r.reported = s
	return n
}

// alive gives why the reader ended on its own, or nil while it reads.
func (r *reader) alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// drained is how long after a packet's time it can be read at the latest, if
// the reader gets to run.
func (r *reader) drained() time.Duration {
	return r.lag + r.timeout + time.Second
}
