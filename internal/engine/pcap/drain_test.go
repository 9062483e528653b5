package pcap

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// drainer names the device that this program is to count on and do nothing else.
const drainer = "PG_NETSTAT_TEST_DRAIN"

// drained is what such a program tells at its end.
type drained struct {
	Counts engine.Counts
	Lost   uint64
	CPU    time.Duration
}

// TestDrain is that program: a period a second until its input ends.
func TestDrain(t *testing.T) {
	name := os.Getenv(drainer)
	if name == "" {
		return
	}
	s := mustOpen(t, defaults, target(t, name))
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(over)
	}()
	os.Stderr.WriteString("ready\n")
	spent := cpu()
	var sum drained
	add := func() {
		r := reading(t, s)
		sum.Counts.Add(total(r))
		sum.Lost += r.Lost
	}
	for {
		select {
		case <-time.After(time.Second):
			add()
			continue
		case <-over:
		}
		add()
		sum.CPU = cpu() - spent
		if err := json.NewEncoder(os.Stderr).Encode(sum); err != nil {
			t.Fatal(err)
		}
		return
	}
}

// BenchmarkDrain has two processes count the same load: this engine with its
// default settings, and tcpdump with the same.
func BenchmarkDrain(b *testing.B) {
	for _, c := range []struct {
		name    string
		clients int
	}{{"one client", 1}, {"many clients", 32}} {
		b.Run(c.name, func(b *testing.B) { drain(b, c.clients) })
	}
}

func drain(b *testing.B, clients int) {
	w := newWire(b)
	serve(b, "tcp4", serverAddr, 40)
	engine := exec.Command("/proc/self/exe", "-test.run=^TestDrain$")
	engine.Env = append(os.Environ(), drainer+"=pcn0")
	told := new(bytes.Buffer)
	engine.Stderr = told
	input, err := engine.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	dump := exec.Command("tcpdump", "-i", "pcn0", "-p", "-n", "-s", "96", "-B", "977", "-w", "/dev/null", "tcp", "port", "5433")
	report := new(bytes.Buffer)
	dump.Stderr = report
	for _, c := range []*exec.Cmd{engine, dump} {
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	begin := time.Now()
	load := w.load(b, clients, 40)
	for b.Loop() {
		time.Sleep(time.Second)
	}
	load.stop()
	took := time.Since(begin)
	settle(b)
	time.Sleep(time.Second)
	input.Close()
	if err := engine.Wait(); err != nil {
		b.Fatal(err, told)
	}
	_ = dump.Process.Signal(os.Interrupt)
	if err := dump.Wait(); err != nil {
		b.Fatal(err, report)
	}
	var d drained
	_, text, _ := strings.Cut(told.String(), "ready\n")
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		b.Fatal(err, told)
	}
	truth := w.truth(b)
	packets := float64(truth.PacketsIn + truth.PacketsOut)
	if got := float64(d.Counts.PacketsIn + d.Counts.PacketsOut + d.Lost); got != packets {
		b.Errorf("%.0f packets counted or lost of %.0f", got, packets)
	}
	b.ReportMetric(packets/took.Seconds(), "packets/s")
	b.ReportMetric(float64(d.Lost)/packets*100, "%lost")
	b.ReportMetric(d.CPU.Seconds()/packets*1e6, "cpu-s/Mpackets")
	b.ReportMetric((dump.ProcessState.UserTime()+dump.ProcessState.SystemTime()).Seconds()/packets*1e6, "tcpdump-cpu-s/Mpackets")
	b.Log(strings.Join(strings.Split(strings.TrimSpace(report.String()), "\n"), "; "))
}
