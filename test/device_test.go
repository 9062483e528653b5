package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// newPair is a world whose server has a second link to the same client.
func newPair(t *testing.T, engine string, more ...harness.Settings) (first, second *world) {
	t.Helper()
	first = newWorld(t, engine, more...)
	return first, first.another(t)
}

// another gives the server another link to the same client.
func (w *world) another(t *testing.T) *world {
	t.Helper()
	l := harness.NewLink(t, w.s.Host, w.client())
	return &world{link: l, s: w.s, truth: harness.NewTruth(t, l, w.s.Port)}
}

// ask lets some traffic pass, by both families, and gives the truth about it.
func (w *world) ask(t *testing.T) harness.Counts {
	t.Helper()
	before := w.truth.Read(t)
	for _, at := range []harness.Address{w.v4(), w.v6()} {
		w.client().Psql(t, at, "SELECT generate_series(1, 5000)")
	}
	c := w.truth.Quiet(t).Sub(before)
	if c.PacketsIn < 20 || c.PacketsOut < 20 {
		t.Fatalf("traffic was %+v", c)
	}
	return c
}

// devicesAre waits until the server counts on exactly these.
func (w *world) devicesAre(t *testing.T, names ...string) harness.Status {
	t.Helper()
	want := strings.Join(names, ", ")
	return w.s.AwaitStatus(t, "devices being "+want, func(st harness.Status) bool { return st.Devices == want })
}

// deviceHas checks what the server says of a device.
func (w *world) deviceHas(t *testing.T, name, state string, want harness.Counts) {
	t.Helper()
	w.s.CaughtUp(t)
	d, ok := w.s.Devices(t)[name]
	if !ok {
		t.Errorf("%s is no device: %v", name, w.s.Devices(t))
	} else if d.State != state || d.Counts != want {
		t.Errorf("%s is %s with %+v, want %s with %+v", name, d.State, d.Counts, state, want)
	}
}

// stateIs waits until the server says that a device is in a state.
func (w *world) stateIs(t *testing.T, name, state string) {
	t.Helper()
	harness.Until(t, patience, name+" being "+state, func() error {
		if d := w.s.Devices(t)[name]; d.State != state {
			return fmt.Errorf("it is %q", d.State)
		}
		return nil
	})
}

// eachEngine runs a test for each engine that counts packets, beside others: they
// mostly wait, and whether a packet is counted is no matter of speed.
func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	t.Helper()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, engine)
		})
	}
}

func TestDeviceByName(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		first, second := newPair(t, engine)
		first.s.Set(t, harness.Settings{"pg_netstat.device": "eth1"})
		first.devicesAre(t, "eth1")
		first.s.Reset(t)
		first.ask(t)
		first.deviceHas(t, "eth1", "counting", second.ask(t))
		if n := len(first.s.Devices(t)); n != 1 {
			t.Errorf("%d devices", n)
		}
		// The name that the setting had in 2023 wins.
		first.s.Set(t, harness.Settings{"pg_netstat.devices": "eth0"})
		first.devicesAre(t, "eth0")
	})
}

func TestDevicesByAuto(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		first, second := newPair(t, engine)
		first.devicesAre(t, "eth0", "eth1")
		first.s.Reset(t)
		c0, c1 := first.ask(t), second.ask(t)
		first.deviceHas(t, "eth0", "counting", c0)
		first.deviceHas(t, "eth1", "counting", c1)
		if sum := harness.Sum(first.complete(t)); sum != c0.Add(c1) {
			t.Errorf("intervals have %+v, the truth is %+v", sum, c0.Add(c1))
		}
		// A third one comes while the others are counted on.
		third := first.another(t)
		first.devicesAre(t, "eth0", "eth1", "eth2")
		first.deviceHas(t, "eth2", "counting", third.ask(t))
		first.deviceHas(t, "eth0", "counting", c0)
	})
}

func TestLoopback(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		in := harness.NewHook(t, w.s.Host, "lo", fmt.Sprintf("tcp dport %d", w.s.Port))
		out := harness.NewHook(t, w.s.Host, "lo", fmt.Sprintf("tcp sport %d", w.s.Port))
		w.s.Reset(t)
		w.s.Host.Psql(t, w.v4(), "SELECT 1")
		w.s.CaughtUp(t)
		if c := w.s.Totals(t); c != (harness.Counts{}) {
			t.Errorf("without loopback: %+v", c)
		}
		w.s.Set(t, harness.Settings{"pg_netstat.capture_loopback": "on"})
		w.devicesAre(t, "eth0", "lo")
		w.s.Reset(t)
		read := func() (c harness.Counts) {
			c.PacketsIn, c.BytesIn = in.Read(t)
			c.PacketsOut, c.BytesOut = out.Read(t)
			return c
		}
		before := read()
		// Also by an address that is not loopback's: it goes by lo all the same.
		for _, at := range []string{"127.0.0.1", "::1", w.link.Server.V4.String(), w.link.Server.V6.String()} {
			w.s.Host.Run(t, "psql", "-X", "-h", at, "-p", fmt.Sprint(w.s.Port), "-c", "SELECT generate_series(1, 100)", "postgres")
		}
		c := w.ask(t)
		w.deviceHas(t, "lo", "counting", read().Sub(before))
		w.deviceHas(t, "eth0", "counting", c)
	})
}

func TestAllDevices(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine, harness.Settings{"pg_netstat.device": "all"})
		w.s.Host.Run(t, "ip", "link", "add", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge")
		w.s.Host.Run(t, "ip", "link", "set", "mv0", "up")
		st := w.devicesAre(t, "eth0", "mv0")
		if st.Exact == nil || *st.Exact || st.InexactReason == "" {
			t.Errorf("sums over devices that show the same packets are not marked: %+v", st)
		}
		w.s.Reset(t)
		w.deviceHas(t, "eth0", "counting", w.ask(t))
	})
}

