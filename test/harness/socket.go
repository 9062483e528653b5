package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// In runs a function on a thread that is in the namespace. What sockets it makes
// stay there, whoever uses them.
func (h *Host) In(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// Where the first thread is, the process is said to be. While this one
			// holds it, another goroutine is on another.
			defer runtime.UnlockOSThread()
			done <- h.In(f)
			return
		}
		// Never unlocked: the thread ends with the goroutine.
		done <- h.enter(f)
	}()
	return <-done
}

// enter runs f in the namespace, where the thread stays.
func (h *Host) enter(f func() error) error {
	fd, err := unix.Open(filepath.Join(netnsDir, h.Name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the namespace %s: %w", h.Name, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the namespace %s: %w", h.Name, err)
	}
	return f()
}

// Dial connects from the namespace, and from an address of it if that is valid;
// port 0 is any.
func (h *Host) Dial(from netip.AddrPort, to Address) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	var c net.Conn
	err := h.In(func() (err error) {
		c, err = d.Dial("tcp", netip.AddrPortFrom(to.Addr, uint16(to.Port)).String())
		return err
	})
	return c, err
}

// Listen takes connections in the namespace, at any free port of an address.
func (h *Host) Listen(at netip.Addr) (net.Listener, error) {
	var l net.Listener
	err := h.In(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
		return err
	})
	return l, err
}

// Client is a connection to a server that knows what passed: In are the bytes that
// it wrote, Out those that it read.
type Client struct {
	*pgx.Conn
	In, Out atomic.Int64
}

// counted counts for its client.
type counted struct {
	net.Conn
	of *Client
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.of.Out.Add(int64(n))
	return n, err
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.of.In.Add(int64(n))
	return n, err
}

// TryClient connects over what dial gives, with the settings that a connection
// string has. Statements are sent by the simple protocol unless it says otherwise.
func TryClient(settings string, dial func() (net.Conn, error)) (*Client, error) {
	config, err := pgx.ParseConfig("host=server sslmode=disable user=" + Account + " dbname=postgres default_query_exec_mode=simple_protocol " + settings)
	if err != nil {
		return nil, err
	}
	c := &Client{}
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"server"}, nil }
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		conn, err := dial()
		if err != nil {
			return nil, err
		}
		return counted{conn, c}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.Conn, err = pgx.ConnectConfig(ctx, config)
	return c, err
}

// NewClient connects from the namespace; the test closes it if it is still open.
func (h *Host) NewClient(t testing.TB, to Address, settings string) *Client {
	t.Helper()
	return h.NewClientFrom(t, netip.AddrPort{}, to, settings)
}

// NewClientFrom is NewClient from an address of the namespace.
func (h *Host) NewClientFrom(t testing.TB, from netip.AddrPort, to Address, settings string) *Client {
	t.Helper()
	c, err := TryClient(settings, func() (net.Conn, error) { return h.Dial(from, to) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Exec runs statements.
func (c *Client) Exec(t testing.TB, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Pid is the server's process.
func (c *Client) Pid() int { return int(c.PgConn().PID()) }

// Close says goodbye, and returns when the server has closed the connection: so it
// is the server that closes first.
func (c *Client) Close() {
	h, err := c.PgConn().Hijack()
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Conn.Close(ctx)
		return
	}
	defer h.Conn.Close()
	goodbye := []byte{'X', 0, 0, 0, 4}
	if _, err := h.Conn.Write(goodbye); err == nil {
		_ = h.Conn.SetReadDeadline(time.Now().Add(patience))
		_, _ = io.Copy(io.Discard, h.Conn)
	}
}
