package test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// sockets asks ss, by the client's port, for what the kernel says of the server's
// connections: name and value of each figure, without units.
func sockets(t *testing.T, s *harness.Server) map[int]map[string]float64 {
	t.Helper()
	all := map[int]map[string]float64{}
	for line := range strings.Lines(s.Host.Run(t, "ss", "-tinHO", "state", "established", fmt.Sprintf("sport = :%d", s.Port))) {
		f := strings.Fields(line)
		peer, err := netip.ParseAddrPort(f[3])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		figures := map[string]float64{}
		for i, word := range f[4:] {
			name, value, _ := strings.Cut(word, ":")
			if word == "delivery_rate" {
				name, value = word, strings.TrimSuffix(f[4:][i+1], "bps")
			}
			if name == "retrans" {
				_, value, _ = strings.Cut(value, "/") // "now/ever"
			}
			value, _, _ = strings.Cut(value, "/")
			value, _, _ = strings.Cut(value, "(")
			if v, err := strconv.ParseFloat(strings.TrimSuffix(value, "ms"), 64); err == nil {
				figures[name] = v
			}
		}
		all[int(peer.Port())] = figures
	}
	return all
}

// near tells whether a figure is what ss said, as precisely as that is printed.
func near(got *float64, want, tolerance float64) bool {
	return got != nil && *got >= want-tolerance && *got <= want+tolerance
}

func equal(got *int64, want float64) bool { return got != nil && *got == int64(want) }

// TestHealth compares each figure of a live session with that of ss for the same
// socket. The sessions are idle, so that nothing changes between the two.
func TestHealth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	clients := []*harness.Client{
		w.as(t, "alice"), w.as(t, "alice", "application_name=big"),
		w.client().NewClient(t, w.v6(), "user=alice application_name=six"),
	}
	for i, c := range clients {
		c.Exec(t, fmt.Sprintf("SELECT repeat('x', %d)", 1+i*3_000_000))
	}
	w.s.CaughtUp(t)
	asked := time.Now()
	kernel, live := sockets(t, w.s), w.s.Live(t)
	for _, c := range clients {
		l := live[c.Pid()]
		if l.ClientPort == nil {
			t.Fatalf("the session of %d is %+v", c.Pid(), l)
		}
		k := kernel[int(*l.ClientPort)]
		t.Logf("%+v", k)
		for what, same := range map[string]bool{
			"bytes_in":               equal(l.BytesIn, k["bytes_received"]),
			"bytes_out":              float64(l.BytesOut) == k["bytes_sent"]-k["bytes_retrans"],
			"segments_in":            equal(l.SegmentsIn, k["segs_in"]),
			"segments_out":           equal(l.SegmentsOut, k["segs_out"]),
			"retransmitted_bytes":    equal(l.RetransmittedBytes, k["bytes_retrans"]),
			"retransmitted_segments": equal(l.RetransmittedSegs, k["retrans"]),
			"rtt":                    near(l.RTT, k["rtt"], 0.001),
			"min_rtt":                near(l.MinRTT, k["minrtt"], 0.001),
			"delivery_rate":          near(l.DeliveryRate, k["delivery_rate"]/8, 1),
			"unacknowledged_bytes":   equal(l.Unacknowledged, 0),
			"unsent_bytes":           equal(l.Unsent, k["notsent"]),
			"receive_window_limited": near(l.WindowLimited, k["rwnd_limited"], 1),
			"send_buffer_limited":    near(l.BufferLimited, k["sndbuf_limited"], 1),
			"busy":                   near(l.Busy, k["busy"], 1),
			"last_data_sent":         around(l.LastDataSent, asked, k["lastsnd"]),
			"last_data_received":     around(l.LastDataReceived, asked, k["lastrcv"]),
		} {
			if !same {
				t.Errorf("%s of %q is not what ss says: %+v, ss has %v", what, l.Application, l, k)
			}
		}
		if l.Bottleneck != "none" {
			t.Errorf("an idle session has the bottleneck %q", l.Bottleneck)
		}
		if l.BytesOut != c.Out.Load() || *l.BytesIn != c.In.Load() || l.Network != harness.Other || l.TLS {
			t.Errorf("the session is %+v", l)
		}
	}
}

// around tells whether a moment is some milliseconds before another; the kernel's
// clock of milliseconds and the machine allow for a second.
func around(got *time.Time, now time.Time, before float64) bool {
	if got == nil {
		return false
	}
	off := got.Sub(now.Add(-time.Duration(before * float64(time.Millisecond))))
	return off.Abs() < time.Second
}

// flow keeps a session busy sending as fast as its client takes it.
func flow(t *testing.T, c *harness.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = c.PgConn().Exec(ctx, "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT").ReadAll()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// bottleneck waits until the word for a session is what it should be, most of
// the times that it is said anew.
func bottleneck(t *testing.T, s *harness.Server, pid int, want string) harness.Live {
	t.Helper()
	var l harness.Live
	var said []string
	harness.Until(t, 2*time.Minute, "the bottleneck "+want, func() error {
		s.CaughtUp(t)
		l = s.Live(t)[pid]
		said = append(said, l.Bottleneck)
		recent, right := said[max(len(said)-5, 0):], 0
		for _, word := range recent {
			if word == want {
				right++
			}
		}
		if right < 4 {
			return fmt.Errorf("it was %v; the session is %+v", said, l)
		}
		return nil
	})
	return l
}

// TestBottleneckClient: a client that has stopped reading.
func TestBottleneckClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	c := w.as(t, harness.Account)
	pid := c.Pid()
	conn := raw(t, c)
	ask(t, conn, much)
	blocked(t, w.s, pid)
	l := bottleneck(t, w.s, pid, "client")
	var k map[string]float64
	for _, k = range sockets(t, w.s) {
	}
	if l.Unsent == nil || *l.Unsent == 0 || !equal(l.Unsent, k["notsent"]) || l.WindowLimited == nil || *l.WindowLimited < 1000 {
		t.Errorf("the session is %+v, ss has %v", l, k)
	}
}

// TestBottleneckLoss: a path that drops every eighth packet, by chance.
func TestBottleneckLoss(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	c := w.as(t, harness.Account)
	w.client().Run(t, "nft", fmt.Sprintf(`table netdev loss {
		chain ingress { type filter hook ingress device "%s" priority 1; tcp sport %d numgen random mod 8 == 0 drop; }
	}`, w.link.Client.Device, w.s.Port))
	flow(t, c)
	l := bottleneck(t, w.s, c.Pid(), "network")
	if *l.RetransmittedBytes == 0 || *l.RetransmittedSegs == 0 {
		t.Errorf("nothing was sent again: %+v", l)
	}
}

// TestBottleneckDelay: a path of 60 ms each way.
func TestBottleneckDelay(t *testing.T) {
	t.Parallel()
	const each = 60 * time.Millisecond
	w := &world{link: harness.NewLongLink(t, harness.NewHost(t), harness.NewHost(t), each)}
	w.s = harness.NewServer(t, harness.Options{Host: w.link.Server.Host, Settings: settingsFor("ebpf")})
	w.s.Await(t, "ebpf")
	c := w.as(t, harness.Account)
	flow(t, c)
	l := bottleneck(t, w.s, c.Pid(), "network")
	if least := 2 * each.Seconds() * 1000; l.RTT == nil || *l.RTT < least || l.MinRTT == nil || *l.MinRTT < least {
		t.Errorf("the path takes %g ms there and back, the session is %+v", least, l)
	}
}
