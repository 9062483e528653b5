package sockdiag

import (
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkDump dumps real connections over loopback, the kernel's share included:
// the CPU time is this process'.
func BenchmarkDump(b *testing.B) {
	d := setup(b)
	for _, n := range []int{100, 2000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			many(b, n)
			var sockets []Socket
			var err error
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				if sockets, err = d.Dump(port, sockets); err != nil {
					b.Fatal(err)
				}
			}
			if len(sockets) != n {
				b.Fatalf("%d sockets", len(sockets))
			}
			b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ms/op")
		})
	}
}

// many opens n connections that nobody accepts: to the kernel they are the server's.
func many(b *testing.B, n int) {
	b.Helper()
	limit := unix.Rlimit{Cur: uint64(n) + 1000, Max: uint64(n) + 1000}
	var has unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &has); err != nil {
		b.Fatal(err)
	}
	if has.Cur < limit.Cur {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			b.Fatal(err)
		}
	}
	const backlog = 1000
	for done := 0; done < n; {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		at := unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, byte(done / backlog), 1}}
		if err = unix.Bind(fd, &at); err == nil {
			err = unix.Listen(fd, backlog)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { unix.Close(fd) })
		for range min(backlog, n-done) {
			c, err := net.Dial("tcp", fmt.Sprintf("127.0.%d.1:%d", done/backlog, port))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { c.Close() })
			done++
		}
	}
}

func cpu(b *testing.B) (ms float64) {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
