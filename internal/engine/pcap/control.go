package pcap

import "time"

// What others tell a reader and ask it, each from any goroutine.

// instant is a moment as the packets' times have it and as the monotonic clock has it.
type instant struct {
	ts int64 // ns since 1970
	at time.Time
}

func instantAt(at time.Time) instant { return instant{at.UnixNano(), at} }

// look changes how packets are judged from now on.
func (r *reader) look(v *view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view, r.mine = v, address{}
	r.ledger.open[len(r.ledger.open)-1].device = v.device.Name
}

// whenPassed calls f with a question when all that belongs before an instant is
// readable: with its answer it has been counted.
func (r *reader) whenPassed(at instant, f func(question uint64)) {
	time.AfterFunc(time.Until(at.at.Add(r.ring.lag+slack)), func() {
		if question, ok := r.flush(); ok {
			r.mu.Lock()
			f(question)
			r.mu.Unlock()
			r.interrupt()
		}
	})
}

// begin lets the reader count only packets from an instant on. That the wall clock
// may be set back later must not keep it from counting: when the instant has
// passed, it counts all.
func (r *reader) begin(at instant) {
	r.mu.Lock()
	r.from = at.ts
	r.mu.Unlock()
	r.whenPassed(at, func(question uint64) { r.begun = question })
}

// end lets the reader end when it has counted what came before an instant.
func (r *reader) end(at instant) {
	r.mu.Lock()
	r.until = at.ts
	r.mu.Unlock()
	r.whenPassed(at, func(question uint64) { r.last = question })
}

// abandon ends the reader at once.
func (r *reader) abandon() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.interrupt()
}

// alive gives why the reader ended on its own, or nil while it reads.
func (r *reader) alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
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

// settle completes a period when all that is readable by now has been counted.
func (r *reader) settle(b *bucket) {
	question, ok := r.flush()
	r.mu.Lock()
	if !ok || r.ended {
		b.complete()
	}
	b.question = question
	r.mu.Unlock()
	r.interrupt()
}

// take ends the counting in a period: what comes for it counts in the next.
func (r *reader) take(b *bucket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ledger.open) > 1 {
		r.ledger.take(b)
	}
}

// lost gives the packets that were dropped since the last call.
func (r *reader) lost() uint64 {
	l := r.losses()
	n := uint64(l.missed - r.told.missed)
	for i := range l.dropped {
		n += uint64(l.dropped[i] - r.told.dropped[i])
	}
	r.told = l
	return n
}