// TestDeviceComesAndGoes deletes a device while it is counted on, with traffic on
// the other, makes it again, and sets it down and up.
func TestDeviceComesAndGoes(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		first, second := newPair(t, engine)
		first.prepare(t)
		first.devicesAre(t, "eth0", "eth1")
		first.s.Reset(t)
		start := first.truth.Quiet(t)
		bench := first.client().StartPgbench(t, first.v4(), "-S", "-c", "2", "-R", "500", "-T", "600")
		c1 := second.ask(t)
		second.link.Server.Host.Run(t, "ip", "link", "delete", "eth1")
		first.stateIs(t, "eth1", "gone")
		first.deviceHas(t, "eth1", "gone", c1)
		second = first.another(t)
		first.stateIs(t, "eth1", "counting")
		c1 = c1.Add(second.ask(t))
		first.deviceHas(t, "eth1", "counting", c1)

		first.s.Host.Run(t, "ip", "link", "set", "eth1", "down")
		first.stateIs(t, "eth1", "down")
		first.s.Host.Run(t, "ip", "link", "set", "eth1", "up")
		first.s.Host.Run(t, "ip", "addr", "replace", second.link.Server.V6.String()+"/64", "dev", "eth1", "nodad")
		first.stateIs(t, "eth1", "counting")
		c1 = c1.Add(second.ask(t))
		first.deviceHas(t, "eth1", "counting", c1)

		bench.Signal(15)
		first.deviceHas(t, "eth0", "counting", first.truth.Quiet(t).Sub(start))
	})
}

// TestDeviceRenamed: totals are by name, so they go on under the new one.
func TestDeviceRenamed(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.s.Reset(t)
		c := w.ask(t)
		w.s.CaughtUp(t)
		w.s.Host.Run(t, "ip", "link", "set", "eth0", "name", "front")
		w.devicesAre(t, "front")
		w.deviceHas(t, "eth0", "gone", c)
		// The firewall's counter is at the name.
		w.link.Server.Device = "front"
		w.truth = harness.NewTruth(t, w.link, w.s.Port)
		w.deviceHas(t, "front", "counting", w.ask(t))
	})
}

// TestDeviceThatIsYetToCome: a device that is wished for by name is counted on
// from when it is there.
func TestDeviceThatIsYetToCome(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.s.Set(t, harness.Settings{"pg_netstat.device": "eth1"})
		st := w.s.AwaitStatus(t, "waiting for the device", func(st harness.Status) bool {
			return st.State == "waiting for a device"
		})
		if !strings.Contains(st.Warning, `"eth1" does not exist`) || !strings.Contains(w.s.Log(t), `"eth1" does not exist`) {
			t.Errorf("the warning is %q", st.Warning)
		}
		second := w.another(t)
		if st := w.s.Await(t, engine); st.Warning != "" || st.Devices != "eth1" {
			t.Errorf("counting on %q, with the warning %q", st.Devices, st.Warning)
		}
		w.deviceHas(t, "eth1", "counting", second.ask(t))
		// A name that no device can have leaves what was in force.
		w.s.Set(t, harness.Settings{"pg_netstat.device": "no such/device"})
		w.s.AwaitStatus(t, "a warning", func(st harness.Status) bool {
			return strings.Contains(st.Warning, "pg_netstat.device stays eth1") && st.Devices == "eth1"
		})
	})
}

// TestMacvlanBesideItsParent: the server is reached by both devices, and the
// parent shows the packets of both.
func TestMacvlanBesideItsParent(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		v4, v6 := w.link.Server.V4.Next().Next(), w.link.Server.V6.Next().Next()
		ip := func(args ...string) { w.s.Host.Run(t, append([]string{"ip"}, args...)...) }
		ip("link", "add", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge")
		ip("addr", "add", v4.String()+"/24", "dev", "mv0")
		ip("addr", "add", v6.String()+"/64", "dev", "mv0", "nodad")
		ip("link", "set", "mv0", "up")
		w.once(t, w.s.At(v4), w.s.At(v6))
	})
}

// TestBridge: the link is a port of a bridge that has the addresses.
func TestBridge(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		v4, v6 := w.link.Server.V4, w.link.Server.V6
		ip := func(args ...string) { w.s.Host.Run(t, append([]string{"ip"}, args...)...) }
		ip("link", "add", "br0", "type", "bridge")
		ip("addr", "flush", "dev", "eth0")
		ip("link", "set", "eth0", "master", "br0")
		ip("addr", "add", v4.String()+"/24", "dev", "br0")
		ip("addr", "add", v6.String()+"/64", "dev", "br0", "nodad")
		ip("link", "set", "br0", "up")
		// It has offload of its own, which libpcap could not see through.
		w.s.Host.Run(t, "ethtool", "-K", "br0", "tso", "off", "gro", "off")
		w.s.Set(t, nil)
		w.devicesAre(t, "br0")
		w.once(t)
	})
}

// once checks that every packet to the server's address, and to others, is in
// the sum over the devices once.
func (w *world) once(t *testing.T, more ...harness.Address) {
	t.Helper()
	w.s.AwaitStatus(t, "exact counts", func(st harness.Status) bool {
		return st.State == "counting" && st.Exact != nil && *st.Exact
	})
	w.exact(t, func() {
		for _, at := range append(more, w.v4(), w.v6()) {
			w.client().Psql(t, at, "SELECT generate_series(1, 5000)")
		}
	})
}
