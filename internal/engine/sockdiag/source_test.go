package sockdiag

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// told is Traffic that the test tells.
type told struct {
	flows   []engine.Flow
	stopped bool
}

func (t *told) Stop() { t.stopped = true }

func (t *told) Take() []engine.Flow {
	flows := t.flows
	t.flows = nil
	return flows
}

func (t *told) tell(local, client string, c engine.Counted) {
	f := engine.Flow{Local: netip.MustParseAddr(local), Counted: c}
	if client != "" {
		f.Client = netip.MustParseAddr(client)
	}
	t.flows = append(t.flows, f)
}

var (
	loopback = engine.Device{Index: 1, Name: "lo", LinkHeader: 14, Loopback: true}
	eth0     = engine.Device{Index: 2, Name: "eth0", LinkHeader: 14}
	tun0     = engine.Device{Index: 3, Name: "tun0"}
)

func target(devices ...engine.Device) engine.Target {
	return engine.Target{
		Port: 5432, Devices: devices,
		Local: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("198.51.100.0/24")},
		Bearers: map[netip.Addr]int{
			netip.MustParseAddr("127.0.0.1"): 1, netip.MustParseAddr("::1"): 1,
			netip.MustParseAddr("10.0.0.1"): 2, netip.MustParseAddr("fd00::1"): 2,
			netip.MustParseAddr("10.3.0.1"): 3, netip.MustParseAddr("10.4.0.1"): 0,
		},
	}
}

// one is a packet each way, so that its bytes tell how it was computed.
var one = engine.Counted{PayloadIn: 100, PayloadOut: 1000, SegmentsIn: 1, SegmentsOut: 1}

// of gives the counts of n such packets with so many bytes of headers each.
func of(n, header uint64) engine.Counts {
	return engine.Counts{PacketsIn: n, PacketsOut: n, BytesIn: n * (100 + header), BytesOut: n * (1000 + header)}
}

func source(t *testing.T, traffic engine.Traffic, to engine.Target) *Source {
	t.Helper()
	s, err := Open(traffic, to)
	if err != nil {
		t.Fatal(err)
	}
	s.stamps = true
	return s
}

// read cuts, and checks that clients and devices have the same sum.
func read(t *testing.T, s *Source) engine.Reading {
	t.Helper()
	r, err := s.Cut(time.Now())()
	if err != nil {
		t.Fatal(err)
	}
	var devices, clients engine.Counts
	for _, d := range r.Devices {
		devices.Add(d.Counts)
	}
	for _, c := range r.Clients {
		clients.Add(c.Counts)
	}
	clients.Add(r.Other)
	if devices != clients {
		t.Errorf("devices have %+v, clients %+v", devices, clients)
	}
	return r
}

