package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// figures are what has to survive.
type figures struct {
	totals harness.Counts
	rows   []harness.Interval
	reset  time.Time
}

func (w *world) figures(t *testing.T) figures {
	t.Helper()
	w.alone(t)
	w.truth.Quiet(t)
	w.s.CaughtUp(t)
	return figures{w.s.Totals(t), w.complete(t), *w.s.Status(t).StatsReset}
}

// alone waits until the sessions of clients that have gone are over: one that a
// shutdown finds still there sends a farewell that may be too late to be counted.
func (w *world) alone(t *testing.T) {
	t.Helper()
	harness.Until(t, patience, "sessions being over", func() error {
		if n := harness.Value[int64](t, w.s, "SELECT count(*) FROM pg_stat_activity WHERE client_port > 0"); n > 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
}

// has checks that every row and all totals of before are still there.
func (w *world) has(t *testing.T, before figures) {
	t.Helper()
	if got := w.s.Totals(t); got != before.totals {
		t.Errorf("totals are %+v, were %+v", got, before.totals)
	}
	w.hasRows(t, before)
}

func (w *world) hasRows(t *testing.T, before figures) {
	t.Helper()
	now := map[time.Time]harness.Interval{}
	for _, r := range w.s.History(t) {
		now[r.Start] = r
	}
	for _, r := range before.rows {
		if n, ok := now[r.Start]; !ok || n.Counts != r.Counts || !n.Created.Equal(r.Created) {
			t.Errorf("the row of %s is %+v, was %+v", r.Start, n, r)
		}
	}
	if at := w.s.Status(t).StatsReset; at == nil || !at.Equal(before.reset) {
		t.Errorf("stats_reset is %v, was %s", at, before.reset)
	}
}

func TestSavedOverRestart(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		start := w.truth.Quiet(t)
		w.s.Reset(t)
		w.ask(t)
		before := w.figures(t)
		// The last packets before a shutdown count as well.
		w.client().Psql(t, w.v4(), "SELECT generate_series(1, 1000)")
		w.alone(t)
		w.truth.Quiet(t)
		w.s.Stop(t, "fast")
		stopped := w.truth.Quiet(t)
		w.s.Start(t)
		st := w.s.Await(t, engine)
		if st.Restored != "file" || st.RestoredFrom == nil || st.SavedAt == nil {
			t.Errorf("what was restored: %+v", st)
		}
		w.s.CaughtUp(t)
		before.totals = stopped.Sub(start)
		w.has(t, before)
		// What passes while the server is down is nobody's.
		started := w.truth.Quiet(t)
		if started != stopped {
			t.Logf("while the server was down %+v passed", started.Sub(stopped))
		}
		w.ask(t)
		want := w.truth.Quiet(t).Sub(started).Add(before.totals)
		after := w.figures(t)
		if after.totals != want || harness.Sum(after.rows) != want {
			t.Errorf("totals %+v, intervals %+v, the truth is %+v", after.totals, harness.Sum(after.rows), want)
		}
		// Twice, since what is restored is saved again.
		w.s.Restart(t)
		w.s.Await(t, engine)
		w.s.CaughtUp(t)
		w.has(t, after)
	})
}

func TestNotSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf", harness.Settings{"pg_netstat.save": "off"})
	w.ask(t)
	w.figures(t)
	w.s.Restart(t)
	if st := w.s.Await(t, "ebpf"); st.Restored != "" || st.RestoredFrom != nil || st.SavedAt != nil {
		t.Errorf("restored without pg_netstat.save: %+v", st)
	}
	if got := w.s.Totals(t); got != (harness.Counts{}) {
		t.Errorf("restored %+v without pg_netstat.save", got)
	}
	// Turned on by a reload it is in force at the next stop.
	w.s.Set(t, harness.Settings{"pg_netstat.save": "on"})
	w.ask(t)
	before := w.figures(t)
	w.s.Restart(t)
	w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	w.has(t, before)
}

