package pcap

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// slack is how much later than its time a packet may be readable, because it
// waited in a queue of the kernel's after it was given its time.
const slack = 20 * time.Millisecond

const (
	// tick is how often packets are taken from the queue, unless it is half full
	// before. All readers wake up together.
	tick = 250 * time.Millisecond
	// hold is how long a packet stays in the queue, that a cut may be made a little
	// after its time; unless the queue gets full.
	hold = slack
	full = queueSize * 3 / 4
	// quietFor is after how many ticks without a packet a reader waits for one.
	quietFor = 4
)

var epoch = time.Now()

// view is what a reader has to know to judge a packet.
type view struct {
	device engine.Device
	port   uint16
	local  locals
}

// reader counts what a device's captures see, in a goroutine of its own.
type reader struct {
	*captures

	mu        sync.Mutex // guards what follows
	view      *view
	ledger    *ledger
	fragments [2]fragments // of each capture
	mine      address      // the last local address found in view.local
	from      int64        // packets before it are another reader's; 0 for none
	begun     uint64       // question after which from does not matter
	until     int64        // packets from it on are another reader's; 0 for none
	last      uint64       // question after which to end, or 0
	over      bool         // end at once
	ended     bool         // nothing is read any more
	failure   error        // why it ended on its own

	told losses      // what lost has told; of the one who takes readings
	big  atomic.Bool // a packet larger than the device's MTU was seen
}

// read counts packets until the reader is told to end or a capture fails.
func (r *reader) read() {
	err := r.loop()
	r.mu.Lock()
	r.ended, r.failure = true, err
	for _, b := range r.ledger.open[:len(r.ledger.open)-1] {
		b.complete()
	}
	r.mu.Unlock()
	r.close()
}

func (r *reader) loop() error {
	for quiet := 0; ; quiet++ {
		answer := r.pump.answered()
		failed, failure := r.pump.failed()
		more := r.packets(time.Now().UnixNano())
		if r.learn(answer) {
			return nil
		}
		if failure {
			return r.explain(failed)
		}
		if more {
			quiet = 0
		}
		if quiet < quietFor {
			r.pump.wait(answer, time.Now().Add(tick-time.Since(epoch)%tick))
		} else {
			r.pump.wait(answer, time.Time{})
		}
	}
}

// learn notes that what was readable when a question was asked has been counted,
// and tells whether to end.
func (r *reader) learn(answer uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.answered(answer)
	if r.begun != 0 && answer >= r.begun {
		r.from, r.begun = 0, 0
	}
	return r.over || r.last != 0 && answer >= r.last
}

// packets counts those that wait, but not the latest, and tells whether there were any.
func (r *reader) packets(now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.pump.ready()
	for i := range n {
		capture, ts, data, wire := r.pump.at(i)
		// What claims to come much later is of a clock that was set back since.
		if ts > now-int64(hold) && ts < now+int64(time.Second) && n-i < full {
			r.pump.taken(i)
			return true
		}
		r.packet(capture, ts, data, wire)
	}
	r.pump.taken(n)
	return n > 0
}

// packet counts a packet if it is the server's and this reader's. The lock is held.
func (r *reader) packet(capture int, ts int64, data []byte, wire int) {
	if r.from != 0 && ts < r.from || r.until != 0 && ts >= r.until {
		return
	}
	var p packet
	if p.parse(r.link, data, wire) {
		r.judge(capture, ts, &p)
	}
}

// judge counts a packet whose local end is the server's.
func (r *reader) judge(capture int, ts int64, p *packet) {
	dir := r.dirs[capture]
	in := dir != outward && (p.part == later || p.dstPort == r.view.port) && r.local(p.dst)
	out := dir != inward && (p.part == later || p.srcPort == r.view.port) && r.local(p.src)
	packets, bytes := r.wire(p)
	if p.part == whole {
		r.add(ts, p, packets, bytes, in, out)
		return
	}
	known := &r.fragments[capture]
	fate := known.fate(p.datagram(), ts)
	if p.part == first {
		for _, e := range known.decide(fate, in, out) {
			r.add(e.ts, p, e.packets, e.bytes, in, out)
		}
		r.add(ts, p, packets, bytes, in, out)
		return
	}
	switch {
	case fate.known:
		r.add(ts, p, packets, bytes, in && fate.in, out && fate.out)
	case in || out:
		known.wait(fate, early{ts, packets, bytes})
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
