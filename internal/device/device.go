// Package device finds out on which network devices the server's packets are
// to be counted and which addresses are the server's.
//
// Scan reads what the kernel knows; Select and Local decide, without I/O; Watch
// says when to do both again. Everything is read by netlink in the network
// namespace of the calling thread, never from /sys/class/net, which shows the
// namespace that it was mounted in.
package device

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Link is a network device.
type Link struct {
	Index   int
	Name    string
	Kind    string // rtnetlink's kind, e.g. "vlan"; empty for hardware
	Type    uint16 // ARPHRD_…
	Up      bool   // administratively
	Running bool   // and with a carrier
	// Loopback tells the device lo of a namespace.
	Loopback bool
	MTU      int
	// Parent is the index of the device that IFLA_LINK names, 0 for none. It
	// is in another network namespace if Elsewhere is set.
	Parent    int
	Elsewhere bool
	// Master is the index of the bridge, bond, VRF … that this is a port of.
	Master int
	// Offload tells that the device or its driver merges or cuts segments.
	Offload bool
	// Addrs are the device's addresses, each with the length of its network.
	Addrs []netip.Prefix
}

// Snapshot is the devices and local addresses of one moment.
type Snapshot struct {
	Links []Link
	// Local are the destinations of the routes of type local in the routing
	// table local: addresses of this host, and prefixes of them (AnyIP).
	Local []netip.Prefix
}

// target gives what an engine has to know of a link.
func (l *Link) target() engine.Device {
	return engine.Device{
		Index:      l.Index,
		Name:       l.Name,
		LinkHeader: linkHeader(l.Type),
		Loopback:   l.Loopback,
		MTU:        l.MTU,
		Offload:    l.Offload,
	}
}

// linkHeader gives the bytes of link header that count for a packet. Tunnels
// and point-to-point devices have none of their own: what carries their
// packets is another device's traffic.
func linkHeader(arphrd uint16) int {
	switch arphrd {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return 14
	case unix.ARPHRD_INFINIBAND:
		return 4 // IP over InfiniBand's own; the fabric's is not visible
	}
	return 0
}

func (s *Snapshot) byIndex(index int) *Link {
	for i := range s.Links {
		if s.Links[i].Index == index {
			return &s.Links[i]
		}
	}
	return nil
}

func (s *Snapshot) byName(name string) *Link {
	for i := range s.Links {
		if s.Links[i].Name == name {
			return &s.Links[i]
		}
	}
	return nil
}
