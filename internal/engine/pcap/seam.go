package pcap

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"
)

// seam is where one reader of a device ends and the next begins. Both see every
// packet of that time, and each has the kernel read the clock for itself: what they
// find differs, mostly by less than a microsecond, but by any time if the processor
// was taken away in between. So a packet whose time is near the seam is the next
// reader's if the former has not counted the same.
type seam struct {
	at   int64   // packets before it are the former's, by its clock
	next *reader // that is told when the former is over

	mu      sync.Mutex       // guards what follows
	counted map[mark][]int64 // times of what the former has counted
	over    bool             // the former counts nothing any more
}

// margin is how far the times that two readers find in a packet may be apart.
const margin = 30 * time.Millisecond

// mark is what makes packets the same. Where several are, each counts.
type mark struct {
	hash uint64 // of the first bytes; all readers have captured that many
	wire int
	out  bool
}

var seed = maphash.MakeSeed()

// marked gives the mark of a packet if it is near a seam, and else an empty one.
func (r *reader) marked(ts int64, data []byte, wire int) mark {
	const least = 96 // of pcap_snaplen
	if !r.opening.doubts(ts) && !r.closing.leaves(ts) {
		return mark{}
	}
	return mark{hash: maphash.Bytes(seed, data[:min(len(data), least)]), wire: wire}
}

// handing is a reader that is to go on where a former one of the same device ends.
// Its captures are open, and it does not read yet.
type handing struct {
	former, r *reader
}

// handOver makes a seam for each. It is so far ahead that both see all that is near.
func handOver(hands []handing) {
	at := time.Now().Add(2 * margin)
	for _, h := range hands {
		h.r.told = h.r.losses() // the former has those
		if !h.former.end(newSeam(at, h.r)) {
			go h.r.read()
			continue
		}
		go h.r.read()
		h.former.whenPassed(at.Add(delayed), func(question uint64) { h.former.last = question })
		h.r.whenPassed(at.Add(delayed), func(question uint64) { h.r.begun = question })
	}
}

func newSeam(at time.Time, next *reader) *seam {
	return &seam{at: at.UnixNano(), next: next, counted: make(map[mark][]int64)}
}

// end makes the reader the former one of a seam. It gives false if it has ended.
func (r *reader) end(s *seam) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return false
	}
	r.until, r.closing, s.next.opening = s.at, s, s
	return true
}

// leaves tells whether the former reader has to note a packet that it counts.
func (s *seam) leaves(ts int64) bool { return s != nil && ts >= s.at-int64(2*margin) }

// doubts tells whether the next reader cannot say yet whose a packet is.
func (s *seam) doubts(ts int64) bool { return s != nil && ts < s.at+int64(margin) }

// precedes tells whether a packet is certainly not the next reader's.
func (s *seam) precedes(ts int64) bool { return s != nil && ts < s.at-int64(margin) }

// note says that the former reader has counted a packet.
func (s *seam) note(m mark, ts int64) {
	s.mu.Lock()
	s.counted[m] = append(s.counted[m], ts)
	s.mu.Unlock()
}

// has tells whether the former reader has counted a packet, and forgets it. The
// lock is held.
func (s *seam) has(m mark, ts int64) bool {
	times := s.counted[m]
	nearest, distance := -1, int64(margin)+1
	for i, t := range times {
		if d := max(t-ts, ts-t); d < distance {
			nearest, distance = i, d
		}
	}
	if nearest < 0 {
		return false
	}
	s.counted[m] = slices.Delete(times, nearest, nearest+1)
	return true
}

// finish says that the former reader counts nothing any more.
func (s *seam) finish() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.next.interrupt()
}

func (s *seam) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// passed counts what was held and is this reader's. The reader's lock is held.
func (r *reader) passed() {
	s := r.opening
	if s == nil {
		return
	}
	r.opening, r.begun = nil, 0
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range r.held {
		if !s.has(h.mark, h.ts) {
			r.count(h)
		}
	}
	r.held = nil
}
