package device

import (
	"net/netip"
	"slices"
)

// auto gives the devices on which each packet of the server shows, and once:
//
// A candidate is up, not loopback, no port of a bridge, bond or the like (those
// hand their packets to their master before the host looks at an address; only
// a VRF's ports keep them) and bears an address that the server can be reached
// at. Where the server has an address that no such device bears (one on lo or on
// a dummy, or a prefix by a route of type local), its packets may come by any
// device with an address, so each is a candidate.
//
// A candidate whose packets show on another candidate below it is dropped. If
// it is a bridge of which just some ports lie above the other candidate, its
// remaining ports take its place, so that what comes by them is not lost.
func auto(s *Snapshot, listeners []netip.Addr) []*Link {
	reach := newReach(s, listeners)
	var candidates, kept []*Link
	for i := range s.Links {
		if l := &s.Links[i]; reach.by(l) {
			candidates = append(candidates, l)
		}
	}
	for _, l := range candidates {
		if !s.covered(l, candidates) {
			kept = append(kept, l)
			continue
		}
		for _, port := range s.ports(l) {
			if port.Up && !s.covered(port, candidates) && !slices.Contains(kept, port) {
				kept = append(kept, port)
			}
		}
	}
	return kept
}

// covered tells whether the packets of l show on one of candidates below it.
func (s *Snapshot) covered(l *Link, candidates []*Link) bool {
	return slices.ContainsFunc(candidates, func(below *Link) bool {
		return below != l && s.shows(below, l)
	})
}

// kindsAbove are the kinds of device whose packets pass, readable, through the
// device that IFLA_LINK names. Every other kind wraps them (vxlan, gre, wireguard,
// macsec …), or names something else there (veth: the other end).
var kindsAbove = []string{"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"}

// shows tells whether some packet of the device above is seen on below too.
func (s *Snapshot) shows(below, above *Link) bool {
	return s.reaches(above, below, len(s.Links))
}

// reaches goes down from l. depth ends it should the kernel report a circle.
func (s *Snapshot) reaches(l, below *Link, depth int) bool {
	if depth < 0 {
		return false
	}
	if l.Parent != 0 && !l.Elsewhere && slices.Contains(kindsAbove, l.Kind) {
		if parent := s.byIndex(l.Parent); parent != nil && (parent == below || s.reaches(parent, below, depth-1)) {
			return true
		}
	}
	for _, port := range s.ports(l) {
		if port == below || s.reaches(port, below, depth-1) {
			return true
		}
	}
	return false
}

func (s *Snapshot) ports(master *Link) []*Link {
	var ports []*Link
	for i := range s.Links {
		if s.Links[i].Master == master.Index {
			ports = append(ports, &s.Links[i])
		}
	}
	return ports
}

// reach is how the server is reached.
type reach struct {
	s         *Snapshot
	listeners []netip.Addr // unmapped, without zones
	wild4     bool
	wild6     bool
	anywhere  bool // by any device that bears an address
}

func newReach(s *Snapshot, listeners []netip.Addr) *reach {
	r := &reach{s: s}
	for _, a := range listeners {
		r.listeners = append(r.listeners, a.Unmap().WithZone(""))
	}
	r.wild4, r.wild6 = wildcards(r.listeners)
	// A wildcard listener answers at every address of the host, a specific one
	// at its own if that is the host's.
	for _, p := range host(*s) {
		a := p.Addr()
		if a.IsLoopback() || !r.listens(p) || r.borne(p) {
			continue
		}
		r.anywhere = true
	}
	return r
}

// listens tells whether there is a listener for an address within p.
func (r *reach) listens(p netip.Prefix) bool {
	if p.Addr().Is4() && r.wild4 || p.Addr().Is6() && r.wild6 {
		return true
	}
	return slices.ContainsFunc(r.listeners, p.Contains)
}

// borne tells whether every address within p that matters is on a device whose
// packets come by itself.
func (r *reach) borne(p netip.Prefix) bool {
	if p.IsSingleIP() {
		return r.onDevice(p.Addr())
	}
	if p.Addr().Is4() && r.wild4 || p.Addr().Is6() && r.wild6 {
		return false
	}
	for _, a := range r.listeners {
		if p.Contains(a) && !r.onDevice(a) {
			return false
		}
	}
	return true
}

// onDevice tells whether a device bears a. One that is down counts: then the
// address is that device's all the same, not everybody's.
func (r *reach) onDevice(a netip.Addr) bool {
	for i := range r.s.Links {
		l := &r.s.Links[i]
		if l.Loopback || l.Kind == "dummy" || r.isVRF(l) || r.isPort(l) {
			continue
		}
		for _, p := range l.Addrs {
			if p.Addr() == a {
				return true
			}
		}
	}
	return false
}

// by tells whether the server can be reached by l.
func (r *reach) by(l *Link) bool {
	if !l.Up || l.Loopback || l.Kind == "dummy" || r.isVRF(l) || r.isPort(l) {
		return false
	}
	if r.anywhere && len(l.Addrs) > 0 {
		return true
	}
	for _, p := range l.Addrs {
		a := p.Addr()
		if a.Is4() && r.wild4 || a.Is6() && r.wild6 || slices.Contains(r.listeners, a) {
			return true
		}
	}
	return false
}

func (r *reach) isVRF(l *Link) bool { return l.Kind == "vrf" }

// isPort tells whether l hands its packets to a master. A VRF's ports do not.
func (r *reach) isPort(l *Link) bool {
	if l.Master == 0 {
		return false
	}
	master := r.s.byIndex(l.Master)
	return master == nil || !r.isVRF(master)
}
