package test

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestStatementTerminated ends sessions in the middle of a statement: what they were
// sent for it, and that they were ended, is the statement's.
func TestStatementTerminated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice", "slow")
	c := w.as(t, "alice")
	pid := c.Pid()
	conn := raw(t, c)
	ask(t, conn, "SELECT repeat('x', 1000) FROM generate_series(1, 20) UNION ALL SELECT pg_sleep(600)::text")
	harness.Until(t, patience, "the query sleeping", func() error {
		if n := harness.Value[int64](t, w.s, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"); n != 1 {
			return errors.New("it does not")
		}
		return nil
	})
	w.s.Exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d, 30000)", pid))
	drain(t, conn)
	slow := w.as(t, "slow")
	pid = slow.Pid()
	conn = raw(t, slow)
	ask(t, conn, much)
	blocked(t, w.s, pid)
	w.s.Exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d, 30000)", pid))
	drain(t, conn)
	w.s.Over(t)
	owns(t, "alice", w.s.Roles(t)["alice"], c)
	if got := harness.SumOf(w.s.Statements(t, "usename = 'alice'")); got.BytesOut != c.Out.Load() {
		t.Errorf("alice's statements have %d bytes, the client counted %d", got.BytesOut, c.Out.Load())
	}
	rows := w.s.Statements(t, "usename = 'alice' AND statement IS NULL")
	if len(rows) != 1 || rows[0].BytesOut < 20_000 {
		t.Errorf("alice's statement is %+v", rows)
	}
	// What was in the server's own buffer, and one message, never left.
	const buffer, message = 8192, 10_100
	left := harness.SumOf(w.s.Statements(t, "usename = 'slow'")).BytesOut - slow.Out.Load()
	if left < 0 || left > buffer+message {
		t.Errorf("the slow one's statements have %d bytes more than its client counted, which are %d", left, slow.Out.Load())
	}
}

// newAgentless makes a world whose agent is gone, with a session that began before;
// what it gives lets the agent be started again, and waits for the figures.
func newAgentless(t *testing.T) (w *world, lasting *harness.Client, back func()) {
	t.Helper()
	in := harness.NewInstall(t)
	link := harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))
	w = &world{link: link, s: harness.NewServer(t, harness.Options{Host: link.Server.Host, Install: in, Settings: settingsFor("ebpf")})}
	w.s.Await(t, "ebpf")
	w.roles(t, "alice", "bob")
	lasting = w.as(t, "alice")
	lasting.Exec(t, "SELECT repeat('x', 10)")
	w.s.CaughtUp(t)
	former := *w.s.Status(t).AgentPID
	if err := os.Rename(in.Agent, in.Agent+".away"); err != nil {
		t.Fatal(err)
	}
	harness.Signal(t, int(former), syscall.SIGKILL)
	w.s.AwaitStatus(t, "no agent", func(st harness.Status) bool { return st.State == "no agent" })
	return w, lasting, func() {
		t.Helper()
		if err := os.Rename(in.Agent+".away", in.Agent); err != nil {
			t.Fatal(err)
		}
		w.s.Await(t, "ebpf")
		w.s.Over(t)
	}
}

// TestStatementsWithoutAgent: while no agent can be started nothing is lost.
func TestStatementsWithoutAgent(t *testing.T) {
	t.Parallel()
	w, lasting, back := newAgentless(t)
	clients := []*harness.Client{lasting}
	const calls = 2000
	end := time.Now().Add(20 * time.Second)
	for n := 0; n < calls || time.Now().Before(end); n++ {
		if n < calls {
			lasting.Exec(t, "SELECT repeat('y', 100), 2")
		}
		if n%100 == 0 {
			c := w.as(t, "bob")
			c.Exec(t, "SELECT repeat('z', 1000), 2, 3")
			c.Close()
			clients = append(clients, c)
		}
		if n >= calls {
			time.Sleep(10 * time.Millisecond)
		}
	}
	lasting.Close()
	back()
	owns(t, "alice", w.s.Roles(t)["alice"], lasting)
	inBytes, out := sumOf(clients[1:])
	is(t, "bob", w.s.Roles(t)["bob"], int64(len(clients)-1), inBytes, out)
	if got := harness.SumOf(w.s.Statements(t, "usename = 'bob'")); got.BytesOut != out {
		t.Errorf("bob's statements have %d bytes, the truth is %d", got.BytesOut, out)
	}
	rows := w.s.Statements(t, "usename = 'alice' AND statement IS NULL AND calls = $1", calls)
	if len(rows) != 1 || rows[0].Rows != calls {
		t.Errorf("alice's statement is not there: %+v", w.s.Statements(t, "usename = 'alice'"))
	}
	if n := harness.Value[int64](t, w.s, "SELECT events_folded FROM pg_netstat_status"); n != 0 {
		t.Errorf("%d were folded", n)
	}
	statementsAreSessions(t, w.s)
	sumsAgree(t, w.s)
}

