package test

import (
	"fmt"
	"net"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestUnixSocket: of a local session what it was sent is known, by the messages, and
// it is no traffic on any network.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	c, err := harness.TryClient("user=alice application_name=here", func() (net.Conn, error) {
		return net.Dial("unix", fmt.Sprintf("%s/.s.PGSQL.%d", w.s.Sockets, w.s.Port))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Exec(t, "SELECT repeat('x', 1000000)")
	w.s.CaughtUp(t)
	l := w.s.Live(t)[c.Pid()]
	if l.BytesOut != c.Out.Load() || l.BytesIn != nil || l.RTT != nil || l.SegmentsIn != nil || l.Network != harness.Local || l.Client != "" || l.ClientPort != nil {
		t.Errorf("the session is %+v; its client counted %d", l, c.Out.Load())
	}
	if got := w.s.Roles(t)["alice"]; got.BytesOut != c.Out.Load() || got.Live != 1 {
		t.Errorf("alice has %+v while the session lives", got)
	}
	c.Exec(t, "SELECT repeat('x', 1000000)")
	c.Exec(t, "SET application_name = 'there'")
	here := c.Out.Load()
	c.Exec(t, "SELECT repeat('x', 500000)")
	c.Close()
	harness.Until(t, patience, "the session's end", func() error {
		if n := harness.Value[int64](t, w.s, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'alice'"); n > 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
	w.s.CaughtUp(t)
	is(t, "alice", w.s.Roles(t)["alice"], 1, 0, c.Out.Load())
	is(t, "here", w.s.Applications(t)["here"], 1, 0, here)
	is(t, "there", w.s.Applications(t)["there"], 0, 0, c.Out.Load()-here)
	clients, networks := w.s.Clients(t), w.s.Networks(t)
	if a, b := clients[harness.Local], networks[harness.Local]; a.Sessions < 2 || a.BytesOut < c.Out.Load() || b.Sessions < 2 || b.BytesOut < c.Out.Load() {
		t.Errorf("local are %+v and %+v", a, b)
	}
	if sum := clients.Sum(harness.Local); sum != (harness.Usage{}) {
		t.Errorf("by a network came %+v", sum)
	}
	sumsAgree(t, w.s)
}
