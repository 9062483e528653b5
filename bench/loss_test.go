package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// seconds is how long each load lasts.
const seconds = 6

// load makes traffic and returns when it is over.
type load struct {
	name string
	run  func(t testing.TB, b *bed)
}

// contender counts packets while a load runs.
type contender struct {
	name string
	// start begins to count and gives the process that works for it, and what
	// tells, when the load is over, how many packets it saw and how many it says
	// that it did not see.
	start func(t testing.TB, b *bed) (pid int, counted func() (seen, told int64))
}

// bed is a server and a client that reaches it over a veth pair, and the truth.
type bed struct {
	server *harness.Server
	link   *harness.Link
	truth  *harness.Truth
	tools  string // directory of inject and drain
}

func newBed(t testing.TB) *bed {
	t.Helper()
	link := harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))
	b := &bed{link: link, tools: t.TempDir()}
	b.server = harness.NewServer(t, harness.Options{Host: link.Server.Host, Settings: harness.Settings{
		"pg_netstat.interval": "1", "pg_netstat.history": "1000",
	}})
	b.truth = harness.NewTruth(t, link, b.server.Port)
	link.Server.Host.Run(t, "pgbench", "-h", b.server.Sockets, "-i", "-q", "-s", "5", "postgres")
	for _, tool := range []string{"inject", "drain"} {
		if out, err := exec.Command("go", "build", "-o", b.tools, "./"+tool).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", tool, err, out)
		}
	}
	return b
}

func transactions(rate int) load {
	l := load{name: "pgbench -S at full speed"}
	args := []string{"-n", "-S", "-M", "prepared", "-c", "8", "-j", "2", "-T", strconv.Itoa(seconds)}
	if rate > 0 {
		l.name = fmt.Sprintf("pgbench -S, %d a second", rate)
		args = append(args, "-R", strconv.Itoa(rate))
	}
	l.run = func(t testing.TB, b *bed) {
		b.link.Client.Host.Pgbench(t, b.server.At(b.link.Server.V4), args...)
	}
	return l
}

// injected is the highest rate: segments that the server has to answer with a reset.
var injected = load{"segments as fast as they go", func(t testing.TB, b *bed) {
	mac, err := exec.Command("ip", "-n", b.link.Server.Host.Name, "link", "show", b.link.Server.Device).Output()
	if err != nil {
		t.Fatal(err)
	}
	ether := regexp.MustCompile(`link/ether (\S+)`).FindSubmatch(mac)
	b.link.Client.Host.Run(t, filepath.Join(b.tools, "inject"), "-device", b.link.Client.Device,
		"-mac", string(ether[1]), "-from", b.link.Client.V4.String(), "-to", b.link.Server.V4.String(),
		"-port", strconv.Itoa(b.server.Port), "-seconds", strconv.Itoa(seconds))
}}

func ours(engine string) contender {
	return contender{"pg_netstat, " + engine, func(t testing.TB, b *bed) (int, func() (int64, int64)) {
		b.server.Set(t, harness.Settings{"pg_netstat.engine": engine})
		st := b.server.Await(t, engine)
		b.server.CaughtUp(t)
		before, lost := b.server.Totals(t), *b.server.Status(t).PacketsLost
		return int(*st.AgentPID), func() (int64, int64) {
			b.server.CaughtUp(t)
			c := b.server.Totals(t).Sub(before)
			return c.PacketsIn + c.PacketsOut, *b.server.Status(t).PacketsLost - lost
		}
	}}
}

// tool is a program that prints its count when SIGTERM ends it, and what it did not
// see if it knows.
func tool(name, ready string, found, lost *regexp.Regexp, args func(*bed) []string) contender {
	return contender{name, func(t testing.TB, b *bed) (int, func() (int64, int64)) {
		b.server.Set(t, harness.Settings{"pg_netstat.engine": "ebpf"}) // costs it least
		b.server.Await(t, "ebpf")
		r := b.link.Server.Host.Start(t, args(b)...)
		time.Sleep(time.Second)
		return r.Pid(), func() (int64, int64) {
			r.Signal(syscall.SIGTERM)
			out := r.Wait(t)
			number := func(what *regexp.Regexp) int64 {
				m := what.FindStringSubmatch(out)
				if m == nil || !strings.Contains(out, ready) {
					t.Fatalf("%s printed %q", name, out)
				}
				n, err := strconv.ParseInt(m[1], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			if lost == nil {
				return number(found), 0
			}
			return number(found), number(lost)
		}
	}}
}

var contenders = []contender{
	ours("ebpf"),
	ours("pcap"),
	tool("libpcap as in 2022, emptied once a second", "ready", regexp.MustCompile(`(?m)^(\d+)$`), nil, func(b *bed) []string {
		return []string{filepath.Join(b.tools, "drain"), "-device", b.link.Server.Device, "-port", strconv.Itoa(b.server.Port)}
	}),
	tool("tcpdump -w /dev/null", "listening on", regexp.MustCompile(`(?m)^(\d+) packets captured`), regexp.MustCompile(`(?m)^(\d+) packets dropped by kernel`), func(b *bed) []string {
		return []string{"tcpdump", "-Z", "root", "-i", b.link.Server.Device, "-w", "/dev/null", "-s", "96", "tcp port " + strconv.Itoa(b.server.Port)}
	}),
}

// BenchmarkLoss shows, for each load and each way to count, how many packets were
// lost, how many of these it tells of, and what the counting process cost. Processor time that the kernel
// spends on copying packets while they arrive is nobody's and not in it.
func BenchmarkLoss(bm *testing.B) {
	b := newBed(bm)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "load\tcounted by\tpackets/s\tlost\ttold\tCPU s per million packets\t% of a core\tMB resident\tat most")
	for _, l := range []load{transactions(1000), transactions(5000), transactions(0), injected} {
		for _, c := range contenders {
			fmt.Fprintln(w, measure(bm, b, l, c))
		}
	}
	w.Flush()
	fmt.Printf("\n%s\n", table.String()) // a log of a benchmark is cut to ten lines
}

func measure(t testing.TB, b *bed, l load, c contender) string {
	t.Helper()
	pid, counted := c.start(t, b)
	before, ran, start := b.truth.Quiet(t), cpu(t, pid), time.Now()
	l.run(t, b)
	took := time.Since(start).Seconds()
	truth := b.truth.Quiet(t).Sub(before)
	ran = cpu(t, pid) - ran
	now, highest := resident(t, pid)
	packets := truth.PacketsIn + truth.PacketsOut
	seen, told := counted()
	lost := packets - seen
	return fmt.Sprintf("%s\t%s\t%.0f\t%d (%.1f %%)\t%d\t%.3f\t%.2f\t%.0f\t%.0f", l.name, c.name, float64(packets)/took,
		lost, 100*float64(lost)/float64(packets), told, ran.Seconds()/float64(packets)*1e6, 100*ran.Seconds()/took, now, highest)
}
