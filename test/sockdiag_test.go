package test

import (
	"strings"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// newPowerless makes a world whose agent has no capability at all.
func newPowerless(t *testing.T) *world {
	t.Helper()
	in := harness.NewInstall(t)
	in.Setcap(t, "")
	w := &world{link: harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))}
	w.s = harness.NewServer(t, harness.Options{Host: w.link.Server.Host, Install: in, Settings: settingsFor("auto")})
	w.truth = harness.NewTruth(t, w.link, w.s.Port)
	w.s.Await(t, "sockdiag")
	return w
}

// linkHeaders is more than a packet without payload has, in bytes.
const linkHeaders = 100

// TestDerived: with no capability packets are derived from the sessions. They agree with
// the firewall's counters but for a packet each way and connection: its last ones
// are assumed.
func TestDerived(t *testing.T) {
	t.Parallel()
	w := newPowerless(t)
	w.prepare(t)
	st := w.s.Status(t)
	if st.Exact == nil || *st.Exact || !strings.Contains(st.InexactReason, "derived from the sessions") {
		t.Errorf("exact: %v, %q", st.Exact, st.InexactReason)
	}
	for _, engine := range []string{"ebpf", "pcap"} {
		if !strings.Contains(st.EngineReason, "engine "+engine+": ") {
			t.Errorf("the reason does not tell of %s: %q", engine, st.EngineReason)
		}
	}
	for _, c := range []struct {
		load
		connections int64
	}{{queries, 9}, {connections, 401}, {copyOut, 1}, {copyIn, 1}} {
		for _, at := range []harness.Address{w.v4(), w.v6()} {
			t.Run(c.name+" to "+at.Addr.String(), func(t *testing.T) {
				truth, totals := w.account(t, func() { c.run(t, w, at) })
				d := totals.Sub(truth)
				t.Logf("truth %+v, difference %+v", truth, d)
				// What a client sent twice, and blocks of selective acknowledgments, are
				// unknown: on a busy machine there are some.
				bytes := c.connections*linkHeaders + (truth.BytesIn+truth.BytesOut)/100
				if !small(d.PacketsIn, c.connections) || !small(d.PacketsOut, c.connections) ||
					!small(d.BytesIn, bytes) || !small(d.BytesOut, bytes) {
					t.Errorf("pg_netstat_device has %+v, the truth is %+v: difference %+v", totals, truth, d)
				}
				if sum := harness.Sum(w.complete(t)); sum != totals {
					t.Errorf("pg_netstat has %+v, pg_netstat_device %+v", sum, totals)
				}
				if truth.PacketsIn == 0 || truth.PacketsOut == 0 {
					t.Error("there was no traffic")
				}
			})
		}
	}
}

// small tells whether a difference is no more than some, either way.
func small(d, most int64) bool { return -most <= d && d <= most }

// TestDerivedOnLoopback: connections of the host with itself pass loopback, whatever
// address they are for, and count there if that is wished.
func TestDerivedOnLoopback(t *testing.T) {
	t.Parallel()
	w := newPowerless(t)
	w.prepare(t)
	ask := func() { w.s.Host.Pgbench(t, w.v4(), "-S", "-c", "2", "-t", "100") }
	truth, totals := w.account(t, ask)
	if totals != (harness.Counts{}) || truth != (harness.Counts{}) {
		t.Errorf("connections of the host with itself count %+v, the link has seen %+v", totals, truth)
	}
	w.s.Set(t, harness.Settings{"pg_netstat.capture_loopback": "on"})
	w.account(t, ask)
	for name, d := range w.s.Devices(t) {
		if on := name == "lo"; on != (d.PacketsIn >= 200 && d.PacketsOut >= 200) {
			t.Errorf("%s has %+v", name, d.Counts)
		}
	}
}
