package account

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// noon is where the tests' wall clock starts.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a machine's two clocks, moved by hand.
type clock struct{ Instant }

func newClock() *clock { return &clock{Instant{Wall: noon.Add(3 * time.Second), Mono: time.Hour}} }

// pass lets time go by on both clocks.
func (c *clock) pass(d time.Duration) Instant {
	c.Wall, c.Mono = c.Wall.Add(d), c.Mono+d
	return c.Instant
}

// step sets the wall clock only, as an operator or NTP does.
func (c *clock) step(d time.Duration) { c.Wall = c.Wall.Add(d) }

// saw is a reading of n packets each way, of 100 bytes in and 1000 out each.
func saw(device string, n uint64) engine.Reading {
	return engine.Reading{Devices: []engine.DeviceCounts{{
		Device: device,
		Counts: engine.Counts{PacketsIn: n, PacketsOut: n, BytesIn: 100 * n, BytesOut: 1000 * n},
	}}}
}

func apply(l *Ledger, at Instant, r engine.Reading) { l.Apply(at, at.Wall, r) }

func only(t *testing.T, l *Ledger) *Device {
	t.Helper()
	if len(l.Devices()) != 1 {
		t.Fatalf("%d devices, want 1", len(l.Devices()))
	}
	return l.Devices()[0]
}

// sum adds up what the intervals of a device show, with the open one.
func sum(d *Device) engine.Counts {
	c := d.Open
	for _, i := range d.History() {
		c.Add(i.Counts)
	}
	return c
}

func wantRows(t *testing.T, d *Device, want ...string) {
	t.Helper()
	var got []string
	for _, i := range d.History() {
		got = append(got, fmt.Sprintf("%s %gs %d", i.Start.Format("15:04:05"), i.Covered.Seconds(), i.PacketsIn))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("rows\n got %q\nwant %q", got, want)
	}
}

func TestIntervalsAreAlignedToTheWallClock(t *testing.T) {
	c := newClock() // 12:00:03
	l := New(c.Instant, 10*time.Second, 60, 100)
	apply(l, c.pass(7*time.Second), saw("eth0", 7))
	apply(l, c.pass(5*time.Second), saw("eth0", 5))
	apply(l, c.pass(5*time.Second), saw("eth0", 5))
	apply(l, c.pass(10*time.Second+3*time.Millisecond), saw("eth0", 10)) // a late wake-up
	apply(l, c.pass(10*time.Second), saw("eth0", 0))
	wantRows(t, only(t, l), "12:00:03 7s 7", "12:00:10 10s 10", "12:00:20 10.003s 10", "12:00:30 10s 0")
	if want := noon.Add(50 * time.Second); !l.NextBoundary().Equal(want) {
		t.Errorf("next boundary %s, want %s", l.NextBoundary(), want)
	}
}

func TestClockStepsNeitherLoseNorInvent(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 4 * time.Second, -4 * time.Second} {
		t.Run(step.String(), func(t *testing.T) {
			c := newClock()
			l := New(c.Instant, 10*time.Second, 1000, 100)
			var total, covered time.Duration
			for i := range 50 {
				if i == 20 {
					c.step(step)
				}
				apply(l, c.pass(time.Second), saw("eth0", 1))
				total += time.Second
			}
			d := only(t, l)
			for _, i := range d.History() {
				covered += i.Covered
				if got := float64(i.PacketsIn) / i.Covered.Seconds(); got != 1 {
					t.Errorf("row %s: %g packets a second, want 1", i.Start.Format("15:04:05"), got)
				}
			}
			_, open := l.OpenInterval()
			if covered+open != total {
				t.Errorf("%s covered, want %s", covered+open, total)
			}
			if sum(d) != d.Total || d.Total.PacketsIn != 50 {
				t.Errorf("intervals have %+v, total %+v", sum(d), d.Total)
			}
			if n := len(d.History()); n > 6 {
				t.Errorf("%d rows for 50 seconds", n)
			}
		})
	}
}

