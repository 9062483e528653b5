package bench

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// setup is a server to compare. The first one is what the others are compared with,
// and the second is no different: what it seems to cost more is what a figure may be
// wrong by.
type setup struct {
	name     string
	settings harness.Settings
}

var setups = []setup{
	{"neither module", harness.Settings{"shared_preload_libraries": ""}},
	{"neither module, again", harness.Settings{"shared_preload_libraries": ""}},
	{"pg_stat_statements", harness.Settings{"shared_preload_libraries": "pg_stat_statements"}},
	{"pg_netstat, track_statements off", harness.Settings{"shared_preload_libraries": "pg_netstat", "pg_netstat.track_statements": "off"}},
	{"pg_netstat", harness.Settings{"shared_preload_libraries": "pg_netstat"}},
	{"both modules", harness.Settings{"shared_preload_libraries": "pg_stat_statements, pg_netstat"}},
}

// counts tells whether pg_netstat works in it.
func (s setup) counts() bool {
	return strings.Contains(s.settings["shared_preload_libraries"], "pg_netstat")
}

// stopped makes its server, to be started.
func (s setup) stopped(t testing.TB, host *harness.Host, port int) *harness.Server {
	t.Helper()
	server := harness.NewServer(t, harness.Options{Host: host, Port: port, Settings: s.settings, Stopped: true})
	server.Configure(t, harness.Settings{"autovacuum": "off", "max_parallel_workers": "0"})
	return server
}

// start starts its server, and waits until it does all that it ever will.
func (s setup) start(t testing.TB, server *harness.Server) {
	t.Helper()
	server.Start(t)
	if s.counts() {
		server.AwaitStatus(t, "an agent", func(st harness.Status) bool { return st.AgentPID != nil && st.SnapshotAge != nil })
	}
	server.Disconnect()
}

// way is how the statements are asked for.
type way struct {
	name    string
	batch   int // in a request
	times   int // requests in a round
	clients int
}

var ways = []way{
	{"one at a time", 1, 500, 1},
	{"one at a time", 1, 500, 2},
	{"100 in a pipeline", 100, 20, 1},
	{"100 in a pipeline", 100, 20, 2},
}

const (
	serverLives = 8  // a process has places in memory that may happen to be good or bad
	rounds      = 60 // in each
)

// BenchmarkStatement shows the processor time that the server takes for a prepared
// lookup, with each module and with none, in turn. A pipeline is the sharper
// comparison: most of what a statement takes is system calls, and it has few.
func BenchmarkStatement(bm *testing.B) {
	host := harness.NewHost(bm)
	servers := make([]*harness.Server, len(setups))
	for i, s := range setups {
		servers[i] = s.stopped(bm, host, 5432+i)
		s.start(bm, servers[i])
		host.Run(bm, "pgbench", "-h", servers[i].Sockets, "-p", strconv.Itoa(servers[i].Port), "-i", "-q", "postgres")
		servers[i].Stop(bm, "fast")
	}
	whole, added := table(len(ways), len(setups)), table(len(ways), len(setups))
	for range serverLives {
		took := oneLife(bm, servers)
		for w := range ways {
			for k := range setups {
				whole[w][k] = append(whole[w][k], took[w][k].low())
				added[w][k] = append(added[w][k], took[w][k].low()-took[w][0].low())
			}
		}
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "asked for\tclients\twith\tCPU ns of a lookup\tadded, and in each of the server's lives\t")
	for i, way := range ways {
		for k, s := range setups {
			fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%s\t\n", way.name, way.clients, s.name, whole[i][k].at(0.5), added[i][k].show(0))
		}
	}
	w.Flush()
	fmt.Printf("\n%s\n", text.String())
}

// table makes room for series.
func table(rows, columns int) [][]series {
	t := make([][]series, rows)
	for i := range t {
		t[i] = make([]series, columns)
	}
	return t
}

// oneLife starts the servers, measures, and stops them. It gives ns of a lookup, by
// way and setup.
func oneLife(t testing.TB, servers []*harness.Server) [][]series {
	t.Helper()
	took := table(len(ways), len(setups))
	askers := make([][]*asker, len(servers))
	for i, s := range servers {
		setups[i].start(t, s)
		askers[i] = []*asker{newAsker(t, s, 0), newAsker(t, s, 1%runtime.NumCPU())}
		for _, way := range ways {
			askAll(t, askers[i], request(t, way.batch), way.times)
		}
	}
	for round := range rounds {
		for w, way := range ways {
			asked := request(t, way.batch)
			for i := range servers {
				k := (i + round) % len(servers)
				ns := askAll(t, askers[k][:way.clients], asked, way.times).Nanoseconds()
				took[w][k] = append(took[w][k], float64(ns)/float64(way.clients*way.batch*way.times))
			}
		}
	}
	for i, s := range servers {
		for _, a := range askers[i] {
			a.close()
		}
		s.Stop(t, "fast")
	}
	return took
}
