package pcap

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// readers gives n that are handed packets by the test, with a seam from each to the next.
func readers(t *testing.T, n int, begin, apart time.Duration) []*reader {
	t.Helper()
	here := newLocals([]netip.Prefix{netip.MustParsePrefix(serverAddr + "/32")})
	var all []*reader
	for i := range n {
		r := &reader{
			captures: &captures{link: linkEthernet, dirs: []direction{inward, outward}, closed: true},
			view:     &view{device: engine.Device{Name: "pcn0", LinkHeader: 14, MTU: 1500}, port: port, local: here},
			ledger:   newLedger("pcn0"),
		}
		if i > 0 && !all[i-1].end(newSeam(time.Unix(0, int64(begin+time.Duration(i)*apart)), r)) {
			t.Fatal("the former reader has ended")
		}
		all = append(all, r)
	}
	return all
}

// arrival is a packet that a reader sees at a time of its own.
type arrival struct {
	ts   int64
	data []byte
}

// At a seam every packet counts once, whatever time each reader finds in it, and in
// whatever order they come.
func TestSeam(t *testing.T) {
	const packets, begin, apart = 6000, time.Hour, 70 * time.Millisecond
	random := rand.New(rand.NewPCG(1, 2))
	for _, late := range []time.Duration{0, time.Microsecond, time.Millisecond, margin - 1} {
		all := readers(t, 4, begin, apart)
		seen := make([][]arrival, len(all))
		for i := range packets {
			at := begin + time.Duration(random.Int64N(int64(5*apart)))
			id := i
			if late < time.Millisecond {
				id = i % 200 // some are the same to the byte
			}
			data := ether(toServer.as(func(h *four) { h.id = id }).ip(ask))
			for n := range all {
				seen[n] = append(seen[n], arrival{int64(at + time.Duration(random.Int64N(int64(late)+1))), data})
			}
		}
		var sum engine.Counts
		for n := range all {
			slices.SortFunc(seen[n], func(a, b arrival) int { return int(a.ts - b.ts) })
			for _, a := range seen[n] {
				all[n].packet(0, a.ts, a.data, len(a.data))
			}
		}
		for _, r := range all {
			r.passed()
			r.closing.finish()
			for _, b := range r.ledger.open {
				sum.Add(b.counts)
			}
			if r.opening != nil || r.held != nil {
				t.Error("packets are still held")
			}
		}
		if want := in(packets, packets*154); sum != want {
			t.Errorf("up to %v apart: got %+v, want %+v", late, sum, want)
		}
	}
}

// A reader goes on for a former one until that is over, and no period is complete before.
func TestSeamIsWaitedFor(t *testing.T) {
	all := readers(t, 2, time.Hour, 0)
	former, next := all[0], all[1]
	data := ether(toServer.ip(ask))
	next.packet(0, int64(time.Hour), data, len(data))
	b := next.ledger.cut(int64(time.Hour+time.Second), "pcn0")
	b.question, next.begun, next.last = 1, 1, 1
	if next.learn(1) || b.closed || !b.counts.Zero() {
		t.Errorf("it does not wait for the former one: %+v", b)
	}
	former.closing.finish()
	if !next.learn(1) || !b.closed || b.counts != in(1, 154) {
		t.Errorf("it waits after the former one's end: %+v", b)
	}
}
