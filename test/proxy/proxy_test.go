package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// plain makes a server without pg_netstat.
func plain(t *testing.T) *harness.Server {
	t.Helper()
	return harness.NewServer(t, harness.Options{Settings: harness.Settings{"shared_preload_libraries": ""}})
}

var loopback = netip.MustParseAddr("127.0.0.1")

// before makes a proxy before a server, whose clients seem to come from an address.
func before(t *testing.T, s *harness.Server, from string, o Options) (*Proxy, harness.Address) {
	t.Helper()
	o.Listen = func() (net.Listener, error) { return s.Host.Listen(loopback) }
	o.Dial = func() (net.Conn, error) {
		return s.Host.Dial(netip.AddrPortFrom(netip.MustParseAddr(from), 0), s.At(loopback))
	}
	p := New(t, o)
	return p, harness.Address{Addr: p.Addr(), Port: p.Port()}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	s := plain(t)
	p, at := before(t, s, "127.0.0.7", Options{})
	c := s.Host.NewClient(t, at, "")
	var from string
	if err := c.QueryRow(context.Background(), "SELECT host(inet_client_addr())").Scan(&from); err != nil || from != "127.0.0.7" {
		t.Errorf("the server sees a client at %s: %v", from, err)
	}
	c.Exec(t, "SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
	if sum, open := p.Total(); open != 1 || sum.Out < 1_000_000 {
		t.Errorf("%d connections are open, %+v", open, sum)
	}
	c.Close()
	if got, want := p.Done(t), (Bytes{c.In.Load(), c.Out.Load()}); got != want {
		t.Errorf("the proxy counted %+v, its client %+v", got, want)
	}
	s.Host.Pgbench(t, at, "-i", "-q", "-I", "dtg")
	s.Host.Pgbench(t, at, "-S", "-C", "-c", "2", "-t", "20")
	p.Done(t)
	if n := len(p.Sessions()); n < 42 {
		t.Errorf("there were %d connections", n)
	}
}

// TestMessages counts the same messages with TLS and without: all that a plain
// connection bears, and the server's bytes in a TLS connection are more.
func TestMessages(t *testing.T) {
	t.Parallel()
	s := plain(t)
	pair := s.EnableTLS(t)
	var seen [2]Session
	for i, mode := range []string{"disable", "require"} {
		p, at := before(t, s, "127.0.0.1", Options{Messages: true, TLS: &pair})
		s.Host.Run(t, "psql", "-X", "-q", "-At", fmt.Sprintf("host=%s port=%d dbname=postgres application_name=one sslmode=%s", at.Addr, at.Port, mode),
			"-c", "SELECT generate_series(1, 100)", "-c", "COPY (SELECT generate_series(1, 50)) TO STDOUT")
		p.Done(t)
		if len(p.Sessions()) != 1 {
			t.Fatalf("sessions: %v", p.Sessions())
		}
		seen[i] = p.Sessions()[0]
	}
	open, hidden := seen[0], seen[1]
	out := open.Messages.Out
	for kind, n := range map[byte]int64{'R': 1, 'K': 1, 'T': 1, 'D': 100, 'C': 2, 'Z': 3, 'H': 1, 'd': 50, 'c': 1} {
		if out[kind].Messages != n {
			t.Errorf("%d messages %c, want %d", out[kind].Messages, kind, n)
		}
	}
	if in := open.Messages.In; in['Q'].Messages != 2 || in['X'] != (Tally{1, 5}) || len(in) != 2 {
		t.Errorf("the client's messages: %v", in)
	}
	if Sum(out).Bytes != open.Out || open.Startup["application_name"] != "one" || open.TLS {
		t.Errorf("the plain connection: %v", open)
	}
	if a, b := fmt.Sprint(hidden.Messages), fmt.Sprint(open.Messages); a != b || !hidden.TLS {
		t.Errorf("messages in TLS: %s; without: %s", a, b)
	}
	if hidden.Out <= open.Out {
		t.Errorf("with TLS %d bytes, without %d", hidden.Out, open.Out)
	}
}

func TestCancelRequest(t *testing.T) {
	t.Parallel()
	s := plain(t)
	p, at := before(t, s, "127.0.0.1", Options{Messages: true})
	c := s.Host.NewClient(t, at, "")
	other, err := s.Host.Dial(netip.AddrPort{}, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, other); n != 0 || err != nil {
		t.Errorf("the answer is %d bytes: %v", n, err)
	}
	other.Close()
	harness.Until(t, time.Minute, "the request's end", func() error {
		for _, one := range p.Sessions() {
			if one.Cancel && !one.Open && one.Bytes == (Bytes{16, 0}) {
				return nil
			}
		}
		return fmt.Errorf("%v", p.Sessions())
	})
	c.Exec(t, "SELECT 1")
}

// TestHold: a proxy that does not read makes the server wait, and what it reads in
// the end is all that was sent.
func TestHold(t *testing.T) {
	t.Parallel()
	s := plain(t)
	p, at := before(t, s, "127.0.0.1", Options{})
	c := s.Host.NewClient(t, at, "")
	p.Hold()
	done := make(chan error, 1)
	go func() {
		_, err := c.PgConn().Exec(context.Background(), "SELECT repeat('x', 1000) FROM generate_series(1, 30000)").ReadAll()
		done <- err
	}()
	harness.Until(t, time.Minute, "the server waiting", func() error {
		if n := harness.Value[int64](t, s, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"); n != 1 {
			return errors.New("it does not")
		}
		return nil
	})
	if sum, _ := p.Total(); sum.Out > 25_000_000 {
		t.Errorf("it has read %d bytes", sum.Out)
	}
	p.Release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := p.Done(t); got.Out != c.Out.Load() || got.Out < 30_000_000 {
		t.Errorf("the proxy read %d bytes, its client %d", got.Out, c.Out.Load())
	}
}

// TestSlow: delay and rate are what was said at least.
func TestSlow(t *testing.T) {
	t.Parallel()
	s := plain(t)
	_, late := before(t, s, "127.0.0.1", Options{Delay: 100 * time.Millisecond})
	c := s.Host.NewClient(t, late, "")
	begin := time.Now()
	c.Exec(t, "SELECT 1")
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("an answer came after %s, with a delay of 100 ms each way", took)
	}
	_, slow := before(t, s, "127.0.0.1", Options{Rate: 1_000_000})
	c = s.Host.NewClient(t, slow, "")
	begin = time.Now()
	c.Exec(t, "SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
	if took := time.Since(begin); took < 900*time.Millisecond {
		t.Errorf("a megabyte came within %s, at one a second", took)
	}
}

// TestReset: a client that is killed is a connection that is reset, for the server
// too.
func TestReset(t *testing.T) {
	t.Parallel()
	s := plain(t)
	p, at := before(t, s, "127.0.0.1", Options{})
	c, err := s.Host.Dial(netip.AddrPort{}, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
	p.Done(t)
	if len(p.Sessions()) != 1 {
		t.Errorf("%v", p.Sessions())
	}
}

// TestNoLook: a proxy that counts messages says so if TLS keeps them from it.
func TestNoLook(t *testing.T) {
	t.Parallel()
	s := plain(t)
	s.EnableTLS(t)
	o := Options{Messages: true}
	o.Listen = func() (net.Listener, error) { return s.Host.Listen(loopback) }
	o.Dial = func() (net.Conn, error) { return s.Host.Dial(netip.AddrPort{}, s.At(loopback)) }
	l, err := o.Listen()
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{o: o, listener: l}
	defer p.close()
	p.running.Add(1)
	go p.accept()
	client, err := s.Host.Dial(netip.AddrPort{}, harness.Address{Addr: p.Addr(), Port: p.Port()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		t.Fatal(err)
	}
	if err := tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("the client talks TLS through it")
	}
	harness.Until(t, time.Minute, "what is wrong", func() error {
		if all := p.Sessions(); len(all) == 0 || all[0].Err == nil {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
}
