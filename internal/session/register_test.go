package session

import (
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	alice = link.Account{DatabaseID: 5, RoleID: 10, Database: "shop", Role: "alice", Application: "psql"}
)

func one(serial uint64) link.Live {
	return link.Live{Serial: serial, Cookie: serial, Account: alice, ConnectedAt: noon}
}

func total(r *Register) account.Usage {
	row := r.Who.Roles.Find(account.Key[uint32]{Of: 10})
	if row == nil {
		return account.Usage{}
	}
	return row.Total()
}

func segments(cookie uint64, in, out uint32) []sockdiag.Socket {
	return []sockdiag.Socket{sockdiag.Known(sockdiag.Socket{Cookie: cookie, State: sockdiag.Established, SegsIn: in, SegsOut: out})}
}

// The kernel and the backend count segments in 32 bits, which wrap around in a
// long session. The totals go on.
func TestSegmentsWrapAround(t *testing.T) {
	r := NewRegister(0, NewFlows(10))
	l := one(1)
	l.Base.SegmentsIn = 1<<32 - 10
	r.Live(l)
	r.Apply(link.Taken{}, noon)
	for _, step := range []struct {
		kernel uint32
		want   int64
	}{{0, 10}, {1_500_000_000, 1_500_000_010}, {2_900_000_000, 2_900_000_010}, {4_200_000_000, 4_200_000_010}, {100, 1<<32 + 110}} {
		r.Refresh(segments(1, step.kernel, 0), noon, time.Second)
		if got := total(r).SegmentsIn; got != step.want {
			t.Errorf("the kernel has %d: %d segments, want %d", step.kernel, got, step.want)
		}
	}
	// Its backend knows the last 32 bits of the difference only.
	r.Event(link.Event{Seq: 1, Change: link.AccountChange{Account: alice, Traffic: link.Traffic{SegmentsIn: 115}}})
	r.Ended(1)
	r.Apply(link.Taken{Seq: 1}, noon)
	if got := total(r).SegmentsIn; got != 1<<32+115 {
		t.Errorf("at the end %d, want %d", got, int64(1<<32+115))
	}
}

func TestGhost(t *testing.T) {
	saved := []Saved{
		{Serial: 1, Connected: noon, Account: alice, Seen: link.Traffic{BytesOut: 500}, Base: link.Traffic{BytesOut: 100}, Known: true},
		{Serial: 2, Connected: noon, Account: alice, Seen: link.Traffic{BytesOut: 500}, Known: true},
	}
	r := NewRegister(0, NewFlows(10))
	r.Restore(saved)
	r.Event(link.Event{Seq: 1, Change: link.Ghost{Serial: 1, Base: link.Traffic{BytesOut: 100}, Account: alice}})
	// This one changed its name after the snapshot: an event has all of what it was.
	r.Event(link.Event{Seq: 2, Change: link.Ghost{Serial: 2, Base: link.Traffic{BytesOut: 700}, Account: alice}})
	r.Event(link.Event{Seq: 3, Change: link.Ghost{Serial: 3, Account: alice}}) // nobody knew it
	r.Apply(link.Taken{Seq: 3}, noon)
	if got := total(r).BytesOut; got != 400 {
		t.Errorf("%d bytes, want 400", got)
	}
	// Another session of the next life with the same serial begins at nothing.
	r = NewRegister(0, NewFlows(10))
	r.Restore(saved)
	l := one(1)
	l.ConnectedAt = noon.Add(time.Hour)
	r.Live(l)
	r.Apply(link.Taken{}, noon)
	for s := range r.All() {
		if seen, known := s.Seen(); known || seen.BytesOut != 0 {
			t.Errorf("it has %+v", seen)
		}
	}
	// And one of the same life goes on.
	r = NewRegister(0, NewFlows(10))
	r.Restore(saved)
	l = one(1)
	l.Base.BytesOut = 100
	r.Live(l)
	r.Apply(link.Taken{}, noon)
	if got := total(r).BytesOut; got != 400 {
		t.Errorf("%d bytes of a session that goes on, want 400", got)
	}
}

func TestEventsCountOnce(t *testing.T) {
	r := NewRegister(5, NewFlows(10))
	for _, seq := range []uint64{4, 5, 6, 6, 7} {
		r.Event(link.Event{Seq: seq, Change: link.Folded{Count: 1}})
	}
	if r.What.Folded != 0 || r.Ready() {
		t.Error("a batch counts before its end")
	}
	r.Apply(link.Taken{Seq: 9}, noon)
	if r.What.Folded != 2 || r.Seq() != 9 || !r.Ready() || r.Pending() != 5 {
		t.Errorf("%d folded, through %d", r.What.Folded, r.Seq())
	}
	if r.Published(); r.Pending() != 0 {
		t.Error("what was published is pending")
	}
}

func TestUnknownSessionEnds(t *testing.T) {
	r := NewRegister(0, NewFlows(10))
	r.Ended(77)
	for serial := range uint64(5) {
		r.Live(one(serial + 1))
	}
	r.Ended(1)
	r.Ended(5)
	r.Ended(5)
	r.Apply(link.Taken{}, noon)
	left := map[uint64]bool{}
	for s := range r.All() {
		left[s.Serial] = true
	}
	if r.Len() != 3 || len(left) != 3 || !left[2] || !left[3] || !left[4] {
		t.Errorf("%v are left", left)
	}
}

// What the engine derives packets from adds up to what the sessions carried since the
// first refresh.
func TestFlowsAddUp(t *testing.T) {
	flows := NewFlows(10)
	r := NewRegister(0, flows)
	sum := func() (in int64) {
		for _, f := range flows.Take() {
			in += f.PayloadIn
		}
		return in
	}
	received := func(n uint64) []sockdiag.Socket {
		return []sockdiag.Socket{sockdiag.Known(sockdiag.Socket{Cookie: 1, State: sockdiag.Established, BytesReceived: n})}
	}
	r.Live(one(1))
	r.Apply(link.Taken{}, noon)
	r.Refresh(received(1000), noon, 0)
	if n := sum(); n != 0 {
		t.Errorf("%d bytes from before", n)
	}
	r.Refresh(received(1500), noon, time.Second)
	r.Event(link.Event{Seq: 1, Change: link.AccountChange{Account: alice, Traffic: link.Traffic{BytesIn: 1600}}})
	l := one(1)
	l.Application, l.Base.BytesIn = "other", 1600
	r.Live(l)
	r.Apply(link.Taken{Seq: 1}, noon)
	r.Refresh(received(1700), noon, time.Second)
	if n := sum(); n != 700 {
		t.Errorf("%d bytes, want 700", n)
	}
	r.Event(link.Event{Seq: 2, Change: link.AccountChange{Account: l.Account, Closed: 1, Traffic: link.Traffic{BytesIn: 150}}})
	r.Ended(1)
	r.Apply(link.Taken{Seq: 2}, noon)
	if n := sum(); n != 50 {
		t.Errorf("%d bytes at the end, want 50", n)
	}
	var _ engine.Traffic = flows
}
