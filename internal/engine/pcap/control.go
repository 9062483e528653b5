package pcap

import "time"

// What others tell a reader and ask it, each from any goroutine.

// look changes how packets are judged from now on.
func (r *reader) look(v *view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view, r.mine = v, address{}
	r.ledger.open[len(r.ledger.open)-1].device = v.device.Name
}

// delayed is how much later than its time a packet of an ending reader may be
// readable, where the kernel gives packets their times early and is short of CPU.
const delayed = 250 * time.Millisecond

// finish ends the reader when it has counted what came up to now.
func (r *reader) finish() {
	r.mu.Lock()
	now := time.Now()
	r.until = now.UnixNano()
	r.mu.Unlock()
	r.whenPassed(now.Add(delayed), func(question uint64) { r.last = question })
}

// whenPassed calls f with a question when all that came before a moment is
// readable: with its answer it has been counted.
func (r *reader) whenPassed(at time.Time, f func(question uint64)) {
	time.AfterFunc(time.Until(at.Add(r.ring.lag)), func() {
		if question, ok := r.flush(); ok {
			r.mu.Lock()
			f(question)
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

// alive gives why the reader ended on its own, or nil while it reads.
func (r *reader) alive() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// cut ends the present period of the reader. open is false if it was the last.
func (r *reader) cut(at int64) (b *bucket, open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		b = r.ledger.open[len(r.ledger.open)-1]
		b.complete()
		return b, false
	}
	return r.ledger.cut(at, r.view.device.Name), true
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
	for i, dir := range r.dirs {
		copies := uint32(1)
		if dir == both {
			copies = 2 // the buffer gets each coming and going
		}
		dropped := l.dropped[i] - r.told.dropped[i]
		n += uint64(dropped / copies)
		l.dropped[i] -= dropped % copies // told with the next
	}
	r.told = l
	return n
}
