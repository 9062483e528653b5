package session

import (
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/netnstest"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

const (
	serverAddr = "10.9.0.1"
	clientAddr = "10.9.0.2"
	port       = 5432
)

// path is a way between the test's namespace, where the server is, and a client's.
type path struct {
	client *netnstest.Peer
	dumper *sockdiag.Dumper
}

// newPath makes a direct one.
func newPath(t *testing.T) *path {
	t.Helper()
	p := &path{client: netnstest.NewPeer(t)}
	netnstest.Run(t, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", p.client.Name())
	t.Cleanup(func() { netnstest.Run(t, "ip", "link", "delete", "eth0") })
	p.up(t)
	return p
}

// newLongPath makes one on which each packet takes a while, each way.
func newLongPath(t *testing.T, delay time.Duration) *path {
	t.Helper()
	p := &path{client: netnstest.NewPeer(t)}
	here := tap(t, "eth0")
	var there *os.File
	p.client.Do(t, func() { there = tap(t, "eth0") })
	t.Cleanup(func() {
		here.Close()
		there.Close()
	})
	go carry(here, there, delay)
	go carry(there, here, delay)
	p.up(t)
	return p
}

func (p *path) up(t *testing.T) {
	t.Helper()
	for _, c := range []struct {
		run  func(testing.TB, ...string) string
		addr string
	}{{netnstest.Run, serverAddr}, {p.client.Run, clientAddr}} {
		c.run(t, "ip", "addr", "add", c.addr+"/24", "dev", "eth0")
		c.run(t, "ip", "link", "set", "eth0", "up")
	}
	var err error
	if p.dumper, err = sockdiag.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.dumper.Close() })
}

// lose makes the client's end drop one packet in n of what it receives.
func (p *path) lose(t *testing.T, n string) {
	t.Helper()
	p.client.Run(t, "nft", `table netdev loss {
		chain ingress { type filter hook ingress device "eth0" priority 0; numgen random mod `+n+` == 0 drop; }
	}`)
}

// tap makes a network device whose packets are the file's reads and writes.
func tap(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name)
}

// carry hands each packet on when it is due.
func carry(from io.Reader, to io.Writer, delay time.Duration) {
	type packet struct {
		data []byte
		due  time.Time
	}
	way := make(chan packet, 10000)
	defer close(way)
	go func() {
		for p := range way {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				continue // the device is not up yet, or gone
			}
		}
	}()
	for {
		b := make([]byte, 65536)
		n, err := from.Read(b)
		if err != nil {
			return
		}
		way <- packet{b[:n], time.Now().Add(delay)}
	}
}

// connect makes a connection on the path, both ends.
func (p *path) connect(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(serverAddr), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error)
	go func() {
		var err error
		server, err = l.AcceptTCP()
		done <- err
	}()
	p.client.Do(t, func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.ParseIP(serverAddr).To4())})
		}
		if err != nil {
			t.Errorf("connecting: %v", err)
			return
		}
		unix.SetNonblock(fd, true)
		f := os.NewFile(uintptr(fd), "client")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Error(err)
			return
		}
		client = c.(*net.TCPConn)
	})
	if err := <-done; err != nil || client == nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		client.Close()
	})
	return server, client
}

// refreshes gives the words for one of the path's connections, refresh after refresh.
func (p *path) refreshes(t *testing.T, client *net.TCPConn, every time.Duration, each func(word string, before, now *sockdiag.Socket) (more bool)) {
	t.Helper()
	var h Health
	var before *sockdiag.Socket
	var at time.Time
	for {
		sockets, err := p.dumper.Dump(port, nil)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(sockets, func(s sockdiag.Socket) bool {
			return s.Remote.String() == client.LocalAddr().String()
		})
		if i < 0 {
			t.Fatal("the connection is gone")
		}
		now, last := &sockets[i], at
		at = time.Now()
		word := h.Refresh(before, now, at.Sub(last), false)
		if before != nil && !each(word, before, now) {
			return
		}
		before = now
		time.Sleep(every)
	}
}
