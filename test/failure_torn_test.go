package test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/view"
	"github.com/pg-netstat/pg_netstat/test/harness"
)

// generationRows says how many rows the snapshots of a generation have.
func generationRows(n int) (history, devices int) { return 100 + n*37%1000, 10 + n*17%300 }

// generation makes a set whose rows all bear a number; how many rows there are
// follows from it.
func generation(n int) map[string][]byte {
	number := int64(n)
	rows := func(count int, row link.Row) []link.Row {
		all := make([]link.Row, count)
		for i := range all {
			all[i] = row
		}
		return all
	}
	h, d := generationRows(n)
	return map[string][]byte{
		"pg_netstat": of(&view.History, rows(h, link.Row{strings.Repeat("h", 1+n%50), moment, number, number, 1.0, 2.0, number, number,
			1.0, 2.0, moment, 1.0})...).bytes(),
		"pg_netstat_device": of(&view.Devices, rows(d, link.Row{strings.Repeat("d", 1+n%70), "counting", number, number, 1.0, 2.0,
			number, number, 1.0, 2.0, moment, moment, 1.0, number, number, number, number})...).bytes(),
	}
}

// seen is what a query saw of a snapshot.
type seen struct{ low, high, rows int64 }

// lookQuery asks for what is seen of both.
var lookQuery = func() string {
	one := func(view string) string {
		return `(SELECT least(min(packets_in), min(packets_out), min(bytes_in), min(bytes_out)) AS low,
			greatest(max(packets_in), max(packets_out), max(bytes_in), max(bytes_out)) AS high, count(*) AS rows FROM ` + view + ")"
	}
	return "SELECT h.low, h.high, h.rows, d.low, d.high, d.rows FROM " + one("pg_netstat") + " AS h, " + one("pg_netstat_device") + " AS d"
}()

// looks reads until stop is closed; it gives how often, and how often the two were
// of different generations.
func looks(t *testing.T, s *harness.Server, stop <-chan struct{}) (reads, mixed int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.Connect(ctx)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer c.Close(ctx)
	var history, devices, last seen
	for {
		select {
		case <-stop:
			return reads, mixed
		default:
		}
		err := c.QueryRow(ctx, lookQuery).Scan(&history.low, &history.high, &history.rows, &devices.low, &devices.high, &devices.rows)
		if err != nil {
			t.Error(err)
			return reads, mixed
		}
		h, d := generationRows(int(history.low))
		if history != (seen{history.low, history.low, int64(h)}) {
			t.Errorf("pg_netstat was %+v, of %d rows", history, h)
		}
		if _, d = generationRows(int(devices.low)); devices != (seen{devices.low, devices.low, int64(d)}) {
			t.Errorf("pg_netstat_device was %+v, of %d rows", devices, d)
		}
		if history.low < last.low || devices.low < last.high {
			t.Errorf("generations %d and %d follow %d and %d", history.low, devices.low, last.low, last.high)
		}
		last = seen{low: history.low, high: devices.low}
		if reads++; history.low != devices.low {
			mixed++
		}
	}
}

// TestNoTornReads publishes at a high rate while many read: what a query sees of a
// view is one generation of it with all of its rows, and never an older one than
// before. Two views in one query are read one after the other.
func TestNoTornReads(t *testing.T) {
	t.Parallel()
	v := newFooled(t, "puppet")
	p := v.fake.Puppet(t)
	p.Publish(t, generation(0))
	v.AwaitStatus(t, "a first set", func(st harness.Status) bool { return st.SnapshotAge != nil })
	stop := make(chan struct{})
	var running sync.WaitGroup
	var reads, mixed [6]int
	for i := range reads {
		running.Go(func() { reads[i], mixed[i] = looks(t, v.Server, stop) })
	}
	sets := 1
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); sets++ {
		p.Publish(t, generation(sets))
		// More than 50 a second would be a flood.
		time.Sleep(22 * time.Millisecond)
	}
	close(stop)
	running.Wait()
	t.Logf("%d sets, read %d times, of different generations %d times", sets, reads, mixed)
	if st := v.Status(t); st.Restarts != 0 || st.LastError != "" {
		t.Errorf("the status is %+v", st)
	}
}

// TestSmallMemory has more figures than fit: the newest rows stay, the agent lives,
// and the status view says what is left out.
func TestSmallMemory(t *testing.T) {
	t.Parallel()
	v := newFooled(t, "puppet", harness.Settings{"pg_netstat.max_memory": "1MB", "pg_netstat.history": "86400"})
	p := v.fake.Puppet(t)
	if p.MaxSet != 512*1024 {
		t.Errorf("a set may have %d bytes", p.MaxSet)
	}
	start := time.Now().Truncate(time.Second).Add(-time.Hour)
	set := withHistory(start, 800)
	if len(set["pg_netstat"]) < 450000 {
		t.Fatalf("the history has %d bytes only", len(set["pg_netstat"]))
	}
	p.Publish(t, set)
	v.Await(t, "ebpf")
	p.Close()
	v.heals(t)
	st := v.AwaitStatus(t, "a warning", func(st harness.Status) bool {
		return strings.Contains(st.Warning, "the oldest rows of pg_netstat are left out")
	})
	agent := *st.AgentPID
	time.Sleep(3 * time.Second)
	if st = v.Status(t); *st.AgentPID != agent || st.State != "counting" {
		t.Errorf("the status is %+v", st)
	}
	left := harness.Value[int64](t, v.Server, "SELECT count(*) FROM pg_netstat WHERE device LIKE 'device%'")
	newest := harness.Value[time.Time](t, v.Server, "SELECT max(ts) FROM pg_netstat WHERE device = 'device3'")
	if left < 1000 || left >= 3200 || !newest.Equal(start.Add(799*time.Second)) {
		t.Errorf("%d rows are left, the newest of %s", left, newest)
	}
	v.LogSays(t, 0, "the oldest rows of pg_netstat are left out")
}

