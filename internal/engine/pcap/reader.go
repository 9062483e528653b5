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
	opening   *seam        // to the former reader, or nil
	held      []seen       // packets near it
	begun     uint64       // question after which there are no more of those, or 0
	closing   *seam        // to the next reader, or nil
	until     int64        // packets from it on are not this reader's; 0 for none
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
	r.passed()
	for _, b := range r.ledger.open[:len(r.ledger.open)-1] {
		b.complete()
	}
	r.closing.finish()
	r.mu.Unlock()
	r.close()
}

func (r *reader) loop() error {
	known := r.pump.progress()
	learned := false // everything up to it has been counted
	for quiet := 0; ; quiet++ {
		if learned {
			known = r.pump.progress()
		}
		failed, failure := r.pump.failed()
		now := time.Now()
		if failure {
			now = now.Add(hold) // nothing later will come
		}
		if r.packets(now.UnixNano()) {
			quiet = 0
		}
		learned = r.pump.tail >= known.head
		if learned && r.learn(known.question) {
			return nil
		}
		switch {
		case failure:
			return r.explain(failed)
		case !learned:
			r.pump.wait(r.pump.answered(), now.Add(hold))
		case quiet < quietFor:
			r.pump.wait(known.question, now.Add(tick-now.Sub(epoch)%tick))
		default:
			r.pump.wait(known.question, time.Time{})
		}
	}
}

// learn notes that what was readable when a question was asked has been counted,
// and tells whether to end.
func (r *reader) learn(question uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opening != nil && r.begun != 0 && question >= r.begun && r.opening.finished() {
		r.passed()
	}
	if r.opening == nil {
		r.ledger.answered(question)
	}
	return r.over || r.opening == nil && r.last != 0 && question >= r.last
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
	if r.opening.precedes(ts) || r.until != 0 && ts >= r.until {
		return
	}
	var p packet
	if p.parse(r.link, data, wire) {
		r.judge(capture, ts, r.marked(ts, data, wire), &p)
	}
}

// judge counts a packet whose local end is the server's.
func (r *reader) judge(capture int, ts int64, m mark, p *packet) {
	dir := r.dirs[capture]
	in := dir != outward && (p.part == later || p.dstPort == r.view.port) && r.local(p.dst)
	out := dir != inward && (p.part == later || p.srcPort == r.view.port) && r.local(p.src)
	packets, bytes := r.wire(p)
	if p.part == whole {
		r.add(ts, m, p, packets, bytes, in, out)
		return
	}
	known := &r.fragments[capture]
	fate := known.fate(p.datagram(), ts)
	if p.part == first {
		for _, e := range known.decide(fate, in, out) {
			r.add(e.ts, e.mark, p, e.packets, e.bytes, in, out)
		}
		r.add(ts, m, p, packets, bytes, in, out)
		return
	}
	switch {
	case fate.known:
		r.add(ts, m, p, packets, bytes, in && fate.in, out && fate.out)
	case in || out:
		known.wait(fate, early{ts, m, packets, bytes})
	}
}

func (r *reader) add(ts int64, m mark, p *packet, packets, bytes uint64, in, out bool) {
	if in {
		r.see(seen{ts, m, p.src, engine.Counts{PacketsIn: packets, BytesIn: bytes}})
	}
	if out {
		m.out = true
		r.see(seen{ts, m, p.dst, engine.Counts{PacketsOut: packets, BytesOut: bytes}})
	}
}

// seen is a packet, as it counts.
type seen struct {
	ts     int64
	mark   mark
	remote address
	what   engine.Counts
}

// see counts a packet, or holds it until it is known whose it is.
func (r *reader) see(s seen) {
	if r.opening.doubts(s.ts) {
		r.held = append(r.held, s)
	} else {
		r.count(s)
	}
}

func (r *reader) count(s seen) {
	if r.closing.leaves(s.ts) {
		r.closing.note(s.mark, s.ts)
	}
	r.ledger.count(s.ts, s.remote, s.what)
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
