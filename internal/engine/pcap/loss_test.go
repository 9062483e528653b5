package pcap

import (
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

// What does not fit is told: counted and lost together are what was there.
func TestLossIsTold(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	small := defaults
	small.BufferSize = 131070
	s := mustOpen(t, small, target(t, "pcn0"))
	r := s.readers[0]
	load := w.load(t, 8, 40)
	time.Sleep(100 * time.Millisecond)
	// As if the agent got no CPU: neither the queue nor the ring are emptied.
	r.mu.Lock()
	for before := r.losses(); ; time.Sleep(10 * time.Millisecond) {
		if l := r.losses(); l.dropped[0] > before.dropped[0]+1000 {
			break
		}
	}
	r.mu.Unlock()
	load.stop()
	settle(t)
	got := reading(t, s)
	want := w.truth(t)
	if got.Lost < 1000 {
		t.Errorf("lost %d", got.Lost)
	}
	c := total(got)
	// Among the lost may be some that are not TCP: the kernel's filter passes on
	// what is behind extension headers.
	sum, all := c.PacketsIn+c.PacketsOut+got.Lost, want.PacketsIn+want.PacketsOut
	if sum < all || sum > all+20 {
		t.Errorf("%d packets are counted or lost of %d", sum, all)
	}
	if again := reading(t, s); again.Lost != 0 {
		t.Errorf("lost %d again", again.Lost)
	}
}

// On loopback the buffer gets each packet twice, but it is lost once.
func TestLossOnLoopback(t *testing.T) {
	netnstest.Need(t)
	ip(t, "link set lo up")
	small := defaults
	small.BufferSize = 131070
	s := mustOpen(t, small, target(t, "lo"))
	netnstest.Run(t, "nft", onLoopback)
	defer netnstest.Run(t, "nft", "delete table inet lot")
	serve(t, "tcp4", "127.0.0.1", 40)
	c := dialHere(t, "127.0.0.1")
	r := s.readers[0]
	r.mu.Lock() // as if the agent got no CPU
	var err error
	for r.losses().dropped[0] < 2000 && err == nil {
		err = exchange(c, 1000, 40)
	}
	r.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	settle(t)
	got := reading(t, s)
	m := counter.FindAllStringSubmatch(netnstest.Run(t, "nft", "list table inet lot"), -1)
	if len(m) != 2 {
		t.Fatal("no counters")
	}
	all := number(t, m[0][1]) + number(t, m[1][1])
	// Of the packet at the edge one copy may have been dropped.
	if sum := got.Lost + total(got).PacketsIn + total(got).PacketsOut; got.Lost < 1000 || sum+2 < all || sum > all+2 {
		t.Errorf("%d packets are counted or lost of %d, lost %d", sum, all, got.Lost)
	}
}

// A burst out of nowhere is not lost with the default settings.
func TestBurst(t *testing.T) {
	w := newWire(t)
	const size = 8 << 20
	serve(t, "tcp4", serverAddr, size)
	s := mustOpen(t, defaults, target(t, "pcn0"))
	c := w.dial(t, "tcp4", serverAddr)
	defer c.Close()
	for range 5 {
		time.Sleep(300 * time.Millisecond)
		if err := exchange(c, 1, size); err != nil {
			t.Fatal(err)
		}
	}
	settle(t)
	r := reading(t, s)
	if got, want := total(r), w.truth(t); got != want || r.Lost != 0 {
		t.Errorf("got %+v, want %+v, lost %d", got, want, r.Lost)
	}
}

// patience is less than the longest timeout of libpcap's, for which nothing is to wait.
const patience = 10 * time.Second

// Every setting that the module allows can be used.
func TestSettings(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	tgt := target(t, "pcn0")
	for _, c := range []struct {
		name string
		s    Settings
	}{
		{"the least", Settings{131070, 96, time.Millisecond, 0}},
		{"large packets in a small buffer", Settings{131070, 65535, 50 * time.Millisecond, 5 * time.Second}},
		{"the most", Settings{90_000_000, 65535, 30 * time.Second, 10 * time.Second}},
		{"a large buffer of headers", Settings{90_000_000, 96, time.Second, 5 * time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.truth(t)
			s := mustOpen(t, c.s, tgt)
			conn := w.dial(t, "tcp4", serverAddr)
			if err := exchange(conn, 50, 40); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			settle(t)
			begin := time.Now()
			r := reading(t, s)
			if took := time.Since(begin); took > c.s.Wait+patience {
				t.Errorf("the reading took %v", took)
			}
			want := w.truth(t)
			subtract(&want, before)
			if c.s.Wait > 0 && total(r) != want {
				t.Errorf("got %+v, want %+v, lost %d", total(r), want, r.Lost)
			}
			begin = time.Now()
			if err := s.Close(); err != nil || time.Since(begin) > patience {
				t.Errorf("closing took %v: %v", time.Since(begin), err)
			}
		})
	}
}

// Without time to wait for late packets, they count in the next period.
func TestNoWait(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	settings := defaults
	settings.Wait = 0
	s := mustOpen(t, settings, target(t, "pcn0"))
	load := w.load(t, 4, 40)
	c := total(reading(t, s))
	for range 50 {
		time.Sleep(10 * time.Millisecond)
		c.Add(total(reading(t, s)))
	}
	load.stop()
	settle(t)
	settings.Wait = 5 * time.Second
	if err := s.Configure(settings); err != nil {
		t.Fatal(err)
	}
	c.Add(total(reading(t, s)))
	if want := w.truth(t); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if len(s.readers) != 1 {
		t.Error("captures were opened anew for another time to wait")
	}
}