// withHistory gives snapshots with rows of four devices, each with one for each second
// from start on.
func withHistory(start time.Time, seconds int) map[string][]byte {
	set, base := map[string][]byte{}, viewSnapshots()
	var rows []link.Row
	for i := range seconds {
		for d := range 4 {
			at := start.Add(time.Duration(i) * time.Second)
			rows = append(rows, link.Row{fmt.Sprintf("device%d", d), at, int64(i), int64(i), 1.0, 2.0,
				int64(i), int64(i), 1.0, 2.0, at.Add(time.Second), 1.0})
		}
	}
	for _, name := range views {
		set[name] = base[name].bytes()
	}
	set["pg_netstat"] = of(&view.History, rows...).bytes()
	return set
}

// TestLessMemory: a server that starts with less memory than it had keeps the saved
// totals, and begins the history anew.
func TestLessMemory(t *testing.T) {
	t.Parallel()
	v := newFooled(t, "puppet", harness.Settings{"pg_netstat.max_memory": "4MB", "pg_netstat.history": "86400"})
	p := v.fake.Puppet(t)
	set := withHistory(time.Now().Truncate(time.Second).Add(-time.Hour), 1500)
	if len(set["pg_netstat"]) < 600000 {
		t.Fatalf("the history has %d bytes only", len(set["pg_netstat"]))
	}
	p.Publish(t, set)
	v.Await(t, "ebpf")
	p.Close()
	v.heals(t)
	v.CaughtUp(t)
	rows := "SELECT count(*) FROM pg_netstat WHERE device LIKE 'device%'"
	if n := harness.Value[int64](t, v.Server, rows); n != 6000 {
		t.Fatalf("%d rows before", n)
	}
	v.witness.stop(t)
	v.Stop(t, "fast")
	v.Configure(t, harness.Settings{"pg_netstat.max_memory": "1MB"})
	from := len(v.Log(t))
	v.Start(t)
	v.witness = newWitness(t, v.Server)
	st := v.Await(t, "")
	if st.Restored != "file" || st.LastError != "" || st.Restarts != 0 {
		t.Errorf("the status is %+v", st)
	}
	v.LogSays(t, from, `the saved "pg_netstat" begins anew, as it does not fit into pg_netstat.max_memory`)
	if d := v.Devices(t)["eth1"]; d.PacketsIn != 10 || d.PacketsOut != 20 {
		t.Errorf("the totals of eth1 are %+v", d)
	}
	if n := harness.Value[int64](t, v.Server, rows); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	v.answered(t)
}

// TestSnapshotsLeftBehind: an agent of another version, or gone mad, may have left
// snapshots of names that nobody publishes any more. They stay while there is
// room, and are never in the way of the next agent.
func TestSnapshotsLeftBehind(t *testing.T) {
	t.Parallel()
	large := of(&link.Table{Columns: used.Columns[:1]}, link.Row{strings.Repeat("x", 262_100)}).bytes()
	for name, count := range map[string]int{"many names": 64, "much memory": 16} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newFooled(t, "puppet", harness.Settings{"pg_netstat.max_memory": "8MB"})
			p := v.fake.Puppet(t)
			set := map[string][]byte{}
			for i := range count {
				set[fmt.Sprintf("left_%d", i)] = large
				if count == 64 {
					set[fmt.Sprintf("left_%d", i)] = of(&link.Table{Columns: used.Columns[:1]}, link.Row{"x"}).bytes()
				}
			}
			p.Publish(t, set)
			v.AwaitStatus(t, "the set being visible", func(st harness.Status) bool { return st.SnapshotAge != nil })
			p.Close()
			v.heals(t)
			agent := v.agent(t)
			v.Reset(t)
			v.CaughtUp(t)
			if st := v.Status(t); int(*st.AgentPID) != agent {
				t.Errorf("the status is %+v", st)
			}
			readable := 0
			for i := range count {
				rows, err := harness.TryRows[struct{ V string }](v.Server, fmt.Sprintf("SELECT a FROM pg_netstat_read('left_%d') AS s (a text)", i))
				if err == nil && len(rows) == 1 {
					readable++
				}
			}
			if readable < count/2 || readable == count {
				t.Errorf("%d of %d that were left behind are there", readable, count)
			}
		})
	}
}
