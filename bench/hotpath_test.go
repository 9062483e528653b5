package bench

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// BenchmarkHotPath times what the module does for a prepared lookup and nothing else, in
// a real session, whose slot the worker reads as ever: many times a thousand
// lookups, the least and the median of them. With two sessions at once it would show if they got in each other's
// way.
func BenchmarkHotPath(bm *testing.B) {
	host := harness.NewHost(bm)
	library := hotPath(bm)
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "with\tns of a lookup, 1 session: least\tmedian\t2 sessions at once: least\tmedian\t")
	for i, with := range []setup{
		{"neither module", harness.Settings{"shared_preload_libraries": library}},
		{"pg_netstat, track_statements off", harness.Settings{"shared_preload_libraries": library + ", pg_netstat", "pg_netstat.track_statements": "off"}},
		{"pg_netstat", harness.Settings{"shared_preload_libraries": library + ", pg_netstat"}},
	} {
		server := with.stopped(bm, host, 5432+i)
		with.start(bm, server)
		server.Exec(bm, fmt.Sprintf("CREATE FUNCTION hotpath(int) RETURNS float8[] LANGUAGE c AS '%s', 'hotpath'", library))
		least1, median1 := hot(bm, server, 1)
		least2, median2 := hot(bm, server, 2)
		fmt.Fprintf(w, "%s\t%.1f\t%s\t%.1f\t%s\t\n", with.name, least1.at(0), median1.show(0), least2.at(0), median2.show(0))
		server.Stop(bm, "fast")
	}
	w.Flush()
	fmt.Printf("\n%s\n", text.String())
}

// hotPath builds the module that drives the others.
func hotPath(t testing.TB) string {
	t.Helper()
	headers, err := exec.Command(cmp.Or(os.Getenv("PG_CONFIG"), "pg_config"), "--includedir-server").Output()
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
// several times: the least and the medians.
func hot(t testing.TB, s *harness.Server, sessions int) (least, median series) {
	t.Helper()
	const thousands, times = 5000, 7
	for range times {
		took, errs := make([][]float64, sessions), make([]error, sessions)
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
		for i, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
			least = append(least, took[i][0])
			median = append(median, took[i][1])
		}
	}
	return least, median
}
