package pcap

import (
	"math"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

const (
	// maxClients bounds the clients of one reading.
	maxClients = 65536
	// never is the end of a period that has none yet.
	never = math.MaxInt64
)

// bucket is what one reader counted in one period. Its reader's lock guards it
// until it is taken.
type bucket struct {
	device  string
	end     int64 // ns since 1970; a packet's time is before it
	counts  engine.Counts
	clients map[address]*engine.Counts
	other   engine.Counts
	done    chan struct{} // closed when no packet is expected any more
	closed  bool
	// question is the one whose answer completes the bucket, or 0.
	question uint64
}

func newBucket(device string) *bucket {
	return &bucket{
		device:  device,
		end:     never,
		clients: make(map[address]*engine.Counts),
		done:    make(chan struct{}),
	}
}

// complete says that no further packet is expected.
func (b *bucket) complete() {
	if !b.closed {
		b.closed = true
		close(b.done)
	}
}

// client gives where a client's packets are counted.
func (b *bucket) client(a address) *engine.Counts {
	c := b.clients[a]
	if c != nil {
		return c
	}
	if len(b.clients) >= maxClients {
		return &b.other
	}
	c = new(engine.Counts)
	b.clients[a] = c
	return c
}

// ledger attributes packets to the periods that are open.
type ledger struct {
	open []*bucket // oldest first; the last has no end

	// Where the last packet counted, which the next mostly does too.
	within *bucket
	recent address
	client *engine.Counts
}

func newLedger(device string) *ledger {
	return &ledger{open: []*bucket{newBucket(device)}}
}

// of gives the first open period that ends after ts.
func (l *ledger) of(ts int64) *bucket {
	for _, b := range l.open[:len(l.open)-1] {
		if ts < b.end {
			return b
		}
	}
	return l.open[len(l.open)-1]
}

// count adds packets of one client at a time.
func (l *ledger) count(ts int64, remote address, what engine.Counts) {
	b := l.of(ts)
	if b != l.within || remote != l.recent {
		l.within, l.recent, l.client = b, remote, b.client(remote)
	}
	b.counts.Add(what)
	l.client.Add(what)
}

// cut ends the present period at the time at and begins another.
func (l *ledger) cut(at int64, device string) *bucket {
	ended := l.open[len(l.open)-1]
	ended.end = at
	l.open = append(l.open, newBucket(device))
	return ended
}

// answered marks the periods complete that wait for an answer up to this one.
func (l *ledger) answered(answer uint64) {
	for _, b := range l.open[:len(l.open)-1] {
		if b.question != 0 && b.question <= answer {
			b.complete()
		}
	}
}

// take removes a period: what comes for it later goes to the next.
func (l *ledger) take(b *bucket) {
	for i := range l.open {
		if l.open[i] == b {
			l.open = append(l.open[:i], l.open[i+1:]...)
			break
		}
	}
	if l.within == b {
		l.within = nil
	}
}
