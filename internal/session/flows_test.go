package session

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

var (
	here  = netip.MustParseAddr("10.0.0.1")
	there = netip.MustParseAddr("10.0.0.2")
)

func payload(in, out int64) engine.Counted { return engine.Counted{PayloadIn: in, PayloadOut: out} }

// take gives what was taken, by addresses.
func take(t *testing.T, f *Flows) map[string]engine.Counted {
	t.Helper()
	m := map[string]engine.Counted{}
	for _, flow := range f.Take() {
		k := fmt.Sprint(flow.Local, " ", flow.Client)
		if _, twice := m[k]; twice {
			t.Errorf("%s is there twice", k)
		}
		m[k] = flow.Counted
	}
	return m
}

// TestFlowsOfASession follows a session through refreshes, a split, and its end, whose
// final figures are more than those of the last refresh.
func TestFlowsOfASession(t *testing.T) {
	f := NewFlows(10)
	f.Begin()
	f.Take()
	var shown engine.Counted
	step := func(what string, want engine.Counted) {
		t.Helper()
		got := take(t, f)[here.String()+" "+there.String()]
		if got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	opened := payload(0, 0)
	opened.Opened = 1
	f.Add(here, there, opened)
	f.Live(here, there, &shown, payload(10, 100))
	opened.Add(payload(10, 100))
	step("the first refresh", opened)
	f.Live(here, there, &shown, payload(15, 170))
	step("the second", payload(5, 70))
	f.Live(here, there, &shown, payload(15, 170))
	step("one with nothing new", engine.Counted{})
	// The name changes: the backend tells 20 and 200, and the base is there now.
	f.Settle(here, there, &shown)
	f.Add(here, there, payload(20, 200))
	f.Live(here, there, &shown, payload(0, 0))
	step("the split", payload(5, 30))
	f.Live(here, there, &shown, payload(1, 2))
	step("after it", payload(1, 2))
	f.Settle(here, there, &shown)
	last := payload(4, 9)
	last.Closed = 1
	f.Add(here, there, last)
	last.Add(payload(-1, -2))
	step("the end", last)
	if len(f.Take()) != 0 {
		t.Error("something is left")
	}
}

// TestFlowsBeforeTheBeginning: what was carried before counts nothing, and what is
// carried after it does, also of a session that lived then.
func TestFlowsBeforeTheBeginning(t *testing.T) {
	f := NewFlows(10)
	f.Take()
	var shown engine.Counted
	f.Add(here, there, payload(7, 7))
	f.Live(here, there, &shown, payload(100, 1000))
	f.Begin()
	if got := f.Take(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	f.Live(here, there, &shown, payload(101, 1010))
	f.Settle(here, there, &shown)
	f.Add(here, there, payload(102, 1020))
	if got := take(t, f)[here.String()+" "+there.String()]; got != payload(2, 20) {
		t.Errorf("%+v", got)
	}
}

// TestFlowsAreBounded: a flood of clients takes bounded room, and the sums by local
// address are exact.
func TestFlowsAreBounded(t *testing.T) {
	const limit, clients = 100, 10000
	f := NewFlows(limit)
	f.Begin()
	f.Take()
	other := here.Next()
	client := there
	for range clients {
		f.Add(here, client, payload(1, 2))
		f.Add(other, client, payload(3, 4))
		client = client.Next()
	}
	got := f.Take()
	if len(got) != limit+2 {
		t.Errorf("%d flows", len(got))
	}
	sums := map[netip.Addr]engine.Counted{}
	for _, flow := range got {
		sum := sums[flow.Local]
		sum.Add(flow.Counted)
		sums[flow.Local] = sum
	}
	if len(sums) != 2 || sums[here] != payload(clients, 2*clients) || sums[other] != payload(3*clients, 4*clients) {
		t.Errorf("%+v", sums)
	}
	// Local addresses are bounded, too.
	local := here
	for range clients {
		f.Add(local, there, payload(1, 1))
		local = local.Next()
	}
	var sum engine.Counted
	got = f.Take()
	for _, flow := range got {
		sum.Add(flow.Counted)
	}
	if len(got) > limit+others+1 || sum != payload(clients, clients) {
		t.Errorf("%d flows with %+v", len(got), sum)
	}
}

// TestFlowsThatNobodyTakes: nothing is kept for nobody, and who begins to take gets what
// is carried from then on.
func TestFlowsThatNobodyTakes(t *testing.T) {
	f := NewFlows(10)
	f.Begin()
	var shown engine.Counted
	f.Live(here, there, &shown, payload(1, 10))
	if got := f.Take(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	f.Live(here, there, &shown, payload(3, 30))
	f.Stop()
	f.Live(here, there, &shown, payload(7, 70))
	if got := f.Take(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	f.Settle(here, there, &shown)
	f.Add(here, there, payload(8, 80))
	if got := take(t, f)[here.String()+" "+there.String()]; got != payload(1, 10) {
		t.Errorf("%+v", got)
	}
}
