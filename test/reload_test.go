package test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// reloadable are the settings that a reload changes, each with values that keep
// eth0 counted on and every row. The engine has a test of its own.
var reloadable = map[string][]string{
	"pg_netstat.device":           {"eth0", "all", "eth0,lo", "auto", "eth0,eth9"},
	"pg_netstat.devices":          {"eth0", ""},
	"pg_netstat.capture_loopback": {"on", "off"},
	"pg_netstat.interval":         {"2s", "1s", "7s", "1s"},
	"pg_netstat.history":          {"86400", "1000"},
	"pg_netstat.refresh_interval": {"2s", "1s", "3s"},
	"pg_netstat.packet_wait_time": {"0s", "2s", "5s"},
	"pg_netstat.pcap_buffer_size": {"2000000", "500000", "90000000"},
	"pg_netstat.pcap_snaplen":     {"256", "96", "65535"},
	"pg_netstat.pcap_timeout":     {"10ms", "1000ms", "100ms"},
	"pg_netstat.networks":         {"here=10.0.0.0/8", ""},
	"pg_netstat.track_statements": {"off", "on"},
	"pg_netstat.max_entries":      {"100", "1000000", "5000"},
	"pg_netstat.save":             {"off", "on"},
}

const reloads = 60

// change gives the settings of the nth reload: each time two of them move on,
// so that every value of each comes to be.
func change(n int) harness.Settings {
	names := make([]string, 0, len(reloadable))
	for name := range reloadable {
		names = append(names, name)
	}
	slices.Sort(names)
	s := harness.Settings{}
	for _, k := range []int{2 * n, 2*n + 1} {
		name, round := names[k%len(names)], k/len(names)
		s[name] = reloadable[name][round%len(reloadable[name])]
	}
	return s
}

// TestReload changes every reloadable setting under load, once a second for a
// minute.
func TestReload(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.prepare(t)
		start := w.truth.Quiet(t)
		w.s.Reset(t)
		logged := len(w.s.Log(t))
		asked := newWitness(t, w.s)
		bench := w.client().StartPgbench(t, w.v4(), "-S", "-M", "prepared", "-c", "4", "-R", "1500", "-T", "600")
		keep := &keeper{rows: map[string]harness.Interval{}}
		for n := range reloads {
			next := time.Now().Add(time.Second)
			w.s.Set(t, change(n))
			keep.look(t, w)
			time.Sleep(time.Until(next))
		}
		bench.Signal(15)
		truth := w.truth.Quiet(t).Sub(start)
		w.s.Set(t, harness.Settings{"pg_netstat.interval": "1s", "pg_netstat.refresh_interval": "1s"})
		w.s.CaughtUp(t)
		keep.look(t, w)
		asked.stop(t)
		t.Logf("truth %+v, %d rows", truth, len(keep.rows))
		if got := w.s.Devices(t)["eth0"].Counts; got != truth {
			t.Errorf("eth0 has %+v, the truth is %+v: difference %+v", got, truth, got.Sub(truth))
		}
		if sum := harness.Sum(only(w.complete(t), "eth0")); sum != truth {
			t.Errorf("intervals have %+v, the truth is %+v: difference %+v", sum, truth, sum.Sub(truth))
		}
		if st := w.s.Status(t); st.Restarts != 0 || *st.Gaps > 0 || *st.PacketsLost != 0 {
			t.Errorf("status after the reloads: %+v", st)
		}
		nothingWrong(t, w.s.Log(t)[logged:])
	})
}

// keeper checks that a row that was seen once stays as it is.
type keeper struct {
	rows map[string]harness.Interval
}

func (k *keeper) look(t *testing.T, w *world) {
	t.Helper()
	now := map[string]harness.Interval{}
	for _, r := range w.s.History(t) {
		now[r.Device+r.Start.String()] = r
	}
	for key, r := range k.rows {
		if n, ok := now[key]; !ok || n.Counts != r.Counts {
			t.Errorf("the row %+v has become %+v", r, n)
		}
	}
	k.rows = now
}

func only(rows []harness.Interval, device string) []harness.Interval {
	var of []harness.Interval
	for _, r := range rows {
		if r.Device == device {
			of = append(of, r)
		}
	}
	return of
}

var complaint = regexp.MustCompile(`(?m)^.* (WARNING|ERROR|FATAL|PANIC): .*$`)

// nothingWrong checks that a log has nothing but what the test provoked: a
// device that does not exist.
func nothingWrong(t *testing.T, log string) {
	t.Helper()
	for _, line := range complaint.FindAllString(log, -1) {
		if !strings.Contains(line, `device "eth9" does not exist`) {
			t.Errorf("the log says %s", line)
		}
	}
}

// TestEngineChangesUnderLoad: the engines hand over at one moment, as far as two
// ways of counting can agree on one: at full speed a few packets pass between the
// end of one and the beginning of the other.
func TestEngineChangesUnderLoad(t *testing.T) {
	const changes, each = 10, 20
	w := newWorld(t, "ebpf")
	w.prepare(t)
	start := w.truth.Quiet(t)
	w.s.Reset(t)
	bench := w.client().StartPgbench(t, w.v4(), "-S", "-M", "prepared", "-c", "4", "-T", "600")
	for n := range changes {
		engine := engines[(n+1)%2]
		w.s.Set(t, harness.Settings{"pg_netstat.engine": engine})
		w.s.Await(t, engine)
	}
	bench.Signal(15)
	truth := w.truth.Quiet(t).Sub(start)
	w.s.CaughtUp(t)
	totals := w.s.Totals(t)
	off := totals.Sub(truth)
	if st := w.s.Status(t); *st.Exact || !strings.Contains(st.InexactReason, "the engine was changed") {
		t.Errorf("the status does not tell of the changes: %+v", st)
	}
	t.Logf("truth %+v, off by %+v", truth, off)
	if max(off.PacketsIn, -off.PacketsIn, off.PacketsOut, -off.PacketsOut) > changes*each {
		t.Errorf("totals are %+v, the truth is %+v: difference %+v", totals, truth, off)
	}
	if sum := harness.Sum(w.complete(t)); sum != totals {
		t.Errorf("intervals have %+v, devices %+v", sum, totals)
	}
	nothingWrong(t, w.s.Log(t))
}
