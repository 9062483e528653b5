package pcap

import "net/netip"

// locals are the server's own addresses.
type locals struct {
	single   map[address]struct{}
	prefixes []netip.Prefix
}

func newLocals(prefixes []netip.Prefix) locals {
	l := locals{single: make(map[address]struct{})}
	for _, p := range prefixes {
		if p.IsSingleIP() {
			l.single[p.Addr().As16()] = struct{}{}
		} else {
			l.prefixes = append(l.prefixes, p.Masked())
		}
	}
	return l
}

func (l *locals) has(a address) bool {
	if _, ok := l.single[a]; ok {
		return true
	}
	if len(l.prefixes) == 0 {
		return false
	}
	addr := netip.AddrFrom16(a).Unmap()
	for _, p := range l.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