func TestWire(t *testing.T) {
	for name, c := range map[string]struct {
		counted engine.Counted
		local   string
		link    int
		stamps  bool
		want    engine.Counts
	}{
		"IPv4":           {one, "10.0.0.1", 14, true, of(1, 66)},
		"IPv6":           {one, "fd00::1", 14, true, of(1, 86)},
		"no time stamps": {one, "10.0.0.1", 14, false, of(1, 54)},
		"a tunnel":       {one, "10.0.0.1", 0, true, of(1, 52)},
		"sent again": {
			engine.Counted{PayloadOut: 1000, SegmentsOut: 2, RetransmittedBytes: 500}, "10.0.0.1", 14, true,
			engine.Counts{PacketsOut: 2, BytesOut: 1500 + 2*66},
		},
		"opened":                    {engine.Counted{Opened: 1, SegmentsIn: 2}, "10.0.0.1", 14, true, engine.Counts{PacketsIn: 2, PacketsOut: 1, BytesIn: 2*66 + 8, BytesOut: 74}},
		"opened without timestamps": {engine.Counted{Opened: 1, SegmentsIn: 2}, "10.0.0.1", 14, false, engine.Counts{PacketsIn: 2, PacketsOut: 1, BytesIn: 2*54 + 12, BytesOut: 66}},
		"closed":                    {engine.Counted{Closed: 1}, "10.0.0.1", 14, true, engine.Counts{PacketsIn: 1, PacketsOut: 1, BytesIn: 66, BytesOut: 66}},
		"nothing below zero":        {engine.Counted{PayloadIn: -1, SegmentsIn: -3, SegmentsOut: 1}, "10.0.0.1", 14, true, engine.Counts{PacketsOut: 1, BytesOut: 66}},
	} {
		if got := wire(c.counted, netip.Addr{}, netip.MustParseAddr(c.local), c.link, c.stamps); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestDevices: each flow counts where its packets pass.
func TestDevices(t *testing.T) {
	all := []engine.Device{eth0, tun0, loopback}
	for name, c := range map[string]struct {
		local, client string
		devices       []engine.Device
		want          string // empty: it is not counted
		header        uint64
	}{
		"on the device with the address":      {"10.0.0.1", "10.9.9.9", all, "eth0", 66},
		"IPv6":                                {"fd00::1", "fd09::9", all, "eth0", 86},
		"on a tunnel":                         {"10.3.0.1", "10.9.9.9", all, "tun0", 52},
		"its device is not counted":           {"10.4.0.1", "10.9.9.9", all, "", 0},
		"its device is not counted yet":       {"10.3.0.1", "10.9.9.9", []engine.Device{eth0}, "", 0},
		"of any device":                       {"198.51.100.7", "10.9.9.9", []engine.Device{loopback, tun0, eth0}, "tun0", 52},
		"loopback":                            {"127.0.0.1", "127.0.0.1", all, "lo", 66},
		"another of loopback's":               {"127.8.0.1", "127.0.0.1", all, "lo", 66},
		"from this host":                      {"10.0.0.1", "10.0.0.1", all, "lo", 66},
		"from another address of it":          {"10.0.0.1", "10.4.0.1", all, "lo", 66},
		"from a prefix of it":                 {"10.0.0.1", "198.51.100.200", all, "lo", 66},
		"loopback is not counted":             {"127.0.0.1", "127.0.0.1", []engine.Device{eth0}, "", 0},
		"from this host, loopback not wanted": {"10.0.0.1", "10.0.0.1", []engine.Device{eth0}, "", 0},
		"many clients":                        {"10.0.0.1", "", all, "eth0", 66},
	} {
		traffic := &told{}
		s := source(t, traffic, target(c.devices...))
		traffic.tell(c.local, c.client, one)
		r := read(t, s)
		if len(r.Devices) != len(c.devices) {
			t.Errorf("%s: devices %+v", name, r.Devices)
		}
		for _, d := range r.Devices {
			want := engine.Counts{}
			if d.Device == c.want {
				want = of(1, c.header)
			}
			if d.Counts != want {
				t.Errorf("%s: %+v, want %+v", name, d, want)
			}
		}
		if known := c.want != "" && c.client != ""; known != (len(r.Clients) == 1) {
			t.Errorf("%s: clients %+v", name, r.Clients)
		}
	}
}

// TestPeriods: what was carried before Open counts nothing, then each flow counts in
// one period, and devices that left within it are there.
func TestPeriods(t *testing.T) {
	traffic := &told{}
	traffic.tell("10.0.0.1", "10.9.9.9", one)
	s := source(t, traffic, target(eth0))
	if r := read(t, s); r.Devices[0].Counts != (engine.Counts{}) || len(r.Clients) != 0 {
		t.Errorf("before: %+v", r)
	}
	traffic.tell("10.0.0.1", "10.9.9.9", one)
	traffic.tell("10.0.0.1", "10.9.9.8", one)
	late := s.Cut(time.Now())
	traffic.tell("10.0.0.1", "10.9.9.9", one)
	if err := s.Retarget(target(tun0)); err != nil {
		t.Fatal(err)
	}
	traffic.tell("10.0.0.1", "10.9.9.9", one) // its device is counted no more
	traffic.tell("10.3.0.1", "10.9.9.9", one)
	second := read(t, s)
	if want := []engine.DeviceCounts{{Device: "eth0", Counts: of(1, 66)}, {Device: "tun0", Counts: of(1, 52)}}; !slices.Equal(second.Devices, want) {
		t.Errorf("second: %+v", second.Devices)
	}
	if r := read(t, s); !slices.Equal(r.Devices, []engine.DeviceCounts{{Device: "tun0"}}) {
		t.Errorf("third: %+v", r.Devices)
	}
	if err := s.Close(); err != nil || !traffic.stopped {
		t.Errorf("closed: %v, stopped: %t", err, traffic.stopped)
	}
	first, err := late()
	if err != nil || len(first.Clients) != 2 || !slices.Equal(first.Devices, []engine.DeviceCounts{{Device: "eth0", Counts: of(2, 66)}}) {
		t.Errorf("first, read last: %+v, %v", first, err)
	}
}

func TestNoTraffic(t *testing.T) {
	var missing *engine.Missing
	if _, err := Open(nil, target(eth0)); !errors.As(err, &missing) {
		t.Errorf("%v", err)
	}
}
