package pcap

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/device"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

// port is the tested server's.
const port = 5433

var defaults = Settings{BufferSize: 1_000_000, Snaplen: 96, Timeout: time.Second, Wait: 5 * time.Second}

func ip(t testing.TB, command string) {
	t.Helper()
	netnstest.Run(t, append([]string{"ip"}, strings.Fields(command)...)...)
}

// wire is a veth pair between the test's namespace, where the server is, and a
// peer, where its clients are, without any offload, and with counters at the
// ingress hook of each end.
type wire struct {
	peer *netnstest.Peer
	near string // device here
	far  string // device there
}

const (
	serverAddr = "10.66.0.1"
	clientAddr = "10.66.0.2"
	serverSix  = "fd66::1"
	clientSix  = "fd66::2"
)

func newWire(t testing.TB) *wire {
	t.Helper()
	w := &wire{peer: netnstest.NewPeer(t), near: "pcn0", far: "pcf0"}
	ip(t, "link set lo up")
	ip(t, "link add pcn0 type veth peer name pcf0 netns "+w.peer.Name())
	t.Cleanup(func() { ip(t, "link del pcn0") })
	off := []string{"ethtool", "-K", "pcn0", "tso", "off", "gso", "off", "gro", "off", "tx", "off"}
	netnstest.Run(t, off...)
	off[2] = "pcf0"
	w.peer.Run(t, off...)
	w.peer.Run(t, "ip", "link", "set", "lo", "up")
	ip(t, "addr add "+serverAddr+"/24 dev pcn0")
	ip(t, "addr add "+serverSix+"/64 dev pcn0 nodad")
	ip(t, "link set pcn0 up")
	w.peer.Run(t, "ip", "addr", "add", clientAddr+"/24", "dev", "pcf0")
	w.peer.Run(t, "ip", "addr", "add", clientSix+"/64", "dev", "pcf0", "nodad")
	w.peer.Run(t, "ip", "link", "set", "pcf0", "up")
	netnstest.Run(t, "nft", rules("pcn0", "dport"))
	t.Cleanup(func() { netnstest.Run(t, "nft", "delete table netdev truth") })
	w.peer.Run(t, "nft", rules("pcf0", "sport"))
	return w
}

func rules(dev, end string) string {
	return fmt.Sprintf("table netdev truth { chain c { type filter hook ingress device %s priority 0; tcp %s %d counter; }; }",
		dev, end, port)
}

var counter = regexp.MustCompile(`counter packets (\d+) bytes (\d+)`)

// truth is what arrived at both ends. The hook's bytes lack the link header.
func (w *wire) truth(t testing.TB) engine.Counts {
	t.Helper()
	read := func(text string) (packets, bytes uint64) {
		m := counter.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no counter in %s", text)
		}
		packets = number(t, m[1])
		return packets, number(t, m[2]) + 14*packets
	}
	var c engine.Counts
	c.PacketsIn, c.BytesIn = read(netnstest.Run(t, "nft", "list table netdev truth"))
	c.PacketsOut, c.BytesOut = read(w.peer.Run(t, "nft", "list table netdev truth"))
	return c
}

// target is what device.Select finds for a server on every address.
func target(t testing.TB, wish string) engine.Target {
	t.Helper()
	s, err := device.Scan()
	if err != nil {
		t.Fatal(err)
	}
	every := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	sel := device.Select(s, device.ParseWish(wish, false), every)
	return engine.Target{Port: port, Devices: sel.Devices, Local: device.Local(s, every)}
}

func mustOpen(t testing.TB, s Settings, target engine.Target) *Source {
	t.Helper()
	source, err := Open(slog.New(slog.NewTextHandler(io.Discard, nil)), s, target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	return source
}

// reading ends a period now and gives it.
func reading(t testing.TB, s *Source) engine.Reading {
	t.Helper()
	r, err := s.Cut(time.Now())()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func total(readings ...engine.Reading) engine.Counts {
	var c engine.Counts
	for _, r := range readings {
		for _, d := range r.Devices {
			c.Add(d.Counts)
		}
	}
	return c
}

// consistent fails unless clients and the rest are the sum of devices.
func consistent(t testing.TB, r engine.Reading) {
	t.Helper()
	c := r.Other
	for _, one := range r.Clients {
		c.Add(one.Counts)
	}
	if c != total(r) {
		t.Errorf("clients have %+v, devices %+v", c, total(r))
	}
}

// serve answers each message of 8 bytes with size bytes, until the test ends.
func serve(t testing.TB, network, addr string, size int) {
	t.Helper()
	l, err := net.Listen(network, net.JoinHostPort(addr, strconv.Itoa(port)))
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
			go answer(c, size)
		}
	}()
}

