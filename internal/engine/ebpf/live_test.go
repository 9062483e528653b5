package ebpf

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

var discard = slog.New(slog.DiscardHandler)

func now() time.Time { return time.Now() }

func device(t testing.TB, name string) engine.Device {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Device{
		Index: i.Index, Name: name, LinkHeader: linkHeader, MTU: i.MTU,
		Loopback: i.Flags&net.FlagLoopback != 0,
	}
}

// target counts port 5432 of the prefixes on the devices of these names.
func target(t testing.TB, local string, names ...string) engine.Target {
	t.Helper()
	all := engine.Target{Port: 5432}
	for _, name := range names {
		all.Devices = append(all.Devices, device(t, name))
	}
	for _, prefix := range strings.Fields(local) {
		all.Local = append(all.Local, netip.MustParsePrefix(prefix))
	}
	return all
}

func loopback(t testing.TB) engine.Target {
	t.Helper()
	netnstest.Need(t)
	netnstest.Run(t, "ip", "link", "set", "lo", "up")
	return target(t, "127.0.0.0/8 ::1/128", "lo")
}

func openSource(t testing.TB, target engine.Target) *Source {
	t.Helper()
	s, err := Open(discard, target)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func cut(t testing.TB, s *Source) engine.Reading {
	t.Helper()
	r, err := s.Cut(now())()
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, r)
	return r
}

// echo answers each connection to the address with what it is sent.
func echo(t testing.TB, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// talk sends bytes to an echo server over each of some connections, takes them
// back, and closes in order.
func talk(t testing.TB, address string, connections, bytes int) {
	t.Helper()
	for range connections {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := io.CopyN(io.Discard, c, int64(bytes))
			done <- err
		}()
		if _, err := c.Write(make([]byte, bytes)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// raw sends whole frames out of a device.
type raw struct {
	socket int
	to     unix.SockaddrLinklayer
}

func newRaw(t testing.TB, index int) *raw {
	t.Helper()
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	return &raw{socket: socket, to: unix.SockaddrLinklayer{Ifindex: index, Halen: 6}}
}

func (r *raw) send(t testing.TB, frame []byte) {
	t.Helper()
	for {
		err := unix.Sendto(r.socket, frame, 0, &r.to)
		if err == unix.ENOBUFS {
			continue
		}
		if err != nil {
			t.Fatalf("sending a frame: %v", err)
		}
		return
	}
}

// link is a pair of devices between the test's namespace and a peer's.
type link struct {
	peer     *netnstest.Peer
	here     string
	fromPeer *raw
}

// newLink makes a pair whose devices pass on what they are given, at once and
// as it is: no offload, no address of their own, no traffic but the test's.
func newLink(t testing.TB, name string) *link {
	t.Helper()
	l := &link{peer: netnstest.NewPeer(t), here: name}
	far := name + "p"
	netnstest.Run(t, "ip", "link", "add", name, "type", "veth", "peer", "name", far, "netns", l.peer.Name())
	t.Cleanup(func() { netnstest.Run(t, "ip", "link", "del", name) })
	netnstest.Run(t, "ip", "link", "set", name, "addrgenmode", "none", "up")
	l.peer.Run(t, "ip", "link", "set", far, "addrgenmode", "none", "up")
	running(t, netnstest.Run, name)
	running(t, l.peer.Run, far)
	l.peer.Do(t, func() {
		i, err := net.InterfaceByName(far)
		if err != nil {
			panic(err)
		}
		l.fromPeer = newRaw(t, i.Index)
	})
	return l
}

func same(t testing.TB, what string, got, want engine.Counts) {
	t.Helper()
	if got != want {
		t.Errorf("%s: counted %s, want %s", what, show(got), show(want))
	}
}

func show(c engine.Counts) string {
	return fmt.Sprintf("in %d packets, %d bytes, out %d, %d", c.PacketsIn, c.BytesIn, c.PacketsOut, c.BytesOut)
}
