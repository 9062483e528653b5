package pcap

import (
	"slices"
	"time"
)

// handing is a reader that is to go on where a former one of the same device ends.
// Its captures are open, and it does not read yet.
type handing struct {
	former, r *reader
}

// overlap is for how long both have every packet in their queues before the
// instant between them is chosen.
const overlap = 30 * time.Millisecond

// handOver chooses for each an instant up to which the former one counts and from
// which on the new one does. The kernel reads the clock for each capture, so the
// two find times in a packet that differ a little, mostly by a microsecond: the
// instant lies in the widest gap between packets, and both look at packets of
// that time only when it is set.
func handOver(hands []handing) {
	for _, h := range hands {
		h.former.mu.Lock()
	}
	begun := time.Now()
	time.Sleep(overlap)
	ended := time.Now()
	for _, h := range hands {
		if h.former.ended {
			h.former.mu.Unlock()
			go h.r.read()
			continue
		}
		times := append(h.former.pump.emptied().times(), h.r.pump.emptied().times()...)
		at := widest(times, begun.UnixNano(), ended.UnixNano())
		h.former.until, h.r.from = at, at
		h.former.mu.Unlock()
		go h.r.read()
		h.former.whenPassed(ended.Add(delayed), func(question uint64) { h.former.last = question })
		// That the wall clock may be set back later must not keep it from counting.
		h.r.whenPassed(ended.Add(delayed), func(question uint64) { h.r.begun = question })
	}
}

// widest gives the middle of the widest gap between times from begin to end.
func widest(times []int64, begin, end int64) int64 {
	times = append(times, begin, end)
	slices.Sort(times)
	at, widest := end, int64(-1)
	for i := 1; i < len(times); i++ {
		if before, after := times[i-1], times[i]; before >= begin && after <= end && after-before > widest {
			at, widest = before+(after-before)/2, after-before
		}
	}
	return at
}

// emptied waits until what the rings have now is in the queue.
func (p *pump) emptied() *pump {
	question := p.ask()
	for range 100 {
		if p.answered() >= question {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return p
}

// times gives those of the packets that wait.
func (p *pump) times() []int64 {
	times := make([]int64, p.ready())
	for i := range times {
		_, times[i], _, _ = p.at(i)
	}
	return times
}
