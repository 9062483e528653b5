package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
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

// BenchmarkCounted counts what no other work of the machine can change: the
// instructions that a server's process runs outside of the kernel, by valgrind, and its
// system calls, by strace, for a prepared lookup and for a connection by TCP that
// asks for nothing.
func BenchmarkCounted(bm *testing.B) {
	host := harness.NewHost(bm)
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "with\tinstructions of a lookup\tof a connection\tsystem calls of a lookup\tof a connection\t")
	for i, s := range setups {
		server := s.stopped(bm, host, 5432+i)
		s.start(bm, server)
		host.Run(bm, "pgbench", "-h", server.Sockets, "-p", strconv.Itoa(server.Port), "-i", "-q", "postgres")
		lookup, connection := systemCalls(bm, server)
		server.Stop(bm, "fast")
		ran, ranConnected := instructions(bm, server)
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.3f\t%.2f\t\n", s.name, ran, ranConnected, lookup, connection)
	}
	w.Flush()
	fmt.Printf("\n%s\n", table.String())
}

// byTCP connects by the loopback device.
func byTCP(t testing.TB, s *harness.Server) *harness.Client {
	t.Helper()
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	c, err := harness.TryClient("", func() (net.Conn, error) { return s.Host.Dial(netip.AddrPort{}, s.At(loopback)) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// systemCalls counts those of a lookup, and of all that a connection is to the
// postmaster and its child.
func systemCalls(t testing.TB, s *harness.Server) (lookup, connection float64) {
	t.Helper()
	const lookups, connections = 1000, 20
	a := newAsker(t, s, 0)
	askOne := func() { askAll(t, []*asker{a}, request(t, 1), lookups) }
	askOne()
	lookup = traced(t, s, a.pid, askOne) / lookups
	a.close()
	alone(t, s.Postmaster())
	connection = traced(t, s, s.Postmaster(), func() {
		for range connections {
			byTCP(t, s).Close()
		}
		alone(t, s.Postmaster())
	}) / connections
	return lookup, connection
}

// traced counts the system calls that a process and its new children make meanwhile.
func traced(t testing.TB, s *harness.Server, pid int, meanwhile func()) float64 {
	t.Helper()
	summary := filepath.Join(t.TempDir(), "summary")
	r := s.Host.Start(t, "strace", "-f", "-c", "-o", summary, "-p", strconv.Itoa(pid))
	harness.Until(t, time.Minute, "strace being attached", func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err == nil && strings.Contains(string(status), "TracerPid:\t0\n") {
			err = errors.New("nobody traces the process")
		}
		return err
	})
	meanwhile()
	r.Signal(syscall.SIGINT)
	harness.Until(t, time.Minute, "strace's end", func() error {
		if !r.Done() {
			return errors.New("it runs")
		}
		return nil
	})
	data, err := os.ReadFile(summary)
	if err != nil {
		t.Fatal(err)
	}
	return found(t, regexp.MustCompile(`(?m)^\s*100\.00\s+\S+\s+\d+\s+(\d+).* total$`), string(data))
}

func found(t testing.TB, number *regexp.Regexp, in string) float64 {
	t.Helper()
	m := number.FindStringSubmatch(in)
	if m == nil {
		t.Fatalf("no %s in %q", number, in)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// alone waits until a postmaster has reaped the children that had clients.
func alone(t testing.TB, postmaster int) {
	t.Helper()
	harness.Until(t, time.Minute, "the clients' processes being gone", func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", postmaster))
		for _, pid := range strings.Fields(string(children)) {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			// One that was just forked, and one that is just being reaped, are no other yet, or any more.
			if title := string(line); !regexp.MustCompile(`^postgres: .*(checkpointer|writer|launcher|worker)`).MatchString(title) {
				err = errors.Join(err, fmt.Errorf("%s is %q", pid, title))
			}
		}
		return err
	})
}

// instructions counts those of the server's process of a lookup, and of a connection,
// from when its startup packet was read to the exit.
func instructions(t testing.TB, s *harness.Server) (lookup, connection float64) {
	t.Helper()
	const few, many = 100, 1100
	counts := harness.AccountDir(t)
	server := s.Host.StartAsAccount(t, "env", "TMPDIR="+counts, "valgrind", "--tool=callgrind", "--trace-children=yes",
		"--trace-children-skip=*/pg_netstat-agent", "--vgdb=no", "--toggle-collect=PostgresMain",
		"--callgrind-out-file="+counts+"/%p", "--log-file="+counts+"/log", filepath.Join(s.Install.Bin, "postgres"), "-D", s.Data)
	harness.Until(t, 2*time.Minute, "the server taking connections", func() error {
		if server.Done() {
			t.Fatal("valgrind: ", server.Output())
		}
		_, err := harness.TryRows[struct{ N int }](s, "SELECT 1")
		return err
	})
	s.Disconnect()
	ran := func(times int) float64 {
		a := newAsker(t, s, 0)
		askAll(t, []*asker{a}, request(t, 1), times)
		a.close()
		return collected(t, counts, a.pid)
	}
	ran(few) // makes the relation cache's file
	lookup = (ran(many) - ran(few)) / (many - few)
	c := byTCP(t, s)
	c.Close()
	connection = collected(t, counts, c.Pid())
	server.Signal(syscall.SIGINT)
	server.Wait(t)
	return lookup, connection
}

// collected gives the count of a process that ends.
func collected(t testing.TB, directory string, pid int) (count float64) {
	t.Helper()
	totals := regexp.MustCompile(`(?m)^totals: (\d+)$`)
	harness.Until(t, time.Minute, "valgrind's count", func() error {
		data, err := os.ReadFile(filepath.Join(directory, strconv.Itoa(pid)))
		if err == nil && !totals.Match(data) {
			err = errors.New("is not complete")
		}
		if err == nil {
			count = found(t, totals, string(data))
		}
		return err
	})
	return count
}