// TestSumsAgree drives a ledger at random and holds it to what must always be
// true: the intervals add up to the totals, and cover the time that passed.
func TestSumsAgree(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := newClock()
		l := New(c.Instant, 10*time.Second, 1<<20, 100)
		var packets uint64
		var covered time.Duration
		for range 300 {
			switch r.IntN(12) {
			case 0:
				c.step(time.Duration(r.Int64N(int64(2*time.Hour))) - time.Hour)
			case 1:
				// Everything is read until now, as the agent does it.
				l.Configure(c.Instant, time.Duration(1+r.IntN(90))*time.Second, 1<<20, 100)
			case 2:
				l.Uncovered(c.Instant)
				l.Cover(c.pass(time.Duration(r.Int64N(int64(time.Minute)))))
			default:
				d, n := time.Duration(r.Int64N(int64(25*time.Second))), r.Uint64N(1000)
				apply(l, c.pass(d), saw("eth0", n))
				packets, covered = packets+n, covered+d
			}
		}
		d := only(t, l)
		if sum(d) != d.Total || d.Total.PacketsIn != packets {
			t.Fatalf("seed %d: intervals have %+v, total %+v, seen %d", seed, sum(d), d.Total, packets)
		}
		_, got := l.OpenInterval()
		for _, i := range d.History() {
			got += i.Covered
		}
		// An interval in which the device was never read is no row of it.
		if got > covered {
			t.Fatalf("seed %d: %s covered of %s", seed, got, covered)
		}
	}
}

func TestChangedIntervalEndsTheOpenOne(t *testing.T) {
	c := newClock()
	l := New(c.Instant, 10*time.Second, 60, 100)
	apply(l, c.pass(7*time.Second), saw("eth0", 7))
	apply(l, c.pass(4*time.Second), saw("eth0", 4))
	l.Configure(c.Instant, time.Minute, 60, 100)
	apply(l, c.pass(46*time.Second), saw("eth0", 46))
	wantRows(t, only(t, l), "12:00:03 7s 7", "12:00:10 4s 4", "12:00:14 46s 46")
	l.Configure(c.Instant, time.Minute, 2, 100)
	wantRows(t, only(t, l), "12:00:10 4s 4", "12:00:14 46s 46")
}

func TestGapIsNotCovered(t *testing.T) {
	c := newClock()
	l := New(c.Instant, 10*time.Second, 60, 100)
	apply(l, c.pass(2*time.Second), saw("eth0", 2)) // 12:00:05
	l.Uncovered(c.Instant)
	if g := l.Gaps(); g.Count != 1 || !g.LastEnd.IsZero() {
		t.Errorf("a gap that lasts: %+v", g)
	}
	l.Cover(c.pass(3 * time.Second))
	apply(l, c.pass(2*time.Second), saw("eth0", 2))
	wantRows(t, only(t, l), "12:00:03 4s 4")
	g := l.Gaps()
	if g.Count != 1 || g.Total != 3*time.Second || !g.LastStart.Equal(noon.Add(5*time.Second)) || !g.LastEnd.Equal(noon.Add(8*time.Second)) {
		t.Errorf("the gap: %+v", g)
	}
}

func TestResetForgetsEverything(t *testing.T) {
	c := newClock()
	l := New(c.Instant, 10*time.Second, 60, 100)
	r := saw("eth0", 7)
	r.Lost = 5
	apply(l, c.pass(7*time.Second), r)
	l.Uncovered(c.Instant)
	l.Reset(c.pass(time.Second))
	if len(l.Devices()) != 0 || l.Lost() != 0 || !l.ResetAt().Equal(c.Wall) {
		t.Errorf("after a reset: %d devices, %d lost, since %s", len(l.Devices()), l.Lost(), l.ResetAt())
	}
	l.Cover(c.pass(time.Second))
	if g := l.Gaps(); g.Count != 1 || g.Total != time.Second {
		t.Errorf("the part of a gap after the reset: %+v", g)
	}
	apply(l, c.pass(time.Second), saw("eth0", 1))
	if d := only(t, l); d.Total.PacketsIn != 1 || sum(d) != d.Total {
		t.Errorf("after a reset: %+v", d)
	}
}