func answer(c net.Conn, size int) {
	defer c.Close()
	ask, reply := make([]byte, 8), make([]byte, size)
	for {
		if _, err := io.ReadFull(c, ask); err != nil {
			return
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// dial connects from the peer.
func (w *wire) dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	w.peer.Do(t, func() {
		var err error
		if c, err = net.Dial(network, net.JoinHostPort(addr, strconv.Itoa(port))); err != nil {
			t.Error(err)
		}
	})
	if c == nil {
		t.FailNow()
	}
	return c
}

// dialHere connects within the test's namespace.
func dialHere(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func number(t testing.TB, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// exchange asks n times and reads the answers.
func exchange(c net.Conn, n, size int) error {
	ask, reply := make([]byte, 8), make([]byte, size)
	for range n {
		if _, err := c.Write(ask); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, reply); err != nil {
			return err
		}
	}
	return nil
}

// load is clients that exchange until stopped.
type load struct {
	wg   sync.WaitGroup
	over atomic.Bool
	done atomic.Int64 // exchanges
}

func (w *wire) load(t testing.TB, clients, size int) *load {
	t.Helper()
	l := &load{}
	for range clients {
		c := w.dial(t, "tcp4", serverAddr)
		l.wg.Go(func() {
			defer c.Close()
			for !l.over.Load() {
				if err := exchange(c, 1, size); err != nil {
					t.Error(err)
					return
				}
				l.done.Add(1)
			}
		})
	}
	return l
}

// stop ends the load and gives the number of exchanges.
func (l *load) stop() int64 {
	l.over.Store(true)
	l.wg.Wait()
	return l.done.Load()
}

// settle lets the last packets of closing connections pass: on a busy machine the
// server's end may close late.
func settle(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); closing(t) > 0; {
		if time.Now().After(deadline) {
			t.Fatal("connections do not close")
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // acknowledgements that are delayed
}

// closing gives the connections that have packets to come before they are closed.
func closing(t testing.TB) int {
	t.Helper()
	n := 0
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/self/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n")[1:] {
			f := strings.Fields(line)
			// FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING
			if len(f) > 3 && slices.Contains([]string{"04", "05", "08", "09", "0B"}, f[3]) {
				n++
			}
		}
	}
	return n
}

func TestExact(t *testing.T) {
	w := newWire(t)
	for _, c := range []struct {
		name, network, addr, client string
		n, size                     int
	}{
		{"small", "tcp4", serverAddr, clientAddr, 500, 40},
		{"bulk", "tcp4", serverAddr, clientAddr, 20, 1 << 20},
		{"IPv6", "tcp6", serverSix, clientSix, 500, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			serve(t, c.network, c.addr, c.size)
			s := mustOpen(t, defaults, target(t, "auto"))
			if s.Inexact() != "" {
				t.Error(s.Inexact())
			}
			before := w.truth(t)
			conn := w.dial(t, c.network, c.addr)
			if err := exchange(conn, c.n, c.size); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			settle(t)
			r := reading(t, s)
			want := w.truth(t)
			subtract(&want, before)
			if total(r) != want || r.Lost != 0 {
				t.Errorf("got %+v, want %+v, lost %d", total(r), want, r.Lost)
			}
			consistent(t, r)
			if len(r.Devices) != 1 || r.Devices[0].Device != "pcn0" ||
				len(r.Clients) != 1 || r.Clients[0].Client.String() != c.client {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestConnections(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 100)
	s := mustOpen(t, defaults, target(t, "pcn0"))
	for range 300 {
		c := w.dial(t, "tcp4", serverAddr)
		if err := exchange(c, 1, 100); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	settle(t)
	if r := reading(t, s); total(r) != w.truth(t) {
		t.Errorf("got %+v, want %+v", total(r), w.truth(t))
	}
}

// Each period has the packets of its own time, nearly one packet in for each
// exchange that was made in it, also if it is cut some ms late, but no more than hold.
func TestPeriodsUnderLoad(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	s := mustOpen(t, defaults, target(t, "pcn0"))
	const periods, clients = 100, 8
	load := w.load(t, clients, 40)
	readings := make([]engine.Reading, periods)
	exchanges := make([]int64, periods+1)
	late := make([]bool, periods+1)
	reading(t, s)
	exchanges[0] = load.done.Load()
	var wg sync.WaitGroup
	var previous chan struct{}
	begin := time.Now()
	for i := range periods {
		time.Sleep(time.Until(begin.Add(time.Duration(i+1) * 50 * time.Millisecond)))
		at, n := time.Now(), load.done.Load()
		time.Sleep(time.Duration(i%11) * time.Millisecond)
		read := s.Cut(at)
		exchanges[i+1] = n
		late[i+1] = time.Since(at) > hold
		before, done := previous, make(chan struct{})
		previous = done
		wg.Go(func() {
			if before != nil {
				<-before
			}
			defer close(done)
			readings[i], _ = read()
		})
	}
	n := load.stop()
	settle(t)
	wg.Wait()
	readings = append(readings, reading(t, s))
	var lost uint64
	wrong, judged := 0, 0
	for i, r := range readings[:periods] {
		lost += r.Lost
		consistent(t, r)
		if late[i] || late[i+1] {
			continue
		}
		judged++
		made := exchanges[i+1] - exchanges[i]
		if diff := int64(total(r).PacketsIn) - made; i > 0 && max(diff, -diff) > 4*clients+made/10 {
			t.Logf("period %d has %d packets in for %d exchanges", i, total(r).PacketsIn, made)
			wrong++
		}
	}
	// A test that is kept from running between two lines reads its own numbers late.
	if wrong > judged/20 || judged == 0 {
		t.Errorf("%d of %d periods have not their own packets", wrong, judged)
	}
	t.Logf("%d exchanges in %v, %d lost", n, time.Since(begin), lost)
}

// Intervals of any length sum up to the truth.
func TestSumOfPeriods(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 3000)
	s := mustOpen(t, defaults, target(t, "pcn0"))
	load := w.load(t, 8, 3000)
	var readings []engine.Reading
	for range 100 {
		readings = append(readings, reading(t, s))
	}
	load.stop()
	settle(t)
	readings = append(readings, reading(t, s))
	var lost uint64
	for _, r := range readings {
		lost += r.Lost
	}
	if got, want := total(readings...), w.truth(t); got != want || lost != 0 {
		t.Errorf("got %+v, want %+v, lost %d", got, want, lost)
	}
}

func subtract(c *engine.Counts, o engine.Counts) {
	c.PacketsIn -= o.PacketsIn
	c.PacketsOut -= o.PacketsOut
	c.BytesIn -= o.BytesIn
	c.BytesOut -= o.BytesOut
}
