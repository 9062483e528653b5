package session

import (
	"net/netip"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Flows gathers what the sessions carry, for the engine that derives packets from
// it. It implements engine.Traffic.
//
// What a live session carried is known at each refresh, from the kernel; what it
// carried in all comes at its end, from its backend. So Live says what is known of it
// so far, Settle takes that back, and Add enters what the backend says.
type Flows struct {
	begun bool // what is entered is new
	taken bool // somebody takes it
	limit int
	byEnd map[ends]*engine.Flow
}

var _ engine.Traffic = (*Flows)(nil)

type ends struct{ local, client netip.Addr }

// NewFlows makes Flows with room for so many pairs of addresses between two calls
// of Take; what is beyond belongs to no client.
func NewFlows(limit int) *Flows {
	return &Flows{limit: limit, byEnd: map[ends]*engine.Flow{}}
}

// Begin ends the time in which nothing counts: what an agent finds when it
// starts was carried before, or while none ran.
func (f *Flows) Begin() { f.begun = true }

// Add enters what a backend tells of ended sessions or parts of them.
func (f *Flows) Add(local, client netip.Addr, d engine.Counted) {
	if !f.begun || !f.taken || d == (engine.Counted{}) {
		return
	}
	f.at(local, client).Add(d)
}

// Live enters what a live session has carried until now since its base, where shown
// is what was entered of that; it is changed to now.
func (f *Flows) Live(local, client netip.Addr, shown *engine.Counted, now engine.Counted) {
	d := now.Sub(*shown)
	*shown = now
	f.Add(local, client, d)
}

// Settle takes back what was entered of a session that has ended or has a new
// base, as its backend tells all of it.
func (f *Flows) Settle(local, client netip.Addr, shown *engine.Counted) {
	f.Live(local, client, shown, engine.Counted{})
}

// others is the room beyond the limit, for what belongs to no client: one place
// for each local address.
const others = 64

// at finds the place of a pair of addresses: its own, or if there is no room, one
// of no client, or one of no address at all.
func (f *Flows) at(local, client netip.Addr) *engine.Flow {
	k := ends{local, client}
	if f.byEnd[k] == nil && len(f.byEnd) >= f.limit {
		k.client = netip.Addr{}
	}
	if f.byEnd[k] == nil && len(f.byEnd) >= f.limit+others {
		k.local = netip.Addr{}
	}
	if f.byEnd[k] == nil {
		f.byEnd[k] = &engine.Flow{Local: k.local, Client: k.client}
	}
	return f.byEnd[k]
}

// Take gives what was carried since it was called last; the first time nothing, as
// nothing is kept before.
func (f *Flows) Take() []engine.Flow {
	f.taken = true
	flows := make([]engine.Flow, 0, len(f.byEnd))
	for _, flow := range f.byEnd {
		flows = append(flows, *flow)
	}
	clear(f.byEnd)
	return flows
}

// Stop says that nobody takes it any more.
func (f *Flows) Stop() {
	f.taken = false
	f.byEnd = map[ends]*engine.Flow{} // a map that is cleared keeps its room
}
