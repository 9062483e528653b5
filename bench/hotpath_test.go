package bench

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// BenchmarkHotPath times what the module does for a prepared lookup and nothing else, in
// a real session, whose slot the worker reads as ever: the median of many times a
// thousand lookups. With two sessions at once it would show if they got in each other's
// way.
func BenchmarkHotPath(bm *testing.B) {
	host := harness.NewHost(bm)
	library := hotPath(bm)
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "with\tns of a lookup, 1 session\t2 sessions at once\t")
	for i, with := range []setup{
		{"neither module", harness.Settings{"shared_preload_libraries": library}},
		{"pg_netstat, track_statements off", harness.Settings{"shared_preload_libraries": library + ", pg_netstat", "pg_netstat.track_statements": "off"}},
		{"pg_netstat", harness.Settings{"shared_preload_libraries": library + ", pg_netstat"}},
	} {
		server := with.stopped(bm, host, 5432+i)
		with.start(bm, server)
		server.Exec(bm, fmt.Sprintf("CREATE FUNCTION hotpath(int) RETURNS float8 LANGUAGE c AS '%s', 'hotpath'", library))
		fmt.Fprintf(w, "%s\t%s\t%s\t\n", with.name, hot(bm, server, 1).show(1), hot(bm, server, 2).show(1))
		server.Stop(bm, "fast")
	}
	w.Flush()
	fmt.Printf("\n%s\n", text.String())
}

// hotPath builds the module that drives the others.
func hotPath(t testing.TB) string {
	t.Helper()
	headers, err := exec.Command("pg_config", "--includedir-server").Output()
	if err != nil {
		t.Fatal("asking pg_config: ", err)
	}
	library := filepath.Join(harness.AccountDir(t), "hotpath.so")
	compile := exec.Command("gcc", "-O2", "-fPIC", "-fwrapv", "-fno-strict-aliasing", "-shared", "-o", library,
		"-I../extension/src", "-I"+strings.TrimSpace(string(headers)), "hotpath/hotpath.c")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return library
}

// hot gives the ns of a lookup in each of some new sessions that work at the same time,
// several times.
func hot(t testing.TB, s *harness.Server, sessions int) series {
	t.Helper()
	const thousands, times = 5000, 7
	var all series
	for range times {
		took, errs := make(series, sessions), make([]error, sessions)
		var group sync.WaitGroup
		for i := range sessions {
			group.Go(func() {
				ctx := context.Background()
				c, err := s.Connect(ctx)
				if err == nil {
					err = c.QueryRow(ctx, "SELECT hotpath($1)", thousands).Scan(&took[i])
					_ = c.Close(ctx)
				}
				errs[i] = err
			})
		}
		group.Wait()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, took...)
	}
	return all
}
