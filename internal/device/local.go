package device

import (
	"net/netip"
	"slices"
)

// Local gives the local addresses at which the server answers, as prefixes,
// given the addresses that it listens on. Of a family with a wildcard listener
// those are all of this host; else just the listeners, so that two servers
// with one port on different addresses are told apart. A listener that is no
// address of this host (yet) is among them: nothing can reach it.
func Local(s Snapshot, listeners []netip.Addr) []netip.Prefix {
	var local []netip.Prefix
	add := func(p netip.Prefix) {
		if !slices.Contains(local, p) {
			local = append(local, p)
		}
	}
	wild4, wild6 := wildcards(listeners)
	for _, p := range host(s) {
		if p.Addr().Is4() && wild4 || p.Addr().Is6() && wild6 {
			add(p)
		}
	}
	for _, a := range listeners {
		a = a.Unmap().WithZone("")
		if a.IsValid() && !a.IsUnspecified() {
			add(netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return local
}

// host gives all addresses of the host: the table local, and the devices'
// addresses, since those on a VRF's devices are in the VRF's own table.
func host(s Snapshot) []netip.Prefix {
	all := slices.Clone(s.Local)
	for _, l := range s.Links {
		for _, p := range l.Addrs {
			all = append(all, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
		}
	}
	return all
}

// wildcards tells for which families there is a listener on every address.
// PostgreSQL opens one socket for each family, IPv6 with IPV6_V6ONLY.
func wildcards(listeners []netip.Addr) (v4, v6 bool) {
	for _, a := range listeners {
		if a.IsUnspecified() {
			v4 = v4 || a.Is4()
			v6 = v6 || a.Is6()
		}
	}
	return v4, v6
}
