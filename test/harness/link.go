package harness

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// Link is a veth pair between two hosts, offload switched off.
type Link struct {
	Server, Client End
}

// End is one side of it.
type End struct {
	Host   *Host
	Device string
	V4, V6 netip.Addr
}

// NewLink connects two hosts. The devices are eth0 on both, eth1 for a second
// link of one host, and so on.
func NewLink(t testing.TB, server, client *Host) *Link {
	t.Helper()
	l := newEnds(t, server, client)
	must(t, "ip", "link", "add", l.Server.Device, "netns", server.Name,
		"type", "veth", "peer", "name", l.Client.Device, "netns", client.Name)
	for _, e := range []End{l.Server, l.Client} {
		e.up(t)
	}
	l.Offload(t, false)
	return l
}

// newEnds names the devices of a link and their addresses.
func newEnds(t testing.TB, server, client *Host) *Link {
	t.Helper()
	n := serial.Add(1)
	end := func(h *Host, last byte) End {
		return End{
			Host: h, Device: freeDevice(t, h),
			V4: netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), last}),
			V6: netip.AddrFrom16([16]byte{0: 0xfd, 6: byte(n >> 8), 7: byte(n), 15: last}),
		}
	}
	return &Link{Server: end(server, 1), Client: end(client, 2)}
}

func freeDevice(t testing.TB, h *Host) string {
	t.Helper()
	there := must(t, "ip", "-n", h.Name, "-o", "link")
	n := 0
	for strings.Contains(there, fmt.Sprintf(": eth%d", n)) {
		n++
	}
	return fmt.Sprintf("eth%d", n)
}

// up sets the addresses and the device up, with no wait for duplicates of them.
func (e End) up(t testing.TB) {
	t.Helper()
	ip := func(args ...string) { must(t, append([]string{"ip", "-n", e.Host.Name}, args...)...) }
	ip("addr", "add", e.V4.String()+"/24", "dev", e.Device)
	ip("addr", "add", e.V6.String()+"/64", "dev", e.Device, "nodad")
	ip("link", "set", e.Device, "up")
}

// Offload lets both ends hand on super-packets of up to 64 kB, or forbids it.
// Receivers never merge packets (GRO) here.
func (l *Link) Offload(t testing.TB, on bool) {
	t.Helper()
	state := map[bool]string{true: "on", false: "off"}[on]
	for _, e := range []End{l.Server, l.Client} {
		e.Host.Run(t, "ethtool", "-K", e.Device, "tso", state, "gso", state, "gro", "off")
	}
}

// Counts are packets and their bytes on the wire, toward the server and from it.
type Counts struct {
	PacketsIn, PacketsOut, BytesIn, BytesOut int64
}

// Add gives the sum.
func (c Counts) Add(o Counts) Counts {
	return Counts{c.PacketsIn + o.PacketsIn, c.PacketsOut + o.PacketsOut, c.BytesIn + o.BytesIn, c.BytesOut + o.BytesOut}
}

// Sub gives the difference.
func (c Counts) Sub(o Counts) Counts {
	return Counts{c.PacketsIn - o.PacketsIn, c.PacketsOut - o.PacketsOut, c.BytesIn - o.BytesIn, c.BytesOut - o.BytesOut}
}
