package test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// beyond is a second server, on the same port number, on a host of its own
// behind the first one's.
type beyond struct {
	*world
	far *world // the link between the two servers' hosts, and the second server
}

func newBeyond(t *testing.T, engine string) *beyond {
	t.Helper()
	b := &beyond{world: newWorld(t, engine)}
	b.far = &world{link: harness.NewLink(t, harness.NewHost(t), b.s.Host)}
	b.far.s = harness.NewServer(t, harness.Options{Host: b.far.link.Server.Host, Settings: settingsFor(engine)})
	b.far.truth = harness.NewTruth(t, b.far.link, b.far.s.Port)
	b.far.s.Await(t, engine)
	b.far.prepare(t)
	b.s.AwaitStatus(t, "both links being counted on", func(st harness.Status) bool { return st.Devices == "eth0, eth1" })
	return b
}

// nothing checks that the first server counted nothing of what the second one
// counted in full.
func (b *beyond) nothing(t *testing.T, load func()) {
	t.Helper()
	b.s.Reset(t)
	b.far.exact(t, load)
	b.s.CaughtUp(t)
	if got := b.s.Totals(t); got != (harness.Counts{}) {
		t.Errorf("the server between counted %+v", got)
	}
}

// TestClientOfAnotherServer: a host that asks another server on the same port
// number counts nothing of it.
func TestClientOfAnotherServer(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := newBeyond(t, engine)
		for _, at := range []harness.Address{b.far.v4(), b.far.v6()} {
			b.nothing(t, func() { b.s.Host.Pgbench(t, at, "-S", "-C", "-c", "4", "-t", "50") })
		}
	})
}

// TestForwardedTraffic: what passes through the host to another server's port
// counts nothing, and what is for the host's own counts beside it.
func TestForwardedTraffic(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		b := newBeyond(t, engine)
		b.s.Host.Run(t, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
		route := func(e harness.End, to netip.Addr, via netip.Addr) {
			e.Host.Run(t, "ip", "route", "add", to.String(), "via", via.String())
		}
		near, far := b.link, b.far.link
		route(near.Client, far.Server.V4, near.Server.V4)
		route(near.Client, far.Server.V6, near.Server.V6)
		route(far.Server, near.Client.V4, far.Client.V4)
		route(far.Server, near.Client.V6, far.Client.V6)
		for _, at := range []harness.Address{b.far.v4(), b.far.v6()} {
			b.nothing(t, func() { b.client().Pgbench(t, at, "-S", "-C", "-c", "4", "-t", "50") })
		}
	})
}

// TestTwoServersOnOnePort: two servers of one host have the same port on
// different addresses, and each counts its own.
func TestTwoServersOnOnePort(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		link := harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))
		host, device := link.Server.Host, link.Server.Device
		a4, a6 := link.Server.V4, link.Server.V6
		b4, b6 := a4.Next().Next(), a6.Next().Next()
		host.Run(t, "ip", "addr", "add", b4.String()+"/24", "dev", device)
		host.Run(t, "ip", "addr", "add", b6.String()+"/64", "dev", device, "nodad")
		first := newServerAt(t, link, engine, a4, a6)
		second := newServerAt(t, link, engine, b4, b6)
		first.s.Reset(t)
		second.s.Reset(t)
		link.Client.Host.Pgbench(t, first.s.At(a4), "-S", "-t", "50", "-C")
		link.Client.Host.Pgbench(t, first.s.At(a6), "-S", "-t", "50")
		link.Client.Host.Pgbench(t, second.s.At(b4), "-S", "-t", "20", "-C")
		link.Client.Host.Pgbench(t, second.s.At(b6), "-S", "-t", "20")
		for name, w := range map[string]*ownTruth{"first": first, "second": second} {
			want := w.truth(t)
			w.s.CaughtUp(t)
			if got := w.s.Totals(t); got != want || want.PacketsIn < 100 {
				t.Errorf("%s server: %+v, the truth is %+v", name, got, want)
			}
		}
	})
}

// ownTruth is a server with the truth about its own addresses.
type ownTruth struct {
	s     *harness.Server
	link  *harness.Link
	hooks [2][]harness.Hook // in, out
}

func newServerAt(t *testing.T, link *harness.Link, engine string, v4, v6 netip.Addr) *ownTruth {
	t.Helper()
	settings := settingsFor(engine)
	settings["listen_addresses"] = v4.String() + "," + v6.String()
	o := &ownTruth{link: link, s: harness.NewServer(t, harness.Options{Host: link.Server.Host, Settings: settings})}
	o.s.Await(t, engine)
	(&world{s: o.s}).prepare(t)
	for _, match := range []string{"ip %saddr " + v4.String(), "ip6 %saddr " + v6.String()} {
		in := fmt.Sprintf(match, "d") + fmt.Sprintf(" tcp dport %d", o.s.Port)
		out := fmt.Sprintf(match, "s") + fmt.Sprintf(" tcp sport %d", o.s.Port)
		o.hooks[0] = append(o.hooks[0], harness.NewHook(t, link.Server.Host, link.Server.Device, in))
		o.hooks[1] = append(o.hooks[1], harness.NewHook(t, link.Client.Host, link.Client.Device, out))
	}
	return o
}

func (o *ownTruth) truth(t *testing.T) harness.Counts {
	t.Helper()
	harness.NewTruth(t, o.link, o.s.Port).Quiet(t)
	var c harness.Counts
	for _, h := range o.hooks[0] {
		p, b := h.Read(t)
		c = c.Add(harness.Counts{PacketsIn: p, BytesIn: b})
	}
	for _, h := range o.hooks[1] {
		p, b := h.Read(t)
		c = c.Add(harness.Counts{PacketsOut: p, BytesOut: b})
	}
	return c
}
