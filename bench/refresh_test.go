package bench

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// BenchmarkRefresh does what the agent does at each refresh with 10,000 live sessions,
// all of which have carried something: enter what was dumped, and make the snapshots. In
// "all of it" the sockets are real, and the kernel's dump is part of it.
func BenchmarkRefresh(b *testing.B) {
	b.Run("accounts", func(b *testing.B) {
		before, now := made(manySessions), made(manySessions)
		r := registered(before)
		timed(b, func() {
			copy(now, before)
			work(now)
			r.Refresh(now, began, time.Second)
			before, now = now, before
		})
	})
	b.Run("snapshots", func(b *testing.B) {
		r := registered(made(manySessions))
		buffers := map[string][]byte{}
		size := 0
		timed(b, func() { size = tables(b, r, buffers) })
		b.ReportMetric(float64(size), "bytes")
	})
	b.Run("all of it", func(b *testing.B) { inNamespace(b, wholeRefresh) })
}

func wholeRefresh(b *testing.B) {
	const port = 5432
	connect(b, manySessions, port)
	d, err := sockdiag.Open()
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	var dumps [2][]sockdiag.Socket
	var r *session.Register
	buffers := map[string][]byte{}
	refresh := func() {
		if dumps[1], err = d.Dump(port, dumps[1]); err != nil {
			b.Fatal(err)
		}
		if len(dumps[1]) != manySessions {
			b.Fatalf("%d sockets", len(dumps[1]))
		}
		if r == nil {
			r = registered(dumps[1])
		} else {
			r.Refresh(dumps[1], began, time.Second)
		}
		dumps[0], dumps[1] = dumps[1], dumps[0]
		tables(b, r, buffers)
	}
	refresh()
	timed(b, refresh)
}

// timed shows the CPU time of a call: the mean, and the least, which the machine's other
// work has added to least.
func timed(b *testing.B, f func()) {
	b.ReportAllocs()
	f()
	f()
	sum, least := time.Duration(0), time.Duration(1<<63-1)
	for b.Loop() {
		before := ownCPU(b)
		f()
		took := ownCPU(b) - before
		sum, least = sum+took, min(least, took)
	}
	b.ReportMetric(float64(sum.Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(least.Microseconds())/1000, "least-cpu-ms")
}

// inNamespace runs f on a thread in a network namespace of its own.
func inNamespace(b *testing.B, f func(*testing.B)) {
	runtime.LockOSThread() // for good: the thread ends with the benchmark's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal("making a network namespace: ", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		lo.SetUint16(unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
	}
	if err != nil {
		b.Fatal("setting lo up: ", err)
	}
	f(b)
}

// connect opens n connections to a port over loopback, on this thread. Nobody accepts
// them, but to the kernel they are the server's.
func connect(b *testing.B, n, port int) {
	b.Helper()
	const backlog = 1000 // at each address
	limit := unix.Rlimit{Cur: uint64(n) + 1000, Max: uint64(n) + 1000}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	for i := range n {
		at := unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, byte(i / backlog), 1}}
		if i%backlog == 0 {
			fd := socket()
			if err := unix.Bind(fd, &at); err != nil {
				b.Fatal(err)
			}
			if err := unix.Listen(fd, backlog); err != nil {
				b.Fatal(err)
			}
		}
		if err := unix.Connect(socket(), &at); err != nil {
			b.Fatal(fmt.Errorf("connection %d: %w", i, err))
		}
	}
}
