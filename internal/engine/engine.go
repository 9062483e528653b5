// Package engine says what a source of packet counts is. The sources are in
// the packages below it; the agent chooses among them by asking each whether
// it may run here.
package engine

import (
	"net/netip"
	"time"
)

// Counts are whole packets and their bytes on the wire, link header included.
// In is toward the server, out from it.
type Counts struct {
	PacketsIn, PacketsOut uint64
	BytesIn, BytesOut     uint64
}

// Add adds o to c.
func (c *Counts) Add(o Counts) {
	c.PacketsIn += o.PacketsIn
	c.PacketsOut += o.PacketsOut
	c.BytesIn += o.BytesIn
	c.BytesOut += o.BytesOut
}

// Zero tells whether nothing was counted.
func (c Counts) Zero() bool { return c == Counts{} }

// Device is what a source has to know of a network device to count on it.
type Device struct {
	Index      int    // interface index
	Name       string // interface name
	LinkHeader int    // bytes of link header of a packet on it, without VLAN tags
	Loopback   bool   // a packet is seen twice on it, once each way
	MTU        int    // bytes
	Offload    bool   // segments are merged or cut by the device or the driver (TSO, GSO, GRO, LRO)
}

// Target is what a source is to count: TCP packets between Port at an address
// within Local and anyone, on Devices.
type Target struct {
	Port    uint16
	Devices []Device
	Local   []netip.Prefix
	// Bearers tells for each address of this host the index of the device of those
	// to be counted that its packets pass, 0 if none. An address that is not among
	// them may be reached by any.
	Bearers map[netip.Addr]int
}

// DeviceCounts is what one device saw.
type DeviceCounts struct {
	Device string
	Counts
}

// ClientCounts is what one client address sent and was sent, on all devices.
type ClientCounts struct {
	Client netip.Addr
	Counts
}

// Reading is what was counted between two cuts.
type Reading struct {
	// Devices has every device that was a target at any time in the period,
	// also those with no packet; each name once.
	Devices []DeviceCounts
	// Clients has each client address at most once. Clients and Other
	// together have the sum of Devices.
	Clients []ClientCounts
	// Other is what the bounded tables of clients had no room for.
	Other Counts
	// Lost counts packets that the source knows it did not see.
	Lost uint64
}

// Source counts packets. Its methods are called from one goroutine at a time,
// except that a function which Cut returned may run beside them.
type Source interface {
	// Retarget changes what is counted. What stays a target is counted on
	// without losing or doubling a packet. A device that cannot be used does not
	// keep the others from being used: the error names each (errors.Join),
	// and the call may be repeated.
	Retarget(Target) error
	// Cut ends a period now, at the wall clock time at, and begins the next.
	// It returns at once; the function it returns gives what was counted in
	// the period, when that is known. Those functions are called once each,
	// in the order of their cuts, and each before the next Cut of a source
	// whose Overlap is false.
	Cut(at time.Time) func() (Reading, error)
	// Overlap tells whether a Cut may follow before the previous period's
	// reading was taken.
	Overlap() bool
	// Inexact says in a sentence why counts are not exact on the present
	// devices, and is empty if they are.
	Inexact() string
	// Close frees everything. Readings not taken are lost.
	Close() error
}

// Missing is the error of a source that may not or cannot run here.
type Missing struct {
	What string // what is missing, e.g. "the capability CAP_BPF"
	Hint string // what to do about it, e.g. a command
	Err  error  // the cause, or nil
}

// Error says what is missing, and why that is known.
func (m *Missing) Error() string {
	if m.Err == nil {
		return m.What
	}
	return m.What + ": " + m.Err.Error()
}

// Unwrap gives the cause.
func (m *Missing) Unwrap() error { return m.Err }
