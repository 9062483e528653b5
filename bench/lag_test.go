package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// rowsSeen is from how many intervals the lag is taken.
const rowsSeen = 100

// BenchmarkLag asks for the newest row all the time while clients work, and shows how
// long after its interval's end a row is seen. Beside it is what the machine makes of
// any wish for a moment: how late a sleep ends that was to end with the interval.
func BenchmarkLag(bm *testing.B) {
	b := newBed(bm)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "how late, in ms\tp50\tp90\tp99\tat most")
	for _, engine := range []string{"ebpf", "pcap"} {
		b.server.Set(bm, harness.Settings{"pg_netstat.engine": engine})
		b.server.Await(bm, engine)
		work := b.link.Client.Host.StartPgbench(bm, b.server.At(b.link.Server.V4),
			"-S", "-c", "2", "-R", "2000", "-T", "600")
		ctx, cancel := context.WithCancel(context.Background())
		slept := oversleep(ctx)
		fmt.Fprintln(w, "a row by "+engine+shares(lags(bm, b.server, rowsSeen)))
		cancel()
		fmt.Fprintln(w, "a sleep in the same time"+shares(<-slept))
		work.Signal(2)
	}
	w.Flush()
	fmt.Printf("\n%s\n", table.String())
}

// shares gives the columns of the table.
func shares(all []time.Duration) string {
	slices.Sort(all)
	ms := func(percent int) string {
		return fmt.Sprintf("\t%.1f", all[min(len(all)*percent/100, len(all)-1)].Seconds()*1000)
	}
	return ms(50) + ms(90) + ms(99) + ms(100)
}

// oversleep gives how late sleeps end that were to end at whole seconds.
func oversleep(ctx context.Context) <-chan []time.Duration {
	result := make(chan []time.Duration, 1)
	go func() {
		var late []time.Duration
		for ctx.Err() == nil {
			due := time.Now().Truncate(time.Second).Add(time.Second)
			time.Sleep(time.Until(due))
			late = append(late, time.Since(due))
		}
		result <- late
	}()
	return result
}

func lags(t testing.TB, s *harness.Server, n int) []time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*3*time.Second)
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
