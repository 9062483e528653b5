package bench

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// shortSessions is how many sessions follow each other in a round.
const shortSessions = 500

// connecting are the servers of setups that BenchmarkConnect compares.
var connecting = []int{0, 1, 4}

// BenchmarkConnect runs "pgbench -C" by the loopback device with and without the module,
// in turn: what a session of one statement costs from its start to its end. What the
// server took is the time of the postmaster with all processes that it forked for
// clients; that of the worker and the agent, who hear of each session, is beside it.
func BenchmarkConnect(bm *testing.B) {
	host := harness.NewHost(bm)
	script := filepath.Join(bm.TempDir(), "script")
	if err := os.WriteFile(script, []byte("SELECT 1;\n"), 0o644); err != nil {
		bm.Fatal(err)
	}
	servers := map[int]*harness.Server{}
	for _, k := range connecting {
		servers[k] = setups[k].stopped(bm, host, 5432+k)
		setups[k].start(bm, servers[k])
	}
	rate, server, beside := table(1, len(setups))[0], table(1, len(setups))[0], table(1, len(setups))[0]
	for round := range 28 {
		for i := range connecting {
			k := connecting[(i+round)%len(connecting)]
			persecond, own, others := shortly(bm, servers[k], script)
			rate[k] = append(rate[k], persecond)
			server[k] = append(server[k], own)
			beside[k] = append(beside[k], others)
		}
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "with\tsessions/s\tthe same, to neither module\tCPU µs of a session\tadded, in four parts of the time\tworker and agent\t")
	for _, k := range connecting {
		fmt.Fprintf(w, "%s\t%.0f\t%.3f\t%.0f\t%s\t%.0f\t\n", setups[k].name, rate[k].middle(), rate[k].per(rate[0]).middle(),
			server[k].middle(), server[k].less(server[0]).parts(4).show(0), beside[k].middle())
	}
	w.Flush()
	fmt.Printf("\n%s\n", text.String())
}

// shortly runs sessions, and gives how many a second there were, and the µs of
// processor time that each took: of the server, and of those that hear of it.
func shortly(t testing.TB, s *harness.Server, script string) (persecond, server, beside float64) {
	t.Helper()
	hear := named(t, s.Postmaster(), "pg_netstat")
	alone(t, s.Postmaster())
	before, heard := withChildren(t, s.Postmaster()), time.Duration(0)
	for _, pid := range hear {
		heard -= cpu(t, pid)
	}
	out := s.Host.Pgbench(t, s.At(netip.AddrFrom4([4]byte{127, 0, 0, 1})), "-C", "-f", script, "-t", strconv.Itoa(shortSessions))
	alone(t, s.Postmaster())
	took := withChildren(t, s.Postmaster()) - before
	for _, pid := range hear {
		heard += cpu(t, pid)
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / shortSessions }
	return found(t, regexp.MustCompile(`(?m)^tps = ([0-9.]+)`), out), each(took), each(heard)
}

// withChildren gives the time that a process and those children of it have run that
// it has reaped. The kernel tells it in hundredths of a second.
func withChildren(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	for _, field := range strings.Fields(rest)[11:15] { // utime, stime, cutime, cstime
		ticks, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(ticks) * (time.Second / 100)
	}
	return sum
}

// named gives the descendants of a process whose command lines have a name.
func named(t testing.TB, pid int, name string) (pids []int) {
	t.Helper()
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range children {
		data, _ := os.ReadFile(path)
		for _, field := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(harness.CommandLine(child), name) {
				pids = append(pids, child)
			}
			pids = append(pids, named(t, child, name)...)
		}
	}
	return pids
}
