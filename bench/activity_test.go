package bench

import (
	"context"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/view"
	"github.com/pg-netstat/pg_netstat/test/harness"
)

// BenchmarkActivity reads pg_netstat_activity with 10,000 sessions, which a program in the
// agent's place has published, and counts its rows: in the server alone, and as a
// client that takes all of them.
func BenchmarkActivity(bm *testing.B) {
	fake := harness.NewFake(bm, "puppet")
	s := harness.NewServer(bm, harness.Options{Settings: harness.Settings{"pg_netstat.agent_path": fake.Path}})
	p := fake.Puppet(bm)
	r := registered(made(manySessions))
	data, _, err := view.EncodeActivity(nil, r, int(p.MaxSet))
	if err != nil {
		bm.Fatal(err)
	}
	p.Publish(bm, map[string][]byte{view.Activity.Name: data})
	harness.Until(bm, time.Minute, "the snapshot being there", func() error {
		_, err := harness.TryRows[struct{ N int64 }](s, "SELECT count(*) FROM pg_netstat_activity")
		return err
	})
	ctx := context.Background()
	conn, err := s.Connect(ctx)
	if err != nil {
		bm.Fatal(err)
	}
	defer conn.Close(ctx)
	var pid int
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		bm.Fatal(err)
	}
	for name, query := range map[string]string{
		"in the server": "SELECT count(*), count(bottleneck) FROM (SELECT * FROM pg_netstat_activity OFFSET 0) AS a",
		"taken":         "SELECT * FROM pg_netstat_activity",
	} {
		bm.Run(name, func(bm *testing.B) {
			before := cpu(bm, pid)
			for bm.Loop() {
				rows, err := conn.Query(ctx, query)
				if err != nil {
					bm.Fatal(err)
				}
				n := int64(0)
				for rows.Next() {
					n++
				}
				if rows.Err() != nil {
					bm.Fatal(rows.Err())
				}
				if name == "taken" && n != manySessions {
					bm.Fatalf("%d rows", n)
				}
			}
			bm.ReportMetric(float64((cpu(bm, pid)-before).Microseconds())/1000/float64(bm.N), "server-cpu-ms/op")
		})
	}
}
