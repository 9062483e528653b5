package pcap

import (
	"fmt"
	"strings"
)

// expression is a filter for the packets of a port, and for those whose port is
// not where a filter finds it: later fragments, and behind extension headers.
func expression(port uint16, dir direction) string {
	end := map[direction]string{inward: "dst", outward: "src", both: ""}[dir]
	terms := []string{
		fmt.Sprintf("tcp %s port %d", end, port),
		"(ip proto 6 and ip[6:2] & 0x1fff != 0)",
		fmt.Sprintf("ip proto %d", protoAuth),
	}
	for _, next := range []int{
		protoHopByHop, protoRouting, protoFragment, protoAuth, protoDestination, protoMobility,
	} {
		terms = append(terms, fmt.Sprintf("ip6 proto %d", next))
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

// tagged gives a filter for what another one passes, with up to two VLAN tags.
func tagged(core string) string {
	return fmt.Sprintf("%s or (vlan and (%s or (vlan and %s)))", core, core, core)
}
