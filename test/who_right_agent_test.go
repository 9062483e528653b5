package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// TestKilledAmongSessions kills the agent, or ends the worker and the agent with it,
// at moments that nobody chose, while sessions come and go: no figure is the worse
// for it, and none ever goes back.
func TestKilledAmongSessions(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(*testing.T, *world){
		"agent": func(t *testing.T, w *world) {
			st := w.s.AwaitStatus(t, "an agent", func(st harness.Status) bool { return st.AgentPID != nil })
			pause(t)
			_ = syscall.Kill(int(*st.AgentPID), syscall.SIGKILL)
		},
		"worker": func(t *testing.T, w *world) {
			pause(t)
			var worker int32
			harness.Until(t, patience, "a worker", func() error {
				rows, err := harness.TryRows[struct{ PID *int32 }](w.s, "SELECT worker_pid FROM pg_netstat_worker()")
				if err != nil || rows[0].PID == nil {
					return fmt.Errorf("there is none: %v", err)
				}
				worker = *rows[0].PID
				return nil
			})
			_ = syscall.Kill(int(worker), syscall.SIGTERM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ebpf")
			crowds := w.crowds(t)
			watch := neverBack(t, w.s)
			lasting := w.as(t, "alice", "dbname=one application_name=lasting")
			var running []*harness.Running
			for i, c := range crowds {
				running = append(running, c.run(t, w, 100+1000*i, 400, "disable"))
			}
			for range 4 {
				lasting.Exec(t, "SELECT repeat('x', 50000)")
				kill(t, w)
				lasting.Exec(t, "SELECT repeat('x', 50000)")
			}
			for i, c := range crowds {
				running[i].Wait(t)
				c.counted, c.sessions = c.witness.Done(t), int64(len(c.witness.Sessions()))
			}
			lasting.Close()
			w.s.Await(t, "ebpf")
			w.s.Over(t)
			watch()
			owns(t, "the lasting session", w.s.Applications(t)["lasting"], lasting)
			w.accountFor(t, append(crowds, &crowd{role: "alice", database: "one", application: "lasting", from: w.link.Client.V4,
				sessions: 1, counted: proxy.Bytes{In: lasting.In.Load(), Out: lasting.Out.Load()}}), 0)
			sumsAgree(t, w.s)
		})
	}
}

// pause lasts for a time that nobody chose.
func pause(t *testing.T) {
	t.Helper()
	wait := rand.N(1500 * time.Millisecond)
	t.Logf("waiting for %s", wait)
	time.Sleep(wait)
}

// neverBack reads the totals all the time until the function that it gives is
// called: a total that is less than before fails the test.
func neverBack(t *testing.T, s *harness.Server) (stop func()) {
	t.Helper()
	stopped, done := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	c, err := s.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(done)
		defer cancel()
		defer c.Close(ctx)
		last := map[string][3]int64{}
		for reads := 0; ; reads++ {
			select {
			case <-stopped:
				t.Logf("totals were read %d times", reads)
				return
			case <-time.After(20 * time.Millisecond):
			}
			for view, key := range harness.UsageKeys {
				if err := notLess(ctx, c, view, key, last); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	var once bool
	stop = func() {
		if !once {
			once = true
			close(stopped)
			<-done
		}
	}
	t.Cleanup(stop)
	return stop
}

// notLess reads a view and compares it with what it had last.
func notLess(ctx context.Context, c *pgx.Conn, view, key string, last map[string][3]int64) error {
	rows, err := c.Query(ctx, fmt.Sprintf("SELECT coalesce(%s::text, ''), sessions, bytes_in, bytes_out FROM %s", key, view))
	if err != nil {
		return err
	}
	type row struct {
		Key               string
		Sessions, In, Out int64
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, r := range all {
		name := view + " " + r.Key
		now := [3]int64{r.Sessions, r.In, r.Out}
		for i, was := range last[name] {
			if now[i] < was {
				return fmt.Errorf("%s: sessions, bytes in and out are %v, they were %v", name, now, last[name])
			}
		}
		last[name], seen[name] = now, true
	}
	for name := range last {
		if len(name) > len(view) && name[:len(view)+1] == view+" " && !seen[name] {
			return fmt.Errorf("%s is gone", name)
		}
	}
	return nil
}

// TestResetWithLiveSession: from a reset on, a session that lives brings what it
// brings from then on.
func TestResetWithLiveSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice", "bob")
	gone := w.as(t, "bob")
	gone.Close()
	c := w.as(t, "alice", "application_name=lasting")
	c.Exec(t, "SELECT repeat('x', 200000)")
	w.s.CaughtUp(t)
	if got := w.s.Roles(t)["alice"]; got.Sessions != 1 || got.Live != 1 || got.BytesOut != c.Out.Load() || got.BytesIn != c.In.Load() {
		t.Errorf("before the reset: %+v; the client counted %d in, %d out", got, c.In.Load(), c.Out.Load())
	}
	in, out := c.In.Load(), c.Out.Load()
	w.s.Reset(t)
	got := w.s.Roles(t)
	if a := got["alice"]; a.Sessions != 0 || a.Live != 1 || a.BytesIn != 0 || a.BytesOut != 0 || a.SegmentsIn != 0 || a.SegmentsOut != 0 {
		t.Errorf("after the reset: %+v", a)
	}
	if b := got["bob"]; b != (harness.Usage{}) {
		t.Errorf("after the reset bob has %+v", b)
	}
	c.Exec(t, "SELECT repeat('y', 3000)")
	w.s.CaughtUp(t)
	if a := w.s.Roles(t)["alice"]; a.BytesIn != c.In.Load()-in || a.BytesOut != c.Out.Load()-out {
		t.Errorf("after the reset: %+v; the truth is %d in, %d out", a, c.In.Load()-in, c.Out.Load()-out)
	}
	// Neither a restart of the agent nor of the server changes that.
	harness.Signal(t, int(*w.s.Status(t).AgentPID), syscall.SIGKILL)
	c.Exec(t, "SELECT repeat('y', 4000)")
	c.Close()
	w.s.Await(t, "ebpf")
	w.s.Over(t)
	check := func(when string) {
		t.Helper()
		is(t, when+": alice", w.s.Roles(t)["alice"], 0, c.In.Load()-in, c.Out.Load()-out)
		is(t, when+": lasting", w.s.Applications(t)["lasting"], 0, c.In.Load()-in, c.Out.Load()-out)
		sumsAgree(t, w.s)
	}
	check("at the end")
	w.s.Restart(t)
	w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	check("after a restart")
}
