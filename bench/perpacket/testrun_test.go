package perpacket

import (
	"fmt"
	"math"
	"testing"

	"github.com/cilium/ebpf"
)

// BenchmarkTestRun prints the same for one received packet over and over, by the
// kernel's test run: everything is in the caches and foreseen. It shows what the
// instructions alone take, and changes little with what else the machine does.
func BenchmarkTestRun(b *testing.B) {
	p := load(b)
	for b.Loop() {
		fmt.Printf("\nns for one packet over and over, less the empty program: the least of %d test runs\n", testRuns)
		fmt.Printf("%-26s %8s %11s %8s\n", "", "empty", "pg_netstat", "plain")
		for _, l := range lines {
			if l.sent || l.clients > 1000 {
				continue
			}
			frame := l.frame(0)
			empty, net, plain := testRun(b, p.empty, frame), testRun(b, p.netstat, frame), "-"
			if !l.ipv6 {
				plain = fmt.Sprintf("%.0f", testRun(b, p.plain, frame)-empty)
			}
			fmt.Printf("%-26s %8.0f %11.0f %8s\n", l.name, empty, net-empty, plain)
		}
	}
}

const (
	testRuns = 100
	repeats  = 5000 // well within what the scheduler gives at once
)

func testRun(b *testing.B, program *ebpf.Program, frame []byte) float64 {
	b.Helper()
	least := math.Inf(1)
	for range testRuns {
		_, took, err := program.Benchmark(frame, repeats, nil)
		if err != nil {
			b.Fatal(err)
		}
		least = min(least, float64(took.Nanoseconds()))
	}
	return least
}
