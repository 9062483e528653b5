package test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestReusedPort has sessions of two roles follow each other from one address and
// port, as fast as it goes.
func TestReusedPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice", "bob")
	from := netip.AddrPortFrom(w.link.Client.V4, 40001)
	truth := map[string]harness.Usage{}
	const rounds = 100
	for i := range rounds {
		role, size := "alice", 10+i
		if i%2 > 0 {
			role, size = "bob", 20_000+i
		}
		// The server closes first, so that it is not for the client to wait any longer
		// than for the last acknowledgement.
		var c *harness.Client
		harness.Until(t, patience, "a session from the port", func() (err error) {
			c, err = harness.TryClient("user="+role, func() (net.Conn, error) { return w.client().Dial(from, w.v4()) })
			return err
		})
		c.Exec(t, fmt.Sprintf("SELECT repeat('x', %d)", size))
		c.Close()
		truth[role] = truth[role].Add(harness.Usage{Sessions: 1, BytesIn: c.In.Load(), BytesOut: c.Out.Load()})
	}
	w.s.Over(t)
	for role, want := range truth {
		is(t, role, w.s.Roles(t)[role], rounds/2, want.BytesIn, want.BytesOut)
	}
	both := truth["alice"].Add(truth["bob"])
	is(t, "the client", w.s.Clients(t)[from.Addr().String()], rounds, both.BytesIn, both.BytesOut)
	sumsAgree(t, w.s)
}

// TestApplicationNames changes the name in mid-session, to others and back: each
// gets what passed while it was in force. The answer that says so is the former one's.
func TestApplicationNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	truth := harness.Usages{}
	c := w.as(t, "alice", "application_name=first")
	name, in, out := "first", int64(0), int64(0)
	became := func(next string) {
		truth[name] = truth[name].Add(harness.Usage{BytesIn: c.In.Load() - in, BytesOut: c.Out.Load() - out})
		name, in, out = next, c.In.Load(), c.Out.Load()
	}
	for i := range 60 {
		c.Exec(t, fmt.Sprintf("SELECT repeat('x', %d)", i*1000))
		next := fmt.Sprintf("name %d", i%7)
		c.Exec(t, fmt.Sprintf("SET application_name = '%s'", next))
		became(next)
	}
	// While it lives the views have it as well.
	w.s.CaughtUp(t)
	for key, want := range truth {
		if got := w.s.Applications(t)[key]; got.BytesIn < want.BytesIn || got.BytesOut < want.BytesOut {
			t.Errorf("%q has %+v while the session lives, the truth is %+v", key, got, want)
		}
	}
	if l := w.s.Live(t)[c.Pid()]; l.Application != name || l.BytesOut != c.Out.Load() || l.BytesIn == nil || *l.BytesIn != c.In.Load() {
		t.Errorf("the session is %+v, its client counted %d in, %d out", l, c.In.Load(), c.Out.Load())
	}
	c.Close()
	became("")
	w.s.Over(t)
	got := w.s.Applications(t)
	var sessions int64
	for key, want := range truth {
		if g := got[key]; g.BytesIn != want.BytesIn || g.BytesOut != want.BytesOut || g.Live != 0 {
			t.Errorf("%q has %+v, the truth is %+v", key, g, want)
		}
		sessions += got[key].Sessions
	}
	if sessions != 1 || got["first"].Sessions != 1 {
		t.Errorf("there was 1 session, as \"first\": %+v", got)
	}
	owns(t, "its role", w.s.Roles(t)["alice"], c)
	sumsAgree(t, w.s)
}

