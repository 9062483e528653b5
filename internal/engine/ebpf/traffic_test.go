package ebpf

import (
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

// route is the way between the server, in the test's namespace, and a client:
//
//	pges0 ── pges1 router pger1 ── pger0 client
//
// The pair at the client cuts what is sent into it into segments, whatever the
// server's does, so the hooks behind it count what a wire would have.
type route struct {
	client              *netnstest.Peer
	requests, responses ingress    // at the router, at the client: as on a wire
	whole               [2]ingress // at the server, at the router: as the server's device has them
}

func newRoute(t testing.TB) *route {
	t.Helper()
	client, router := netnstest.NewPeer(t), netnstest.NewPeer(t)
	for _, run := range []func(testing.TB, ...string) string{netnstest.Run, router.Run, client.Run} {
		run(t, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0")
	}
	netnstest.Run(t, "ip", "link", "add", "pges0", "type", "veth", "peer", "name", "pges1", "netns", router.Name())
	t.Cleanup(func() { netnstest.Run(t, "ip", "link", "del", "pges0") })
	router.Run(t, "ip", "link", "add", "pger1", "type", "veth", "peer", "name", "pger0", "netns", client.Name())
	router.Run(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	for _, d := range []struct {
		run            func(testing.TB, ...string) string
		name, v4, v6   string
		gateway, gate6 string
	}{
		{netnstest.Run, "pges0", "192.0.2.1/24", "2001:db8::1/64", "192.0.2.254", "2001:db8::fe"},
		{router.Run, "pges1", "192.0.2.254/24", "2001:db8::fe/64", "", ""},
		{router.Run, "pger1", "198.51.100.254/24", "2001:db8:ffff::fe/64", "", ""},
		{client.Run, "pger0", "198.51.100.7/24", "2001:db8:ffff::7/64", "198.51.100.254", "2001:db8:ffff::fe"},
	} {
		d.run(t, "ip", "address", "add", d.v4, "dev", d.name)
		d.run(t, "ip", "address", "add", d.v6, "dev", d.name, "nodad")
		d.run(t, "ip", "link", "set", d.name, "up")
		if d.gateway != "" {
			d.run(t, "ip", "route", "replace", "default", "via", d.gateway)
			d.run(t, "ip", "route", "replace", "default", "via", d.gate6)
		}
	}
	running(t, netnstest.Run, "pges0")
	running(t, router.Run, "pges1")
	running(t, router.Run, "pger1")
	running(t, client.Run, "pger0")
	for _, name := range []string{"pger1", "pger0"} {
		run := router.Run
		if name == "pger0" {
			run = client.Run
		}
		run(t, "ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off")
	}
	return &route{
		client:    client,
		requests:  newIngress(t, router.Run, "pger1"),
		responses: newIngress(t, client.Run, "pger0"),
		whole:     [2]ingress{newIngress(t, netnstest.Run, "pges0"), newIngress(t, router.Run, "pges1")},
	}
}

// wire is what passed between the router and the client since the last call.
func (r *route) wire(t testing.TB) engine.Counts {
	t.Helper()
	c, responses := r.requests.counts(t), r.responses.counts(t)
	c.PacketsOut, c.BytesOut = responses.PacketsOut, responses.BytesOut
	return c
}

// buffers is how many buffers of the kernel that was at the server, since the
// last call.
func (r *route) buffers(t testing.TB) uint64 {
	t.Helper()
	return r.whole[0].counts(t).PacketsIn + r.whole[1].counts(t).PacketsOut
}

// segmentsSent is how many segments TCP has sent, also again, in the test's namespace.
func segmentsSent(t testing.TB) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^Tcp:.* OutSegs RetransSegs .*\nTcp: (?:\S+ ){10}(\d+) (\d+) `).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no OutSegs in %s", text)
	}
	var sum uint64
	for _, digits := range found[1:] {
		n, err := strconv.ParseUint(string(digits), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// framesDropped is how many frames the machine's processors had no room for in
// their queues between two devices.
func framesDropped(t testing.TB) (sum uint64) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var processed, dropped uint64
		if _, err := fmt.Sscanf(line, "%x %x", &processed, &dropped); err != nil {
			t.Fatal(err)
		}
		sum += dropped
	}
	return sum
}

// dial connects the client with an echo server, and sends bytes over each of
// some connections at once and takes them back.
func (r *route) dial(t testing.TB, address string, connections, bytes int) {
	t.Helper()
	var all sync.WaitGroup
	for range connections {
		var c net.Conn
		var err error
		r.client.Do(t, func() { c, err = net.Dial("tcp", address) })
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer c.Close()
			go func() { _, _ = c.Write(make([]byte, bytes)) }()
			if _, err := io.CopyN(io.Discard, c, int64(bytes)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Real connections, as the wire behind a router has them: to the packet and to
// the byte, with and without segmentation left to the server's device, and with
// buffers of more than 64 KB.
func TestConnections(t *testing.T) {
	r := newRoute(t)
	echo(t, server4)
	echo(t, server6)
	echo(t, "192.0.2.1:5433")
	r.dial(t, server4, 1, 1) // so that all know their neighbours
	r.dial(t, server6, 1, 1)
	s := openSource(t, target(t, own, "pges0"))
	for _, device := range []struct {
		name, offload, largest string
	}{
		{"no offload", "off", "65536"}, {"offload", "on", "65536"}, {"large offload", "on", "180000"},
	} {
		netnstest.Run(t, "ethtool", "-K", "pges0", "tso", device.offload, "gso", device.offload, "gro", device.offload)
		netnstest.Run(t, "ip", "link", "set", "pges0", "gso_max_size", device.largest, "gro_max_size", device.largest)
		for _, c := range []struct {
			name, address      string
			connections, bytes int
			counted            bool
		}{
			{"short", server4, 100, 10, true},
			{"short, IPv6", server6, 100, 10, true},
			{"bulk", server4, 4, 20e6, true},
			{"bulk, IPv6", server6, 4, 20e6, true},
			{"another port", "192.0.2.1:5433", 10, 1e6, false},
		} {
			t.Run(device.name+", "+c.name, func(t *testing.T) {
				cut(t, s)
				var reading engine.Reading
				var wire engine.Counts
				var buffers, sent uint64
				for dropped := ^uint64(0); dropped > 0; { // on the way: neither at both ends
					r.wire(t)
					r.buffers(t)
					sent, dropped = segmentsSent(t), framesDropped(t)
					r.dial(t, c.address, c.connections, c.bytes)
					settle(t)
					reading, wire, buffers = cut(t, s), r.wire(t), r.buffers(t)
					sent, dropped = segmentsSent(t)-sent, framesDropped(t)-dropped
				}
				t.Logf("%s, in %d buffers", show(wire), buffers)
				if c.counted && total(reading).PacketsOut != sent {
					t.Errorf("counted %d packets out, TCP sent %d segments", total(reading).PacketsOut, sent)
				}
				if device.largest != "65536" && c.address == server6 {
					// The router refuses some such buffers as too big, behind the
					// server's device and before the hooks.
					return
				}
				same(t, c.name, total(reading), wire)
				if c.counted != (wire.PacketsOut > uint64(c.connections)) || c.counted != (len(reading.Clients) == 1) {
					t.Errorf("the wire had %s, clients %v", show(wire), reading.Clients)
				}
				if device.offload == "on" && c.bytes > 1e7 && buffers > wire.PacketsIn+wire.PacketsOut/2 {
					t.Error("hardly any segmentation to test with")
				}
			})
		}
	}
}
