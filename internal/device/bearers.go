package device

import (
	"net/netip"
	"slices"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Bearers tells for each address of this host on which of the chosen devices, by index,
// packets to and from it are counted: the one that bears it, or one below that shows
// the same packets; 0 if none of them does. An address that packets may come to by any
// device (one on a dummy, or on loopback beside its own) is not among them.
func Bearers(s Snapshot, chosen []engine.Device) map[netip.Addr]int {
	bearers := map[netip.Addr]int{}
	for i := range s.Links {
		l := &s.Links[i]
		at := s.countedAt(l, chosen)
		for _, p := range l.Addrs {
			a := p.Addr()
			if l.Kind == "dummy" || l.Loopback && !a.IsLoopback() {
				continue
			}
			if bearers[a] == 0 { // a link-local one may be on several
				bearers[a] = at
			}
		}
	}
	return bearers
}

// countedAt finds the chosen device on which l's packets count.
func (s *Snapshot) countedAt(l *Link, chosen []engine.Device) int {
	is := func(d engine.Device) bool { return d.Index == l.Index }
	below := func(d engine.Device) bool {
		o := s.byIndex(d.Index)
		return o != nil && s.shows(o, l)
	}
	for _, fits := range []func(engine.Device) bool{is, below} {
		if i := slices.IndexFunc(chosen, fits); i >= 0 {
			return chosen[i].Index
		}
	}
	return 0
}