// TestApplicationNamePerTransaction is what poolers do: the name is another in
// each transaction, and there are more of them than a session has room for at a time.
func TestApplicationNamePerTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "pooler")
	c := w.as(t, "pooler", "application_name=begin")
	truth := harness.Usages{}
	name, in, out := "begin", int64(0), int64(0)
	for i := range 3000 {
		next := fmt.Sprintf("client %d", i%40)
		c.Exec(t, fmt.Sprintf("SET application_name = '%s'", next))
		truth[name] = truth[name].Add(harness.Usage{BytesIn: c.In.Load() - in, BytesOut: c.Out.Load() - out})
		name, in, out = next, c.In.Load(), c.Out.Load()
		c.Exec(t, "BEGIN")
		c.Exec(t, fmt.Sprintf("SELECT repeat('x', %d)", i%40*10))
		c.Exec(t, "COMMIT")
	}
	c.Close()
	truth[name] = truth[name].Add(harness.Usage{BytesIn: c.In.Load() - in, BytesOut: c.Out.Load() - out})
	w.s.Over(t)
	got := w.s.Applications(t)
	var sum harness.Usage
	for key, want := range truth {
		// What a name has lost the row of the rest has.
		if g := got[key]; g.BytesIn > want.BytesIn || g.BytesOut > want.BytesOut {
			t.Errorf("%q has %+v, the truth is %+v", key, g, want)
		}
		sum = sum.Add(got[key])
	}
	// Only of the name nobody may know any more.
	folded := harness.Value[int64](t, w.s, "SELECT events_folded FROM pg_netstat_status")
	if other := got[harness.Other]; (folded > 0) != (other.BytesOut > 0) || sum.Add(other).BytesOut != c.Out.Load() || sum.Add(other).BytesIn != c.In.Load() {
		t.Errorf("named %+v, the rest %+v, %d folded; the client counted %d in, %d out", sum, other, folded, c.In.Load(), c.Out.Load())
	}
	owns(t, "its role", w.s.Roles(t)["pooler"], c)
	owns(t, "its client", w.s.Clients(t)[w.link.Client.V4.String()], c)
	t.Logf("%d of %d changes of the name had no place, with %d of %d bytes", folded, 3000, got[harness.Other].BytesOut, c.Out.Load())
	sumsAgree(t, w.s)
}

// TestSetRole: what a session does under another role stays with the role that
// logged in.
func TestSetRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice", "bob")
	w.s.Exec(t, "GRANT bob TO alice")
	c := w.as(t, "alice")
	c.Exec(t, "SET ROLE bob")
	c.Exec(t, "SELECT repeat('x', 100000)")
	w.s.CaughtUp(t)
	if l := w.s.Live(t)[c.Pid()]; l.Usename != "alice" || l.BytesOut != c.Out.Load() {
		t.Errorf("the session is %+v", l)
	}
	c.Close()
	w.s.Over(t)
	got := w.s.Roles(t)
	owns(t, "alice", got["alice"], c)
	if b, ok := got["bob"]; ok {
		t.Errorf("bob has %+v", b)
	}
}

// TestRenamedAndDropped: a row is of an oid, shows the name of now, and the last one
// when there is none any more.
func TestRenamedAndDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice", "bob")
	w.s.Exec(t, "CREATE DATABASE one")
	w.s.Exec(t, "CREATE DATABASE two")
	a, b := w.as(t, "alice", "dbname=one"), w.as(t, "bob", "dbname=two")
	b.Exec(t, "SELECT repeat('x', 10000)")
	a.Close()
	b.Close()
	w.s.Over(t)
	w.s.Exec(t, "ALTER ROLE alice RENAME TO carol")
	w.s.Exec(t, "ALTER DATABASE one RENAME TO three")
	w.s.Exec(t, "DROP ROLE bob")
	w.s.Exec(t, "DROP DATABASE two")
	check := func(when string) {
		t.Helper()
		roles, databases := w.s.Roles(t), w.s.Databases(t)
		owns(t, when+": carol", roles["carol"], a)
		owns(t, when+": bob", roles["bob"], b)
		owns(t, when+": three", databases["three"], a)
		owns(t, when+": two", databases["two"], b)
		if len(roles) > 4 || len(databases) > 4 {
			t.Errorf("%s: more rows than names: %v %v", when, roles, databases)
		}
	}
	check("now")
	w.s.Restart(t)
	w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	check("after a restart")
}
