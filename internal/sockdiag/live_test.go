package sockdiag

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

const port = 5432

// pair is a connection to the server's port, both ends.
type pair struct {
	server, client *net.TCPConn
}

// connect makes a connection over loopback in the test's namespace.
func connect(t testing.TB, host string) pair {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return pair{server.(*net.TCPConn), client.(*net.TCPConn)}
}

// flow sends n bytes and waits until they have been read.
func flow(t testing.TB, from, to net.Conn, n int) {
	t.Helper()
	go from.Write(make([]byte, n)) //nolint:errcheck // the read tells
	if _, err := io.CopyN(io.Discard, to, int64(n)); err != nil {
		t.Fatal(err)
	}
}

// cookie asks the socket itself.
func cookie(t testing.TB, c *net.TCPConn) uint64 {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n uint64
	if ctl := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) }); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	return n
}

func setup(t testing.TB) *Dumper {
	t.Helper()
	netnstest.Need(t)
	netnstest.Run(t, "ip", "link", "set", "lo", "up")
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// until waits for a condition that others bring about.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not happen", what)
		}
	}
}

func dump(t testing.TB, d *Dumper) map[uint64]Socket {
	t.Helper()
	sockets, err := d.Dump(port, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := map[uint64]Socket{}
	for _, s := range sockets {
		if _, twice := m[s.Cookie]; twice {
			t.Errorf("%d is there twice", s.Cookie)
		}
		m[s.Cookie] = s
	}
	return m
}

// TestPayloadIsWhatWasSent compares with the bytes that the test moved itself, before
// and after the client's FIN.
func TestPayloadIsWhatWasSent(t *testing.T) {
	d := setup(t)
	for _, host := range []string{"127.0.0.1", "::1"} {
		p := connect(t, host)
		c := cookie(t, p.server)
		flow(t, p.client, p.server, 123457)
		flow(t, p.server, p.client, 7654321)
		check := func(state State) {
			t.Helper()
			var s Socket
			// The last acknowledgment may still be on its way.
			until(t, fmt.Sprintf("state %s", state), func() bool {
				s = dump(t, d)[c]
				return s.State == state && s.WriteQueue == 0
			})
			if s.In() != 123457 || s.Out() != 7654321 || !s.Complete() {
				t.Errorf("%s %s: in %d, out %d", host, state, s.In(), s.Out())
			}
			if s.Local.String() != p.server.LocalAddr().String() || s.Remote.String() != p.server.RemoteAddr().String() {
				t.Errorf("%s: %s and %s, not %s and %s", host, s.Local, s.Remote, p.server.LocalAddr(), p.server.RemoteAddr())
			}
		}
		check(Established)
		if err := p.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		check(CloseWait)
		if err := p.server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		until(t, "the connection's end", func() bool { _, there := dump(t, d)[c]; return !there })
	}
}

// TestOnlyThePort: other ports' connections, the clients' own ends and listening
// sockets are not there.
func TestOnlyThePort(t *testing.T) {
	d := setup(t)
	a, b := connect(t, "127.0.0.1"), connect(t, "::1")
	sockets := dump(t, d)
	if len(sockets) != 2 || sockets[cookie(t, a.server)].State != Established || sockets[cookie(t, b.server)].State != Established {
		t.Errorf("%+v", sockets)
	}
	others, err := d.Dump(uint16(a.client.LocalAddr().(*net.TCPAddr).Port), nil)
	if err != nil || len(others) != 1 || others[0].Cookie != cookie(t, a.client) {
		t.Errorf("%+v, %v", others, err)
	}
}

// TestAgain reuses what it is given, and goes on after its socket broke.
func TestAgain(t *testing.T) {
	d := setup(t)
	p := connect(t, "127.0.0.1")
	room := make([]Socket, 3, 16)
	sockets, err := d.Dump(port, room)
	if err != nil || len(sockets) != 1 || &sockets[0] != &room[0] {
		t.Fatalf("%d sockets, %v", len(sockets), err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := unix.Dup3(int(null.Fd()), d.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if _, err = d.Dump(port, sockets); err == nil {
		t.Error("something that is no socket gives no error")
	}
	if got := dump(t, d); len(got) != 1 || got[cookie(t, p.server)].Cookie == 0 {
		t.Errorf("after the error: %+v", got)
	}
}

// TestUnprivileged opens and dumps without any capability.
func TestUnprivileged(t *testing.T) {
	setup(t)
	p := connect(t, "127.0.0.1")
	want := cookie(t, p.server)
	err := powerless(func() error {
		d := New()
		defer d.Close()
		sockets, err := d.Dump(port, nil)
		if err == nil && (len(sockets) != 1 || sockets[0].Cookie != want || !sockets[0].Complete()) {
			err = fmt.Errorf("%+v", sockets)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLikeSS compares every figure with what ss says of the same socket. Each is
// between those of a dump before and one after.
func TestLikeSS(t *testing.T) {
	d := setup(t)
	var pairs []pair
	for _, host := range []string{"127.0.0.1", "::1"} {
		idle, queries, closing, slow, unread := connect(t, host), connect(t, host), connect(t, host), connect(t, host), connect(t, host)
		pairs = append(pairs, idle, queries, closing, slow, unread)
		for range 100 {
			flow(t, queries.client, queries.server, 1000)
			flow(t, queries.server, queries.client, 100000)
		}
		flow(t, closing.client, closing.server, 77)
		closing.client.CloseWrite()
		unread.client.Write(make([]byte, 5000))
		fill(t, slow.server)
	}
	names := map[uint64]string{}
	for i, p := range pairs {
		names[cookie(t, p.server)] = []string{"idle", "queries", "closing", "slow", "unread"}[i%5]
	}
	quiet := func() bool {
		before := dump(t, d)
		time.Sleep(20 * time.Millisecond)
		for c, s := range dump(t, d) {
			if s.BytesReceived != before[c].BytesReceived || s.SegsIn != before[c].SegsIn && names[c] != "slow" {
				return false
			}
		}
		return len(before) == len(pairs)
	}
	until(t, "quiet", quiet)
	var before, after map[uint64]Socket
	var out string
	// A window probe of the slow one between the dumps would make three answers of one.
	until(t, "no probe", func() bool {
		before = dump(t, d)
		out = netnstest.Run(t, "ss", "-tinmoHe", "sport", "=", fmt.Sprintf(":%d", port))
		after = dump(t, d)
		for c, s := range after {
			if s.SegsOut != before[c].SegsOut || s.LastDataSent < before[c].LastDataSent {
				return false
			}
		}
		return true
	})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2*len(pairs) {
		t.Fatalf("%d lines of ss:\n%s", len(lines), out)
	}
	for i := 0; i < len(lines); i += 2 {
		said := parseSS(t, lines[i]+" "+lines[i+1])
		a, b := before[said.cookie], after[said.cookie]
		said.compare(t, names[said.cookie], a, b)
	}
	if t.Failed() {
		t.Log(out)
	}
}

// fill writes until nothing more can be.
func fill(t testing.TB, c *net.TCPConn) {
	t.Helper()
	chunk := bytes.Repeat([]byte{'x'}, 65536)
	for {
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Write(chunk); err != nil {
			return
		}
	}
}

// said is what ss says of a socket.
type said struct {
	cookie        uint64
	state         string
	local, remote string
	fields        map[string]string // the rest, by what stands before the colon
	words         map[string]bool   // and words without one
}

func parseSS(t testing.TB, text string) said {
	t.Helper()
	words := strings.Fields(text)
	s := said{state: words[0], local: words[3], remote: words[4], fields: map[string]string{}, words: map[string]bool{}}
	s.fields["rqueue"], s.fields["wqueue"] = words[1], words[2]
	for i, w := range words[5:] {
		name, value, ok := strings.Cut(w, ":")
		switch {
		case w == "delivery_rate":
			s.fields[w] = words[5+i+1]
		case ok:
			s.fields[name] = value
		default:
			s.words[w] = true
		}
	}
	var err error
	if s.cookie, err = strconv.ParseUint(s.fields["sk"], 16, 64); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return s
}

// number gives a field's number, 0 if ss leaves it out, what it does for zeros.
func (s *said) number(t testing.TB, name string) float64 {
	t.Helper()
	value := s.fields[name]
	if value == "" {
		return 0
	}
	if name == "rtt" {
		value, _, _ = strings.Cut(value, "/")
	}
	if name == "retrans" {
		_, value, _ = strings.Cut(value, "/")
	}
	value, _, _ = strings.Cut(value, "(")
	n, err := strconv.ParseFloat(strings.TrimRight(value, "mbps"), 64)
	if err != nil {
		t.Errorf("%s:%s: %v", name, s.fields[name], err)
	}
	return n
}

func (s *said) compare(t testing.TB, name string, a, b Socket) {
	t.Helper()
	if a.Cookie != s.cookie || b.Cookie != s.cookie {
		t.Errorf("socket %x of ss is not in the dump", s.cookie)
		return
	}
	if s.state != a.State.String() || s.local != a.Local.String() || s.remote != a.Remote.String() {
		t.Errorf("%s: ss has %s %s %s, the dump %s %s %s", name, s.state, s.local, s.remote, a.State, a.Local, a.Remote)
	}
	for option, bit := range map[string]uint8{"ts": OptionTimestamps, "sack": OptionSACK} {
		if s.words[option] != (a.Options&bit != 0) {
			t.Errorf("%s: options %b, ss says %s: %t", name, a.Options, option, s.words[option])
		}
	}
	if (s.fields["wscale"] != "") != (a.Options&OptionWindow != 0) {
		t.Errorf("%s: options %b, ss says wscale:%s", name, a.Options, s.fields["wscale"])
	}
	// unit is what the dump counts in, in the units of ss; off is how far ss rounds.
	for _, f := range []struct {
		field     string
		unit, off float64
		get       func(Socket) float64
	}{
		{"rqueue", 1, 0, func(s Socket) float64 { return float64(s.ReadQueue) }},
		{"wqueue", 1, 0, func(s Socket) float64 { return float64(s.WriteQueue) }},
		{"bytes_received", 1, 0, func(s Socket) float64 { return float64(s.BytesReceived) }},
		{"bytes_sent", 1, 0, func(s Socket) float64 { return float64(s.BytesSent) }},
		{"bytes_retrans", 1, 0, func(s Socket) float64 { return float64(s.BytesRetrans) }},
		{"segs_in", 1, 0, func(s Socket) float64 { return float64(s.SegsIn) }},
		{"segs_out", 1, 0, func(s Socket) float64 { return float64(s.SegsOut) }},
		{"data_segs_in", 1, 0, func(s Socket) float64 { return float64(s.DataSegsIn) }},
		{"data_segs_out", 1, 0, func(s Socket) float64 { return float64(s.DataSegsOut) }},
		{"rcv_ooopack", 1, 0, func(s Socket) float64 { return float64(s.OutOfOrder) }},
		{"retrans", 1, 0, func(s Socket) float64 { return float64(s.TotalRetrans) }},
		{"unacked", 1, 0, func(s Socket) float64 { return float64(s.Unacked) }},
		{"notsent", 1, 0, func(s Socket) float64 { return float64(s.NotsentBytes) }},
		{"delivery_rate", 8, 0, func(s Socket) float64 { return float64(s.DeliveryRate) }},
		{"rtt", 1e-3, 1e-3, func(s Socket) float64 { return float64(s.RTT) }},
		{"minrtt", 1e-3, 1e-3, func(s Socket) float64 { return float64(s.MinRTT) }},
		{"busy", 1e-3, 1, func(s Socket) float64 { return float64(s.BusyTime) }},
		{"rwnd_limited", 1e-3, 1, func(s Socket) float64 { return float64(s.RwndLimited) }},
		{"sndbuf_limited", 1e-3, 1, func(s Socket) float64 { return float64(s.SndbufLimited) }},
		{"lastsnd", 1, 0, func(s Socket) float64 { return float64(s.LastDataSent) }},
		{"lastrcv", 1, 0, func(s Socket) float64 { return float64(s.LastDataRecv) }},
	} {
		has, x, y := s.number(t, f.field), f.get(a)*f.unit, f.get(b)*f.unit
		if has < math.Min(x, y)-f.off || has > math.Max(x, y)+f.off {
			t.Errorf("%s: %s is %g by ss, %g before and %g after", name, f.field, has, x, y)
		}
	}
}

// powerless runs f on a thread of its own that has no capability.
func powerless(f func() error) error {
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&header, &none[0])
		if err == nil {
			err = f()
		}
		errs <- err
	}()
	return <-errs
}
