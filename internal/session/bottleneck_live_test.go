package session

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// stream writes until it cannot; sink reads until the end.
func stream(c net.Conn) {
	b := make([]byte, 65536)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

func sink(c net.Conn) { io.Copy(io.Discard, c) } //nolint:errcheck // until the end

// slowSink reads a megabyte a second.
func slowSink(c net.Conn) {
	b := make([]byte, 20000)
	for {
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// answer reads requests of 100 bytes and answers each with size bytes after a while.
func answer(c net.Conn, size int, after time.Duration) {
	request, reply := make([]byte, 100), make([]byte, size)
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		time.Sleep(after)
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// ask sends requests and reads the answers, with a pause after each.
func ask(c net.Conn, size int, pause time.Duration) {
	request, reply := make([]byte, 100), make([]byte, size)
	for {
		if _, err := c.Write(request); err != nil {
			return
		}
		if _, err := io.ReadFull(c, reply); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// TestBottleneckOfRealConnections has each cause on real sockets. A word counts when
// several refreshes in a row say it.
func TestBottleneckOfRealConnections(t *testing.T) {
	const inARow = 4
	direct := newPath
	long := func(t *testing.T) *path { return newLongPath(t, 30*time.Millisecond) }
	lossy := func(t *testing.T) *path {
		p := newPath(t)
		p.lose(t, "10")
		return p
	}
	for _, c := range []struct {
		name string
		path func(*testing.T) *path
		load func(server, client net.Conn)
		want string
	}{
		{"nobody says anything", direct, func(_, _ net.Conn) {}, BottleneckNone},
		{"the client thinks", direct, func(s, c net.Conn) {
			go answer(s, 100, 0)
			go ask(c, 100, 20*time.Millisecond)
		}, BottleneckNone},
		{"the client has stopped reading", direct, func(s, _ net.Conn) { go stream(s) }, BottleneckClient},
		{"the client reads slowly", direct, func(s, c net.Conn) {
			go stream(s)
			go slowSink(c)
		}, BottleneckClient},
		{"a long answer over a path with loss", lossy, func(s, c net.Conn) {
			go stream(s)
			go sink(c)
		}, BottleneckNetwork},
		{"short answers over a path with loss", lossy, func(s, c net.Conn) {
			go answer(s, 100, 0)
			go ask(c, 100, 0)
		}, BottleneckNetwork},
		{"short answers over a long path", long, func(s, c net.Conn) {
			go answer(s, 100, 0)
			go ask(c, 100, 0)
		}, BottleneckNetwork},
		{"larger answers over a long path", long, func(s, c net.Conn) {
			go answer(s, 100000, 0)
			go ask(c, 100000, 0)
		}, BottleneckNetwork},
		{"the server does not answer", direct, func(s, c net.Conn) {
			go answer(s, 100, time.Hour)
			go ask(c, 100, 0)
		}, BottleneckServer},
		{"the server does not read", direct, func(_, c net.Conn) { go stream(c) }, BottleneckServer},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := c.path(t)
			s, client := p.connect(t)
			c.load(s, client)
			row, deadline := 0, time.Now().Add(30*time.Second)
			p.refreshes(t, client, 400*time.Millisecond, func(word string, before, now *sockdiag.Socket) bool {
				if row++; word != c.want {
					row = 0
					t.Logf("%s: %+v, then %+v", word, before, now)
				}
				if time.Now().After(deadline) {
					t.Errorf("never %q %d times in a row", c.want, inARow)
					return false
				}
				return row < inARow
			})
		})
	}
}