// TestSavedOverAgentsEnd kills the agent while nothing passes, so that the
// counts stay exact, and then while much does.
func TestSavedOverAgentsEnd(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.prepare(t)
		start := w.truth.Quiet(t)
		w.s.Reset(t)
		w.ask(t)
		before := w.figures(t)
		from, until := w.killAgent(t, engine)
		w.has(t, before)
		st := w.s.Status(t)
		if st.Restored != "shared memory" || st.Gaps == nil || *st.Gaps != 1 || *st.GapSeconds <= 0 {
			t.Fatalf("after the agent was killed: %+v", st)
		}
		// The gap begins with what was published last, at most 1 s earlier on an idle machine.
		if st.LastGapStart.After(from) || st.LastGapEnd.Before(from) || st.LastGapEnd.After(until) {
			t.Errorf("gap from %s to %s, the agent was killed at %s and counted again by %s",
				st.LastGapStart, st.LastGapEnd, from, until)
		}
		w.ask(t)
		want := w.truth.Quiet(t).Sub(start)
		if got := w.figures(t); got.totals != want || harness.Sum(got.rows) != want {
			t.Errorf("totals %+v, intervals %+v, the truth is %+v", got.totals, harness.Sum(got.rows), want)
		}
		w.killUnderLoad(t, engine)
	})
}

// killAgent kills the agent and waits for the next one to count. It gives
// moments before and after.
func (w *world) killAgent(t *testing.T, engine string) (from, until time.Time) {
	t.Helper()
	former := w.s.Status(t)
	from = time.Now()
	if err := syscall.Kill(int(*former.AgentPID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.s.AwaitStatus(t, "another agent counting", func(st harness.Status) bool {
		return st.State == "counting" && st.Engine == engine && st.AgentPID != nil && *st.AgentPID != *former.AgentPID
	})
	w.s.CaughtUp(t)
	return from, time.Now()
}

// killUnderLoad checks that what is missing after the agent was killed is what
// passed in the gap that the status shows: not less, which would be counted twice,
// and not more.
func (w *world) killUnderLoad(t *testing.T, engine string) {
	t.Helper()
	start := w.truth.Quiet(t)
	w.s.Reset(t)
	stop := make(chan struct{})
	sampled := sampler(t, w.truth, stop)
	bench := w.client().StartPgbench(t, w.v4(), "-S", "-M", "prepared", "-c", "2", "-R", "1000", "-T", "12")
	time.Sleep(4 * time.Second)
	w.killAgent(t, engine)
	bench.Wait(t)
	close(stop)
	samples := <-sampled
	truth := w.truth.Quiet(t).Sub(start)
	after := w.figures(t)
	if sum := harness.Sum(after.rows); sum != after.totals {
		t.Errorf("intervals have %+v, devices %+v", sum, after.totals)
	}
	st := w.s.Status(t)
	if *st.Gaps != 1 {
		t.Fatalf("gaps: %+v", st)
	}
	missing := truth.Sub(after.totals)
	least := passed(samples, *st.LastGapStart, *st.LastGapEnd, false)
	most := passed(samples, *st.LastGapStart, *st.LastGapEnd, true)
	t.Logf("missing %+v; in the gap of %s passed %d to %d packets in", missing,
		st.LastGapEnd.Sub(*st.LastGapStart), least.PacketsIn, most.PacketsIn)
	if !within(least, missing, most) {
		t.Errorf("missing are %+v, in the gap passed %+v to %+v", missing, least, most)
	}
}

// passed gives what surely passed between two moments, or what may have.
func passed(samples []sample, from, until time.Time, may bool) harness.Counts {
	var first, last *sample
	for i := range samples {
		s := &samples[i]
		if may {
			if s.until.Before(from) {
				first = s
			}
			if last == nil && s.from.After(until) {
				last = s
			}
			continue
		}
		if first == nil && s.from.After(from) {
			first = s
		}
		if s.until.Before(until) {
			last = s
		}
	}
	if first == nil || last == nil {
		return harness.Counts{}
	}
	return last.Sub(first.Counts)
}

// TestSavedOverCrash kills a backend, so that the server starts anew with empty
// memory: the figures go back to when they were saved.
func TestSavedOverCrash(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.s.Reset(t)
		w.ask(t)
		w.figures(t)
		w.s.Restart(t)
		w.s.Await(t, engine)
		saved := w.figures(t)
		savedAt := w.s.Status(t).SavedAt
		w.ask(t)
		more := w.figures(t)
		if at := w.s.Status(t).SavedAt; !at.Equal(*savedAt) {
			t.Logf("the machine is so slow that the figures were saved again, at %s", at)
			saved, savedAt = more, at
		}
		pid := harness.Value[int32](t, w.s, "SELECT pg_backend_pid()")
		if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.s.LogSays(t, 0, "all server processes terminated; reinitializing")
		w.s.Disconnect()
		st := w.s.Await(t, engine)
		if st.Restored != "file" || st.RestoredFrom == nil || st.RestoredFrom.After(*savedAt) {
			t.Errorf("after a crash: %+v; saved at %s", st, savedAt)
		}
		w.s.CaughtUp(t)
		if got := w.s.Totals(t); got != saved.totals {
			t.Errorf("totals are %+v, %+v were saved", got, saved.totals)
		}
		c := w.ask(t)
		w.s.CaughtUp(t)
		if got := w.s.Totals(t).Sub(saved.totals); got != c {
			t.Errorf("after the crash: %+v, the truth is %+v", got, c)
		}
	})
}

