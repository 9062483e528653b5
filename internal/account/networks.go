package account

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Networks gives addresses the names of the networks that they are in.
type Networks struct {
	names   map[netip.Prefix]string
	lengths []int // of prefixes, the longest first
}

// ParseNetworks reads pg_netstat.networks: name=CIDR, separated by commas. A
// name may stand for several networks; an address alone is a network of one.
func ParseNetworks(list string) (Networks, error) {
	n := Networks{names: map[netip.Prefix]string{}}
	if strings.TrimSpace(list) == "" {
		return n, nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		name, cidr, ok := strings.Cut(pair, "=")
		name, cidr = strings.TrimSpace(name), strings.TrimSpace(cidr)
		switch {
		case !ok || name == "":
			return Networks{}, fmt.Errorf("%q is not of the form name=CIDR", strings.TrimSpace(pair))
		case name[0] == '(' && name[len(name)-1] == ')':
			return Networks{}, fmt.Errorf("the name %q is reserved, as all names in parentheses are", name)
		}
		prefix, err := parsePrefix(cidr)
		if err != nil {
			return Networks{}, fmt.Errorf("network %q: %w", name, err)
		}
		if other, ok := n.names[prefix]; ok && other != name {
			return Networks{}, fmt.Errorf("%s is both %q and %q", prefix, other, name)
		}
		n.names[prefix] = name
		if !slices.Contains(n.lengths, prefix.Bits()) {
			n.lengths = append(n.lengths, prefix.Bits())
		}
	}
	slices.Sort(n.lengths)
	slices.Reverse(n.lengths)
	return n, nil
}

func parsePrefix(cidr string) (netip.Prefix, error) {
	if !strings.Contains(cidr, "/") {
		addr, err := netip.ParseAddr(cidr)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address", cidr)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no network in CIDR notation", cidr)
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, fmt.Errorf("%q has bits set beyond its length; the network is %s", cidr, masked)
	}
	return prefix, nil
}

// Find gives the name of the smallest network that addr is in.
func (n *Networks) Find(addr netip.Addr) (name string, ok bool) {
	addr = addr.WithZone("")
	for _, bits := range n.lengths {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			continue // longer than an address of this kind
		}
		if name, ok = n.names[prefix]; ok {
			return name, true
		}
	}
	return "", false
}
