package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// session is a client's connection and the one to the server that is made for it.
type session struct {
	p              *Proxy
	client         net.Conn
	mu             sync.Mutex
	server         net.Conn // nil before it is connected
	known          Session
	toServer, from *stream // nil if messages are not counted
	ended          bool
}

// read gives a copy of what is known.
func (s *session) read() Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.known
	known.Open = !s.ended
	if s.from != nil {
		known.Messages = Messages{In: s.toServer.copy(), Out: s.from.copy()}
	}
	return known
}

func (s *session) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// abort ends both connections at once.
func (s *session) abort() {
	s.update(func() {
		s.client.Close()
		if s.server != nil {
			s.server.Close()
		}
	})
}

// wire counts what passes the connection to the server, below TLS.
type wire struct {
	net.Conn
	s *session
}

func (w wire) Read(b []byte) (int, error) {
	// One that is slow to read does not take what is there.
	w.s.p.reading.RLock()
	w.s.p.reading.RUnlock() //nolint:staticcheck // only waits until it is free
	if rate := w.s.p.o.Rate; rate > 0 {
		b = b[:min(len(b), int(max(rate/50, 1)))]
		defer time.Sleep(time.Second / 50)
	}
	n, err := w.Conn.Read(b)
	w.s.update(func() { w.s.known.Out += int64(n) })
	return n, err
}

func (w wire) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	w.s.update(func() { w.s.known.In += int64(n) })
	return n, err
}

// run serves one client.
func (s *session) run() {
	defer s.update(func() { s.ended = true })
	defer s.client.Close()
	conn, err := s.p.o.Dial()
	if err != nil {
		s.fail(err)
		return
	}
	defer conn.Close()
	s.update(func() { s.server = conn })
	var client, server net.Conn = s.client, wire{conn, s}
	if s.p.o.Messages {
		client, server, err = s.negotiate(client, server)
		if err != nil {
			s.fail(err)
			return
		}
	}
	var both sync.WaitGroup
	both.Add(2)
	go func() {
		defer both.Done()
		s.pump(server, client, s.toServer)
	}()
	go func() {
		defer both.Done()
		s.pump(client, server, s.from)
	}()
	both.Wait()
}

// fail notes why there is nothing to witness, unless a client or the server only
// went away.
func (s *session) fail(err error) {
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) {
		return
	}
	s.update(func() { s.known.Err = err })
}

// pump hands on from one to the other until there is no more. What one can no
// longer take is read all the same: the server sent it.
func (s *session) pump(to, from net.Conn, count *stream) {
	var out io.Writer = to
	flush := func() {}
	if s.p.o.Delay > 0 {
		late := newLater(to, s.p.o.Delay)
		out, flush = late, late.close
	}
	buffer := make([]byte, 64<<10)
	broken := false
	for {
		n, err := from.Read(buffer)
		if n > 0 && count != nil {
			s.update(func() { count.pass(buffer[:n]) })
		}
		if n > 0 && !broken {
			_, e := out.Write(buffer[:n])
			broken = e != nil
		}
		if err != nil {
			flush()
			end(to, from, err)
			return
		}
	}
}

// end says to one side that the other has no more to say: in the way that it did.
func end(to, from net.Conn, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if c, ok := below(to).(*net.TCPConn); ok {
			if t, ok := to.(*tls.Conn); ok {
				_ = t.CloseWrite()
			}
			_ = c.CloseWrite()
			return
		}
	}
	if c, ok := below(to).(*net.TCPConn); ok {
		// A reset takes back what is still to be sent, and that was counted.
		acknowledged(c, time.Second)
		_ = c.SetLinger(0)
	}
	to.Close()
	from.Close()
}

// acknowledged waits until the other end's system has all that was written.
func acknowledged(c *net.TCPConn, patience time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		left := 0
		err := raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
		if err != nil || left == 0 {
			return
		}
	}
}

// below gives the connection that carries one.
func below(c net.Conn) net.Conn {
	for {
		switch outer := c.(type) {
		case *tls.Conn:
			c = outer.NetConn()
		case wire:
			c = outer.Conn
		default:
			return c
		}
	}
}

// later writes pieces some time after they came, each as much.
type later struct {
	pieces chan piece
	done   chan struct{}
	delay  time.Duration
}

type piece struct {
	data []byte
	due  time.Time
}

func newLater(to io.Writer, delay time.Duration) *later {
	l := &later{pieces: make(chan piece, 1000), done: make(chan struct{}), delay: delay}
	go func() {
		defer close(l.done)
		for p := range l.pieces {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.data)
		}
	}()
	return l
}

func (l *later) Write(b []byte) (int, error) {
	l.pieces <- piece{append([]byte(nil), b...), time.Now().Add(l.delay)}
	return len(b), nil
}

func (l *later) close() {
	close(l.pieces)
	<-l.done
}