// TestStandby: a standby counts for itself, from nothing, and is its primary's
// client, which counts for nothing.
func TestStandby(t *testing.T) {
	t.Parallel()
	primary := newWorld(t, "ebpf")
	primary.ask(t)
	primary.figures(t)
	primary.s.Restart(t) // so that there is something saved to inherit
	primary.s.Await(t, "ebpf")

	standby := &world{link: harness.NewLink(t, harness.NewHost(t), primary.client())}
	wire := harness.NewLink(t, primary.s.Host, standby.link.Server.Host)
	data := baseBackup(t, primary.s, wire.Server.V4.String())
	settings := settingsFor("ebpf")
	settings["hot_standby"] = "on"
	standby.s = harness.NewServer(t, harness.Options{Host: standby.link.Server.Host, Data: data, Settings: settings})
	standby.truth = harness.NewTruth(t, standby.link, standby.s.Port)
	if !harness.Value[bool](t, standby.s, "SELECT pg_is_in_recovery()") {
		t.Fatal("the standby is none")
	}
	st := standby.s.Await(t, "ebpf")
	if st.Restored != "" || st.RestoredFrom != nil {
		t.Errorf("the standby inherited: %+v", st)
	}
	// Its primary sends it much, on the primary's port.
	between := harness.NewTruth(t, wire, primary.s.Port)
	primary.s.Reset(t)
	primary.s.Exec(t, "CREATE TABLE much AS SELECT repeat('x', 500) AS line FROM generate_series(1, 10000)")
	harness.Until(t, patience, "replication", func() error {
		_, err := harness.TryRows[struct{ N int64 }](standby.s, "SELECT count(*) FROM much")
		return err
	})
	if c := between.Read(t); c.BytesOut < 5_000_000 {
		t.Errorf("replication was %+v", c)
	}
	standby.s.CaughtUp(t)
	if got := standby.s.Totals(t); got != (harness.Counts{}) {
		t.Errorf("the standby counted %+v of its primary's", got)
	}
	standby.exact(t, func() { standby.ask(t) })
}

// baseBackup gives a directory with a standby of the server, reached at host.
func baseBackup(t *testing.T, s *harness.Server, host string) string {
	t.Helper()
	data := filepath.Join(s.Sockets, "standby")
	s.Run(t, "pg_basebackup", "-h", s.Sockets, "-p", "5432", "-D", data, "-c", "fast", "-X", "stream")
	if left, _ := filepath.Glob(filepath.Join(data, "pg_stat_tmp", "*")); len(left) > 0 {
		t.Errorf("the backup has %s", strings.Join(left, ", "))
	}
	for name, text := range map[string]string{
		"standby.signal":       "",
		"postgresql.auto.conf": "primary_conninfo = 'host=" + host + " port=5432 user=" + harness.Account + " sslmode=disable'\n",
	} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return data
}
