package test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// anywhere is any port of any address of a client.
var anywhere netip.AddrPort

// roles makes roles that may log in.
func (w *world) roles(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		w.s.Exec(t, fmt.Sprintf("CREATE ROLE %q LOGIN", name))
	}
}

// as connects as a role, over IPv4.
func (w *world) as(t *testing.T, role string, more ...string) *harness.Client {
	t.Helper()
	settings := "user=" + role
	for _, m := range more {
		settings += " " + m
	}
	return w.client().NewClient(t, w.v4(), settings)
}

// witness puts a proxy before the server; it stands on the client's host, at its
// loopback, and its connections come from an address of that host.
func (w *world) witness(t *testing.T, from netip.Addr, o proxy.Options) (*proxy.Proxy, harness.Address) {
	t.Helper()
	o.Listen = func() (net.Listener, error) { return w.client().Listen(netip.MustParseAddr("127.0.0.1")) }
	o.Dial = func() (net.Conn, error) {
		return w.client().Dial(netip.AddrPortFrom(from, 0), w.s.At(w.link.Server.V4))
	}
	p := proxy.New(t, o)
	return p, harness.Address{Addr: p.Addr(), Port: p.Port()}
}

// addAddress gives the client's device one more address, the link's with another
// last byte.
func (w *world) addAddress(t *testing.T, last byte) netip.Addr {
	t.Helper()
	b := w.link.Client.V4.As4()
	b[3] = last
	a := netip.AddrFrom4(b)
	w.client().Run(t, "ip", "addr", "add", a.String()+"/24", "dev", w.link.Client.Device)
	return a
}

// is compares what a row has with a truth: how many sessions and their bytes, all
// of which are over.
func is(t *testing.T, what string, got harness.Usage, sessions, in, out int64) {
	t.Helper()
	if got.Sessions != sessions || got.Live != 0 || got.BytesIn != in || got.BytesOut != out {
		t.Errorf("%s: %d sessions, %d live, %d bytes in, %d out; the truth is %d sessions, %d in, %d out: difference %d in, %d out",
			what, got.Sessions, got.Live, got.BytesIn, got.BytesOut, sessions, in, out, got.BytesIn-in, got.BytesOut-out)
	}
}

// owns checks that a row has what a client counted of its one session, which is over.
func owns(t *testing.T, what string, got harness.Usage, c *harness.Client) {
	t.Helper()
	is(t, what, got, 1, c.In.Load(), c.Out.Load())
}

// sumsAgree checks that all views of totals add up to the same. The views are
// read one after the other, between which figures may be published: then they are
// read again.
func sumsAgree(t *testing.T, s *harness.Server) {
	t.Helper()
	type sums struct{ Database, Role, Application, Client, Network string }
	const sum = `(SELECT (sum(sessions), sum(live_sessions), sum(failed_connections), sum(bytes_in), sum(bytes_out),
		sum(segments_in), sum(segments_out), sum(retransmitted_bytes), sum(retransmitted_segments))::text FROM %s)`
	query := "SELECT "
	for i, view := range []string{"pg_netstat_database", "pg_netstat_role", "pg_netstat_application", "pg_netstat_client", "pg_netstat_network"} {
		if i > 0 {
			query += ", "
		}
		query += fmt.Sprintf(sum, view)
	}
	harness.Until(t, patience, "sums of the views agreeing", func() error {
		rows, err := harness.TryRows[sums](s, query)
		if err != nil {
			return err
		}
		if r := rows[0]; r != (sums{r.Database, r.Database, r.Database, r.Database, r.Database}) {
			return fmt.Errorf("they are %+v", r)
		}
		return nil
	})
}
