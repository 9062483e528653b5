package test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// closingAlert is what each end of a TLS connection sends last; the server sends it
// when the session's figures are final.
const closingAlert = 24

// crowd is one kind of clients with a witness of their own.
type crowd struct {
	role, database string
	application    string
	from           netip.Addr
	witness        *proxy.Proxy
	at             harness.Address
	counted        proxy.Bytes
	sessions       int64
}

// crowds are two roles in two databases from two addresses.
func (w *world) crowds(t *testing.T) []*crowd {
	t.Helper()
	w.roles(t, "alice", "bob")
	w.s.Exec(t, "CREATE DATABASE one")
	w.s.Exec(t, "CREATE DATABASE two")
	here, there := w.link.Client.V4, w.addAddress(t, 77)
	all := []*crowd{
		{role: "alice", database: "one", from: here}, {role: "alice", database: "two", from: there},
		{role: "bob", database: "one", from: there}, {role: "bob", database: "two", from: there},
	}
	for _, c := range all {
		c.application = "pgbench"
		c.witness, c.at = w.witness(t, c.from, proxy.Options{})
	}
	return all
}

// run makes pgbench connect for every transaction. What each sends and gets has its
// own size, so that nothing can be taken for something else.
func (c *crowd) run(t *testing.T, w *world, size, connections int, mode string) *harness.Running {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, fmt.Appendf(nil, "SELECT repeat('x', %d);\n", size), 0o644); err != nil {
		t.Fatal(err)
	}
	const clients = 5
	return w.client().Start(t, "pgbench", "-n", "-C", "-c", fmt.Sprint(clients), "-t", fmt.Sprint(connections/clients), "-f", script,
		fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=%s", c.at.Addr, c.at.Port, c.role, c.database, mode))
}

// TestComplete has 5,000 connections that live for a few milliseconds each, and
// every view accounts for each of them and for every byte.
func TestComplete(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"disable", "require"} {
		t.Run("sslmode "+mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ebpf")
			for _, h := range []*harness.Host{w.s.Host, w.client()} {
				// On a path so short a busy machine is late, and would be taken for loss: what is
				// sent again is no payload, and its answer has a larger header.
				h.Run(t, "sysctl", "-qw", "net.ipv4.tcp_early_retrans=0")
			}
			w.s.EnableTLS(t)
			crowds := w.crowds(t)
			var running []*harness.Running
			for i, c := range crowds {
				running = append(running, c.run(t, w, 100+1000*i, 1250, mode))
			}
			var alerts int64
			for i, c := range crowds {
				running[i].Wait(t)
				c.counted, c.sessions = c.witness.Done(t), int64(len(c.witness.Sessions()))
				// pgbench has one connection more to begin with.
				if c.sessions != 1250+1 {
					t.Errorf("%d connections were made", c.sessions)
				}
				if mode == "require" {
					alerts = closingAlert
				}
			}
			w.s.Over(t)
			w.accountFor(t, crowds, alerts)
			w.headersOnly(t, crowds)
			sumsAgree(t, w.s)
		})
	}
}

// accountFor compares every view with the witnesses. The last record of TLS that
// each session had from its client may or may not have been there when its figures
// were final; the one to its client was not.
func (w *world) accountFor(t *testing.T, crowds []*crowd, alert int64) {
	t.Helper()
	views := map[string]func(*crowd) string{
		"pg_netstat_role":        func(c *crowd) string { return c.role },
		"pg_netstat_database":    func(c *crowd) string { return c.database },
		"pg_netstat_client":      func(c *crowd) string { return c.from.String() },
		"pg_netstat_application": func(c *crowd) string { return c.application },
		"pg_netstat_network":     func(*crowd) string { return harness.Other },
	}
	for view, key := range views {
		truth := harness.Usages{}
		for _, c := range crowds {
			truth[key(c)] = truth[key(c)].Add(harness.Usage{Sessions: c.sessions, BytesIn: c.counted.In, BytesOut: c.counted.Out})
		}
		got := w.s.Usages(t, view)
		for k, want := range truth {
			g := got[k]
			late := want.BytesIn - g.BytesIn
			if g.Sessions != want.Sessions || g.Live != 0 || g.Failed != 0 || late < 0 || late > alert*want.Sessions ||
				g.BytesOut != want.BytesOut-alert*want.Sessions {
				t.Errorf("%s: %q has %+v, the truth is %+v: difference %+v", view, k, g, want, g.Sub(want))
			}
		}
	}
}

// headersOnly checks that what the packets have more than the witnesses' payload is
// their headers.
func (w *world) headersOnly(t *testing.T, crowds []*crowd) {
	t.Helper()
	const (
		header = 14 + 20 + 20 + 12 // Ethernet, IPv4, TCP with time stamps
		syn    = 8                 // what the first packet of each side has more
	)
	payload, sessions := map[string]proxy.Bytes{}, map[string]int64{}
	for _, c := range crowds {
		payload[c.from.String()] = payload[c.from.String()].Add(c.counted)
		sessions[c.from.String()] += c.sessions
	}
	type row struct {
		Client        string
		Retransmitted int64
		harness.Counts
	}
	var wire harness.Counts
	for _, r := range harness.Rows[row](t, w.s, `SELECT client, retransmitted_bytes, packets_in, packets_out, wire_bytes_in, wire_bytes_out
		FROM pg_netstat_client WHERE packets_in > 0`) {
		wire = wire.Add(r.Counts)
		in := payload[r.Client].In + header*r.PacketsIn + syn*sessions[r.Client]
		out := payload[r.Client].Out + r.Retransmitted + header*r.PacketsOut + syn*sessions[r.Client]
		if off(in, r.BytesIn) > 0.001 || off(out, r.BytesOut) > 0.001 {
			t.Errorf("%s: payload and headers are %d in, %d out, wire bytes %d in, %d out", r.Client, in, out, r.BytesIn, r.BytesOut)
		}
	}
	if total := w.s.Totals(t); wire != total || wire.PacketsIn == 0 {
		t.Errorf("the clients' packets are %+v, the devices' %+v", wire, total)
	}
}

// off gives how far two figures are apart, as a part of the second.
func off(a, b int64) float64 {
	return max(float64(a-b), float64(b-a)) / float64(b)
}
