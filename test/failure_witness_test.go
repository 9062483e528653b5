package test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// tolerance is how long a query of a witness may take: what hangs is longer, and
// the machine may be busy.
const tolerance = 15 * time.Second

// views are what a witness reads, besides something that is not ours.
var views = []string{"pg_netstat", "pg_netstat_device", "pg_netstat_status"}

// witness is a client that queries all the time, on connections old and new. An
// error that it sees fails the test; a lost connection does unless the server
// itself had to restart.
type witness struct {
	s       *harness.Server
	sql     string
	mayLose atomic.Bool
	queries atomic.Int64
	stopped chan struct{}
	done    chan struct{}
	wrong   []string
	longest time.Duration
}

// newWitness begins to query; with no names given it reads all views.
func newWitness(t *testing.T, s *harness.Server, read ...string) *witness {
	t.Helper()
	if read == nil {
		read = views
	}
	w := &witness{s: s, stopped: make(chan struct{}), done: make(chan struct{})}
	w.sql = "SELECT sum(i) FROM generate_series(1, 1000) AS i"
	for _, v := range read {
		w.sql += "; SELECT * FROM " + v
	}
	go w.run()
	t.Cleanup(func() { w.stop(t) })
	return w
}

func (w *witness) run() {
	defer close(w.done)
	var c *pgx.Conn
	for n := 0; ; n++ {
		select {
		case <-w.stopped:
			if c != nil {
				w.close(c)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
		if c != nil && n%20 == 0 {
			w.close(c)
			c = nil
		}
		c = w.query(c)
	}
}

func (w *witness) close(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// query asks once, on a new connection if there is none; it gives the connection
// if that is still of use.
func (w *witness) query(c *pgx.Conn) *pgx.Conn {
	ctx, cancel := context.WithTimeout(context.Background(), tolerance)
	defer cancel()
	var err error
	begin := time.Now()
	if c == nil {
		c, err = w.s.Connect(ctx)
	}
	if err == nil {
		_, err = c.PgConn().Exec(ctx, w.sql).ReadAll()
	}
	if err == nil {
		w.queries.Add(1)
		w.longest = max(w.longest, time.Since(begin))
		return c
	}
	if !w.mayLose.Load() && len(w.wrong) < 10 {
		w.wrong = append(w.wrong, fmt.Sprintf("at %s, after %s: %v", time.Now().Format(time.TimeOnly), time.Since(begin), err))
	}
	if c != nil {
		w.close(c)
	}
	return nil
}

// lose runs something that makes the server restart, and waits until it is back.
func (w *witness) lose(t *testing.T, cause func()) {
	t.Helper()
	w.mayLose.Store(true)
	cause()
	w.answered(t)
	w.mayLose.Store(false)
}

// answered waits until the server has answered again. The second answer is to
// a question that was asked after the call.
func (w *witness) answered(t *testing.T) {
	t.Helper()
	before := w.queries.Load()
	harness.Until(t, patience, "an answer of the server", func() error {
		if w.queries.Load() < before+2 {
			return errors.New("none yet")
		}
		return nil
	})
}

// stop ends the witness and says what it saw.
func (w *witness) stop(t *testing.T) {
	t.Helper()
	select {
	case <-w.stopped:
		return
	default:
	}
	close(w.stopped)
	<-w.done
	if len(w.wrong) > 0 {
		t.Errorf("a client had errors:\n%s", strings.Join(w.wrong, "\n"))
	}
	if w.queries.Load() < 2 {
		t.Errorf("the client asked %d times only", w.queries.Load())
	}
	t.Logf("%d queries, the longest took %s", w.queries.Load(), w.longest.Round(time.Millisecond))
}

// victim is a server to do harm to, with a witness of what its clients see of it.
type victim struct {
	*harness.Server
	*witness
	fake *harness.Fake // nil if it has the real agent
}

// victimSettings make a server count on loopback, which every host has.
func victimSettings(more ...harness.Settings) harness.Settings {
	settings := harness.Settings{"pg_netstat.capture_loopback": "on", "pg_netstat.interval": "1s"}
	for _, m := range more {
		for name, value := range m {
			settings[name] = value
		}
	}
	return settings
}

// newVictim makes one with the real agent, and waits until it counts.
func newVictim(t *testing.T, more ...harness.Settings) *victim {
	t.Helper()
	v := &victim{Server: harness.NewServer(t, harness.Options{Settings: victimSettings(more...)})}
	v.witness = newWitness(t, v.Server)
	v.Await(t, "")
	return v
}

// newFooled makes one with a fake agent.
func newFooled(t *testing.T, mode string, more ...harness.Settings) *victim {
	t.Helper()
	v := &victim{fake: harness.NewFake(t, mode)}
	settings := victimSettings(append(more, harness.Settings{"pg_netstat.agent_path": v.fake.Path})...)
	v.Server = harness.NewServer(t, harness.Options{Settings: settings})
	v.witness = newWitness(t, v.Server)
	return v
}

// suffers does something and waits until the status view and the log say what
// came of it.
func (v *victim) suffers(t *testing.T, what, state string, cause func()) harness.Status {
	t.Helper()
	from, since := len(v.Log(t)), time.Now()
	cause()
	st := v.AwaitStatus(t, "status saying "+what, func(st harness.Status) bool {
		return strings.Contains(st.LastError, what) && st.LastErrorAt.After(since) && (state == "" || st.State == state)
	})
	v.LogSays(t, from, what)
	return st
}

// reload lets the worker start an agent soon that would have to wait.
func (v *victim) reload(t *testing.T) {
	t.Helper()
	v.Exec(t, "SELECT pg_reload_conf()")
}

// heals puts the real agent in place of the fake and waits until it counts.
func (v *victim) heals(t *testing.T) {
	t.Helper()
	v.fake.BecomeReal(t, "cap_net_raw,cap_bpf+p")
	harness.Until(t, patience, "the real agent counting", func() error {
		st, err := v.TryStatus()
		if err == nil && (st.State != "counting" || st.AgentVersion != "test") {
			err = fmt.Errorf("the status is %+v", st)
			v.reload(t)
			time.Sleep(500 * time.Millisecond)
		}
		return err
	})
	v.answered(t)
}

// agent gives the agent's process.
func (v *victim) agent(t *testing.T) int {
	t.Helper()
	st := v.Status(t)
	if st.AgentPID == nil {
		t.Fatalf("there is no agent: %+v", st)
	}
	return int(*st.AgentPID)
}

// worker gives the worker's process.
func (v *victim) worker(t *testing.T) int {
	t.Helper()
	return int(harness.Value[int32](t, v.Server, "SELECT worker_pid FROM pg_netstat_worker()"))
}

// traffic lets some packets pass over loopback.
func (v *victim) traffic(t *testing.T) {
	t.Helper()
	v.Host.Run(t, "psql", "-X", "-q", "-At", "-h", "127.0.0.1", "-p", fmt.Sprint(v.Port), "-c", "SELECT generate_series(1, 1000)", "postgres")
}

// gone waits until nothing is left of a server that has stopped.
func (v *victim) gone(t *testing.T) {
	t.Helper()
	harness.Until(t, 10*time.Second, "all processes being gone", func() error {
		if pids := v.Host.Pids(); len(pids) > 0 {
			return fmt.Errorf("%d are left", len(pids))
		}
		return nil
	})
}