func TestRestore(t *testing.T) {
	saved := Saved{
		Devices:     []SavedDevice{{Name: "eth0", Total: engine.Counts{PacketsIn: 30}, Open: engine.Counts{PacketsIn: 10}}},
		History:     []Interval{{Device: "eth0", Start: noon.Add(-10 * time.Second), Covered: 10 * time.Second, Counts: engine.Counts{PacketsIn: 20}}},
		OpenStart:   noon,
		OpenCovered: time.Second,
		Reset:       noon.Add(-time.Hour),
		Lost:        3,
		Until:       noon.Add(time.Second),
	}
	t.Run("within the interval", func(t *testing.T) {
		c := newClock() // 12:00:03
		l := New(c.Instant, 10*time.Second, 60, 100)
		l.Restore(c.Instant, saved)
		l.Cover(c.pass(time.Second))
		apply(l, c.pass(6*time.Second), saw("eth0", 6))
		wantRows(t, only(t, l), "11:59:50 10s 20", "12:00:00 7s 16")
		if d := only(t, l); d.Total.PacketsIn != 36 || sum(d) != d.Total {
			t.Errorf("intervals have %+v, total %+v", sum(d), d.Total)
		}
		if g := l.Gaps(); g.Count != 1 || g.Total != 3*time.Second {
			t.Errorf("the gap: %+v", g)
		}
		if l.Lost() != 3 || !l.ResetAt().Equal(saved.Reset) {
			t.Errorf("%d lost since %s", l.Lost(), l.ResetAt())
		}
	})
	t.Run("after the interval", func(t *testing.T) {
		c := newClock()
		c.pass(time.Hour)
		l := New(c.Instant, 10*time.Second, 60, 100)
		l.Restore(c.Instant, saved)
		l.Cover(c.pass(time.Second))
		apply(l, c.pass(time.Second), saw("eth0", 1))
		wantRows(t, only(t, l), "11:59:50 10s 20", "12:00:00 1s 10")
	})
	t.Run("from a clock that was ahead", func(t *testing.T) {
		c := newClock()
		c.step(-time.Hour)
		l := New(c.Instant, 10*time.Second, 60, 100)
		l.Restore(c.Instant, saved)
		l.Cover(c.Instant)
		if d := only(t, l); sum(d) != d.Total || d.Total.PacketsIn != 30 {
			t.Errorf("intervals have %+v, total %+v", sum(d), d.Total)
		}
		if g := l.Gaps(); g.Total != 0 {
			t.Errorf("a gap of %s", g.Total)
		}
	})
}

func TestDevicesAreBoundedAndSumsExact(t *testing.T) {
	c := newClock()
	l := New(c.Instant, 10*time.Second, 60, 100)
	var want uint64
	for i := range 1000 {
		n := uint64(i%7 + 1)
		apply(l, c.pass(time.Second), saw(fmt.Sprintf("veth%d", i), n))
		want += n
	}
	var got uint64
	for _, d := range l.Devices() {
		got += d.Total.PacketsIn
	}
	if len(l.Devices()) > 100 || got != want {
		t.Errorf("%d devices have %d packets, want %d", len(l.Devices()), got, want)
	}
}

func TestRowsOfADeviceThatIsGoneGrowOld(t *testing.T) {
	c := newClock()
	l := New(c.Instant, 10*time.Second, 3, 100)
	for range 10 {
		apply(l, c.pass(10*time.Second), saw("eth0", 1))
	}
	for i := range 10 {
		apply(l, c.pass(10*time.Second), saw("eth1", 1))
		if n := len(l.Devices()[0].History()); n > max(3-i, 0) && i > 0 {
			t.Errorf("%d intervals later there are %d rows of the device that is gone", i+1, n)
		}
	}
	if d := l.Devices()[0]; d.Total.PacketsIn != 10 || d.LastCovered == 0 || !d.Last.Zero() {
		t.Errorf("its account: %+v", d)
	}
}

// A device that came and went without a packet is forgotten with its last row; one
// that counted anything keeps its total.
func TestDeviceWithNothingToShowIsForgotten(t *testing.T) {
	c := newClock()
	l := New(c.Instant, 10*time.Second, 3, 100)
	both := saw("eth0", 1)
	both.Devices = append(both.Devices, saw("idle", 0).Devices...)
	apply(l, c.pass(7*time.Second), both)
	if len(l.Devices()) != 2 {
		t.Fatalf("%d devices at first", len(l.Devices()))
	}
	for range 5 {
		apply(l, c.pass(10*time.Second), engine.Reading{})
	}
	if d := only(t, l); d.Name != "eth0" || d.Total.PacketsIn != 1 {
		t.Errorf("kept %+v", d)
	}
}
