package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// rowsSeen is from how many intervals the lag is taken.
const rowsSeen = 60

// BenchmarkLag asks for the newest row all the time while clients work, and
// shows how long after its interval's end a row is seen: p50 and p99.
func BenchmarkLag(bm *testing.B) {
	b := newBed(bm)
	for _, engine := range []string{"ebpf", "pcap"} {
		bm.Run(engine, func(bm *testing.B) {
			b.server.Set(bm, harness.Settings{"pg_netstat.engine": engine})
			b.server.Await(bm, engine)
			work := b.link.Client.Host.StartPgbench(bm, b.server.At(b.link.Server.V4),
				"-n", "-S", "-c", "2", "-R", "2000", "-T", "70")
			lags := lags(bm, b.server, rowsSeen)
			work.Signal(2)
			slices.Sort(lags)
			bm.ReportMetric(0, "ns/op")
			bm.ReportMetric(lags[len(lags)/2].Seconds()*1000, "p50-ms")
			bm.ReportMetric(lags[len(lags)*99/100].Seconds()*1000, "p99-ms")
			bm.ReportMetric(lags[len(lags)-1].Seconds()*1000, "max-ms")
		})
	}
}

func lags(t testing.TB, s *harness.Server, n int) []time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	conn, err := s.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var last time.Time
	var lags []time.Duration
	for len(lags) < n {
		var start *time.Time
		if err := conn.QueryRow(ctx, "SELECT max(ts) FROM pg_netstat").Scan(&start); err != nil {
			t.Fatal(err)
		}
		seen := time.Now()
		if start != nil && start.After(last) {
			// The first may be of an interval that was cut short.
			if !last.IsZero() {
				lags = append(lags, seen.Sub(start.Add(time.Second)))
			}
			last = *start
		}
		time.Sleep(500 * time.Microsecond)
	}
	return lags
}
