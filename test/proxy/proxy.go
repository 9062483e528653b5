// Package proxy has a witness between clients and a PostgreSQL server. It counts
// by itself the bytes of every connection that it has with the server, and on request
// the messages in them, also those inside TLS, which it then ends on both sides. It can
// be a slow client, too.
//
// "In" is toward the server, "out" is from it, as everywhere.
package proxy

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Options say where a proxy stands and what it does.
type Options struct {
	Listen func() (net.Listener, error) // where clients come
	Dial   func() (net.Conn, error)     // to the server, from an address of the caller's choice

	// Messages counts them. Without, all is bytes to the proxy.
	Messages bool
	// TLS ends TLS on both sides, with this certificate for the clients. It needs
	// Messages: whether a client wants TLS is said in messages.
	TLS *tls.Certificate

	Delay time.Duration // how much later each piece is handed on
	Rate  int64         // bytes a second that are read from the server at most; 0 is no limit
}

// Proxy is one that runs, until the test that made it is over.
type Proxy struct {
	o        Options
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	sessions []*session
	closed   bool
	reading  sync.RWMutex // held for writing while nothing is read from the server
	held     bool
}

// New starts a proxy.
func New(t testing.TB, o Options) *Proxy {
	t.Helper()
	if o.TLS != nil && !o.Messages {
		t.Fatal("a proxy that ends TLS must look at messages")
	}
	l, err := o.Listen()
	if err != nil {
		t.Fatal("starting a proxy: ", err)
	}
	p := &Proxy{o: o, listener: l}
	p.running.Add(1)
	go p.accept()
	t.Cleanup(func() {
		p.close()
		for i, s := range p.Sessions() {
			if s.Err != nil {
				t.Errorf("session %d of the proxy: %v", i, s.Err)
			}
		}
	})
	return p
}

// Port is where clients reach the proxy, at the address that it listens on.
func (p *Proxy) Port() int {
	return int(p.listener.Addr().(*net.TCPAddr).AddrPort().Port())
}

// Addr is that address.
func (p *Proxy) Addr() netip.Addr {
	return p.listener.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
}

func (p *Proxy) accept() {
	defer p.running.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			client.Close()
			return
		}
		s := &session{p: p, client: client}
		p.sessions = append(p.sessions, s)
		p.running.Add(1)
		p.mu.Unlock()
		go func() {
			defer p.running.Done()
			s.run()
		}()
	}
}

// close ends all connections and waits for that.
func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	sessions := p.sessions
	p.mu.Unlock()
	p.listener.Close()
	p.Release()
	for _, s := range sessions {
		s.abort()
	}
	p.running.Wait()
}

// Hold stops reading from the server, as a client that has stopped does.
func (p *Proxy) Hold() {
	p.reading.Lock()
	p.mu.Lock()
	p.held = true
	p.mu.Unlock()
}

// Release reads on.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held {
		p.held = false
		p.reading.Unlock()
	}
}

// Sessions gives what is known of each connection, in the order they came.
func (p *Proxy) Sessions() []Session {
	p.mu.Lock()
	sessions := p.sessions
	p.mu.Unlock()
	all := make([]Session, len(sessions))
	for i, s := range sessions {
		all[i] = s.read()
	}
	return all
}

// Total gives the sum of all connections and how many are open.
func (p *Proxy) Total() (sum Bytes, open int) {
	for _, s := range p.Sessions() {
		sum = sum.Add(s.Bytes)
		if s.Open {
			open++
		}
	}
	return sum, open
}

// Done waits until no connection is open, and gives the sum of all.
func (p *Proxy) Done(t testing.TB) Bytes {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		sum, open := p.Total()
		if open == 0 {
			return sum
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections of the proxy are open after a minute", open)
		}
	}
}

// Bytes are those of the connection to the server, TLS included.
type Bytes struct{ In, Out int64 }

// Add gives the sum.
func (b Bytes) Add(o Bytes) Bytes { return Bytes{b.In + o.In, b.Out + o.Out} }

// Tally counts messages of one type; bytes are with type and length.
type Tally struct{ Messages, Bytes int64 }

// Messages are counted by their type, each direction by itself.
type Messages struct{ In, Out map[byte]Tally }

// Sum gives all of one direction.
func Sum(of map[byte]Tally) Tally {
	var sum Tally
	for _, t := range of {
		sum.Messages += t.Messages
		sum.Bytes += t.Bytes
	}
	return sum
}

// Session is what is known of one connection.
type Session struct {
	Bytes
	Open bool
	Err  error // why it could not be witnessed

	// Only if messages are counted:
	TLS      bool
	Cancel   bool              // it was a request to cancel a query
	Startup  map[string]string // what the client said first: user, database, application_name …
	Messages Messages
}

func (s Session) String() string {
	return fmt.Sprintf("%v: %+v, out %+v", s.Startup, s.Bytes, Sum(s.Messages.Out))
}