// TestTooMuchWithoutAgent has more to tell than is kept while no agent runs: what that
// was is lost, how much it was is not, and the status says so.
func TestTooMuchWithoutAgent(t *testing.T) {
	t.Parallel()
	w, lasting, back := newAgentless(t)
	const statements, atOnce = 60_000, 100
	for n := 0; n < statements; n += atOnce {
		sql := ""
		for k := range atOnce {
			sql += distinct(n+k) + ";"
		}
		lasting.Exec(t, sql)
	}
	lasting.Close()
	back()
	owns(t, "alice", w.s.Roles(t)["alice"], lasting)
	statementsAreSessions(t, w.s)
	if n := harness.Value[int64](t, w.s, "SELECT events_folded FROM pg_netstat_status"); n < statements/10 {
		t.Errorf("%d were folded", n)
	}
	rows := w.s.Statements(t, "statement = $1", harness.Other)
	if len(rows) != 1 || rows[0].Calls < statements/10 {
		t.Errorf("the rest is %+v", rows)
	}
	sumsAgree(t, w.s)
}

// TestStatementsSaved: they survive a restart; a crash takes them back to what was
// saved last, and nothing is there twice.
func TestStatementsSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	some := func() *harness.Client {
		c := w.as(t, "alice")
		for range 50 {
			c.Exec(t, "SELECT repeat('x', 1000)")
		}
		c.Close()
		return c
	}
	of := func() harness.Statement { return harness.SumOf(w.s.Statements(t, "usename = 'alice'")) }
	first := some()
	w.s.Over(t)
	before := of()
	if before.BytesOut != first.Out.Load() {
		t.Errorf("%+v, the truth is %d bytes", before, first.Out.Load())
	}
	w.s.Restart(t)
	st := w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	if got := of(); got != before {
		t.Errorf("after a restart %+v, they were %+v", got, before)
	}
	some()
	w.s.CaughtUp(t)
	if now := w.s.Status(t); !now.SavedAt.Equal(*st.SavedAt) {
		t.Fatalf("the machine is so slow that the figures were saved again, at %s", now.SavedAt)
	}
	harness.Signal(t, int(harness.Value[int32](t, w.s, "SELECT pg_backend_pid()")), syscall.SIGKILL)
	w.s.LogSays(t, 0, "all server processes terminated; reinitializing")
	w.s.Disconnect()
	w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	if got := of(); got != before {
		t.Errorf("after a crash %+v, saved were %+v", got, before)
	}
	again := some()
	w.s.Over(t)
	if got := of(); got.BytesOut-before.BytesOut != again.Out.Load() || got.Calls != 2*before.Calls {
		t.Errorf("after the crash came %+v to %+v, the truth is %d bytes", got, before, again.Out.Load())
	}
}

// TestStatementsReset: a reset takes them all to zero, and what comes later is counted.
func TestStatementsReset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	c := w.as(t, "alice")
	c.Exec(t, "SELECT repeat('x', 1000)")
	w.s.CaughtUp(t)
	if got := harness.SumOf(w.s.Statements(t, "usename = 'alice'")); got.BytesOut != c.Out.Load() {
		t.Errorf("while the session lives %+v, the truth is %d bytes", got, c.Out.Load())
	}
	out := c.Out.Load()
	w.s.Reset(t)
	if got := harness.SumOf(w.s.Statements(t, "usename = 'alice'")); got != (harness.Statement{}) {
		t.Errorf("after a reset %+v", got)
	}
	c.Exec(t, "SELECT repeat('x', 500)")
	c.Close()
	w.s.Over(t)
	if got := harness.SumOf(w.s.Statements(t, "usename = 'alice'")); got.BytesOut != c.Out.Load()-out {
		t.Errorf("since the reset %+v, the truth is %d bytes", got, c.Out.Load()-out)
	}
}
