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

// Times of reading. To be woken up for each packet would cost more than all else,
// so a reader that has caught up lets the ring fill for a moment. How long
// follows from how full it was. All readers wake up together.
const (
	shortest = time.Millisecond
	// quietFor is after how long without a packet a reader waits for one.
	quietFor = time.Second
)

var epoch = time.Now()

// pace reads until there is a reason to end.
func (r *reader) pace() {
	pause, quiet := shortest, time.Duration(0)
	for {
		burst, err := r.burst()
		if err != nil {
			r.fail(err)
			return
		}
		if burst < 0 || r.empty() {
			return
		}
		switch {
		case burst > r.slots/4:
			pause = max(pause/2, shortest)
		case burst < r.slots/8:
			pause = min(2*pause, r.pause)
		}
		if burst > 0 {
			quiet = 0
		}
		if quiet < quietFor {
			quiet += pause
			time.Sleep(pause - time.Since(epoch)%pause)
			continue
		}
		quiet = 0
		r.batch.wait(r.wakeUp, r.timeout)
		r.awake()
	}
}

// burst takes all packets that there are. It gives how many, or less than 0 if
// the reader is to end.
func (r *reader) burst() (int, error) {
	sum := 0
	for {
		n, ok := r.batch.fill()
		if !ok {
			return sum, r.explain()
		}
		if !r.packets(n) {
			return -1, nil
		}
		if sum += n; n < batchSize {
			return sum, nil
		}
	}
}

// packets counts the first n packets of the batch, and tells whether to go on.
func (r *reader) packets(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		if !r.packet(r.batch.at(i)) {
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

// empty notes that all that was readable has been read, and tells whether to end.
func (r *reader) empty() bool {
	rested := time.Now().Add(-r.lag - slack)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.rested(rested)
	return r.until.ts != 0 && r.until.at.Before(rested)
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
	defer r.mu.Unlock()
	r.until = at
	r.wake()
}

// cut ends the present period of the reader. open is false if it was the last.
func (r *reader) cut(now time.Time, at int64, late bool) (b *bucket, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		b = r.ledger.open[len(r.ledger.open)-1]
		b.complete()
		return b, false
	}
	return r.ledger.cut(now, at, r.view.device.Name, late), true
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
