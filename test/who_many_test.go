package test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// agentMemory gives the agent's resident memory in bytes, and its most so far.
func agentMemory(t *testing.T, s *harness.Server) (now, most int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", *s.Status(t).AgentPID))
	if err != nil {
		t.Fatal(err)
	}
	figure := func(name string) int64 {
		_, rest, _ := strings.Cut(string(status), name+":")
		kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kilobytes << 10
	}
	return figure("VmRSS"), figure("VmHWM")
}

// memoryBound is what the agent may take with 10,000 sessions and 100,000 clients.
const memoryBound = 100 << 20

// many opens sessions as a role from addresses in turn.
func (w *world) many(t *testing.T, n int, role string, from ...netip.Addr) []*harness.Client {
	t.Helper()
	clients, errs := make([]*harness.Client, n), make([]error, n)
	var group sync.WaitGroup
	next := make(chan int)
	for range 4 {
		group.Go(func() {
			for i := range next {
				at := netip.AddrPortFrom(from[i%len(from)], 0)
				clients[i], errs[i] = harness.TryClient("user="+role, func() (net.Conn, error) { return w.client().Dial(at, w.v4()) })
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		t.Cleanup(clients[i].Close)
	}
	return clients
}

// sumOf gives the sum of what clients counted.
func sumOf(clients []*harness.Client) (in, out int64) {
	for _, c := range clients {
		in, out = in+c.In.Load(), out+c.Out.Load()
	}
	return in, out
}

// TestManySessions has 2,000 that are idle, from addresses of networks with names:
// each is there with its own figures.
func TestManySessions(t *testing.T) {
	t.Parallel()
	const sessions = 2000
	w := newWorld(t, "ebpf", harness.Settings{"max_connections": strconv.Itoa(sessions + 100), "shared_buffers": "16MB"})
	w.roles(t, "alice")
	base, _ := w.link.Client.V4.Prefix(24)
	low, high, one := w.link.Client.V4, w.addAddress(t, 200), w.addAddress(t, 201)
	half := netip.PrefixFrom(high, 25).Masked()
	w.s.Set(t, harness.Settings{"pg_netstat.networks": fmt.Sprintf("all=%s, half=%s, one=%s/32", base, half, one)})
	clients := w.many(t, sessions, "alice", low, low, high, one)
	w.s.CaughtUp(t)
	begin := time.Now()
	live := w.s.Live(t)
	took := time.Since(begin)
	names := map[netip.Addr]string{low: "all", high: "half", one: "one"}
	for _, c := range clients {
		l, ok := live[c.Pid()]
		from := c.PgConn().Conn().LocalAddr().(*net.TCPAddr).AddrPort()
		if !ok || l.ClientPort == nil || int(*l.ClientPort) != int(from.Port()) || l.Client != from.Addr().String() ||
			l.Network != names[from.Addr()] || l.BytesOut != c.Out.Load() || l.BytesIn == nil || *l.BytesIn != c.In.Load() {
			t.Fatalf("the session from %s is %+v; its client counted %d in, %d out", from, l, c.In.Load(), c.Out.Load())
		}
	}
	networks := w.s.Networks(t)
	for name, n := range map[string]int64{"all": sessions / 2, "half": sessions / 4, "one": sessions / 4} {
		if got := networks[name]; got.Sessions != n || got.Live != n {
			t.Errorf("the network %s has %+v, the truth is %d sessions", name, got, n)
		}
	}
	if n := harness.Value[int64](t, w.s, "SELECT sessions_live FROM pg_netstat_status"); n < sessions {
		t.Errorf("the status says that %d sessions live", n)
	}
	now, most := agentMemory(t, w.s)
	t.Logf("all of pg_netstat_activity in %s; the agent has %d kB, had %d kB at most", took, now>>10, most>>10)
	if most > memoryBound {
		t.Errorf("the agent took %d bytes", most)
	}
	for _, c := range clients {
		c.Close()
	}
	in, out := sumOf(clients)
	w.s.Over(t)
	is(t, "alice", w.s.Roles(t)["alice"], sessions, in, out)
	if left := w.s.Live(t); len(left) > 1 {
		t.Errorf("%d sessions are left", len(left))
	}
	sumsAgree(t, w.s)
}

// TestNetworksChange: what a session brought until the names changed stays with the
// former name.
func TestNetworksChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf", harness.Settings{"pg_netstat.networks": "before=10.0.0.0/8"})
	w.roles(t, "alice")
	c := w.as(t, "alice")
	c.Exec(t, "SELECT repeat('x', 10000)")
	in, out := c.In.Load(), c.Out.Load()
	w.s.CaughtUp(t)
	watch := neverBack(t, w.s)
	w.s.Set(t, harness.Settings{"pg_netstat.networks": "after=10.0.0.0/8"})
	harness.Until(t, patience, "the new name", func() error {
		if l := w.s.Live(t)[c.Pid()]; l.Network != "after" {
			return fmt.Errorf("the session is %+v", l)
		}
		return nil
	})
	c.Exec(t, "SELECT repeat('x', 20000)")
	c.Close()
	w.s.Over(t)
	watch()
	before, after := w.s.Networks(t)["before"], w.s.Networks(t)["after"]
	if before.BytesIn != in || before.BytesOut != out || before.Live != 0 || before.Sessions+after.Sessions != 1 ||
		after.BytesIn != c.In.Load()-in || after.BytesOut != c.Out.Load()-out || after.Live != 0 {
		t.Errorf("before %+v, after %+v; the truth is %d in, %d out, then %d, %d", before, after, in, out, c.In.Load(), c.Out.Load())
	}
	sumsAgree(t, w.s)
}

// TestClientsFolded has more client addresses than rows: the least useful are one
// row in the end, that of a session that lives is not among them, and no byte is lost.
func TestClientsFolded(t *testing.T) {
	t.Parallel()
	const entries, addresses = 100, 220
	w := newWorld(t, "ebpf", harness.Settings{"pg_netstat.max_entries": strconv.Itoa(entries)})
	w.roles(t, "alice")
	lasting := w.as(t, "alice")
	clients := []*harness.Client{lasting}
	for i := range addresses {
		from := w.addAddress(t, byte(20+i))
		c := w.client().NewClientFrom(t, netip.AddrPortFrom(from, 0), w.v4(), "user=alice")
		c.Close()
		clients = append(clients, c)
	}
	w.s.CaughtUp(t)
	in, out := sumOf(clients)
	check := func(when string, live int64) {
		t.Helper()
		rows := w.s.Clients(t)
		if len(rows) > entries+3 {
			t.Errorf("%s: %d rows", when, len(rows))
		}
		if sum := rows.Sum(harness.Local); sum.Sessions != addresses+1 || sum.Live != live || sum.BytesIn != in || sum.BytesOut != out {
			t.Errorf("%s: the sum is %+v, the truth is %d in, %d out", when, sum, in, out)
		}
		if other := rows[harness.Other]; other.Sessions < addresses-entries || other.Live != 0 {
			t.Errorf("%s: the rest is %+v", when, other)
		}
		if got := rows[w.link.Client.V4.String()]; got.Sessions != 1 || got.BytesOut != lasting.Out.Load() {
			t.Errorf("%s: the session that lasts has %+v", when, got)
		}
		sumsAgree(t, w.s)
	}
	check("while one lives", 1)
	w.s.Restart(t)
	w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	drain(t, raw(t, lasting))
	in, out = sumOf(clients)
	check("after a restart", 0)
}

// TestFlood has 100,000 addresses that come once: memory is bounded, sums are exact,
// and a session is not lost among them.
func TestFlood(t *testing.T) {
	t.Parallel()
	const addresses = 100_000
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	w.s.CaughtUp(t)
	start := w.truth.Quiet(t)
	w.s.Reset(t)
	c := w.as(t, "alice")
	for i := range 10 {
		first := netip.AddrFrom4([4]byte{100, byte(64 + 2*i), 0, 1})
		w.link.Flood(t, w.s.Port, first, addresses/10)
		c.Exec(t, "SELECT repeat('x', 1000)")
	}
	c.Close()
	truth := w.truth.Quiet(t).Sub(start)
	w.s.Over(t)
	sum := harness.Rows[harness.Counts](t, w.s, `SELECT sum(packets_in)::int8, sum(packets_out)::int8, sum(wire_bytes_in)::int8,
		sum(wire_bytes_out)::int8 FROM pg_netstat_client`)[0]
	if total := w.s.Totals(t); total != truth || sum != truth || truth.PacketsIn < addresses {
		t.Errorf("devices have %+v, clients %+v, the truth is %+v", total, sum, truth)
	}
	rows := w.s.Clients(t)
	owns(t, "the session's client", rows[w.link.Client.V4.String()], c)
	if bound := 5000 + 3; len(rows) > bound || len(rows) < 1000 {
		t.Errorf("%d rows", len(rows))
	}
	now, most := agentMemory(t, w.s)
	t.Logf("%d rows; the agent has %d kB, had %d kB at most", len(rows), now>>10, most>>10)
	if most > memoryBound {
		t.Errorf("the agent took %d bytes", most)
	}
	sumsAgree(t, w.s)
}
