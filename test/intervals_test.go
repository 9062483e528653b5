package test

import (
	"sort"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// sample is what the truth said at some moment between from and until.
type sample struct {
	from, until time.Time
	harness.Counts
}

// sampler reads the truth all the time until stop is closed.
func sampler(t *testing.T, truth *harness.Truth, stop <-chan struct{}) <-chan []sample {
	result := make(chan []sample, 1)
	go func() {
		var all []sample
		defer func() { result <- all }()
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			s := sample{from: time.Now()}
			s.Counts = truth.Read(t)
			s.until = time.Now()
			all = append(all, s)
		}
	}()
	return result
}

// TestIntervals checks, at each of many boundaries under load, that the rows up
// to it have all that passed before the boundary and nothing that passed after
// their making, by samples of the truth around both; and that the sum of all is
// the truth, and the sum of the totals.
func TestIntervals(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.prepare(t)
		before := w.truth.Quiet(t)
		w.s.Reset(t)
		stop := make(chan struct{})
		sampled := sampler(t, w.truth, stop)
		// At a bounded rate, so that the samples leave a picture.
		w.client().Pgbench(t, w.v4(), "-S", "-M", "prepared", "-c", "4", "-R", "2000", "-T", "20")
		close(stop)
		samples := <-sampled
		truth := w.truth.Quiet(t).Sub(before)
		w.s.CaughtUp(t)
		rows := w.complete(t)
		if sum := harness.Sum(rows); sum != truth || w.s.Totals(t) != truth {
			t.Errorf("intervals have %+v, devices %+v, the truth is %+v", sum, w.s.Totals(t), truth)
		}
		for i := range samples {
			samples[i].Counts = samples[i].Sub(before)
		}
		checkBoundaries(t, rows, samples)
	})
}

func checkBoundaries(t *testing.T, rows []harness.Interval, samples []sample) {
	t.Helper()
	var upTo harness.Counts
	checked, widest := 0, int64(0)
	for i, r := range rows {
		upTo = upTo.Add(r.Counts)
		end := r.Start.Truncate(time.Second).Add(time.Second)
		if i > 0 && !r.Start.Equal(rows[i-1].Start.Truncate(time.Second).Add(time.Second)) {
			t.Errorf("a row of %s follows one of %s", r.Start, rows[i-1].Start)
		}
		if r.Created.Before(end) {
			t.Errorf("the row of %s was made at %s", r.Start, r.Created)
		}
		// The last sample that was over before the boundary, the first that began
		// after the row was made.
		low := sort.Search(len(samples), func(k int) bool { return !samples[k].until.Before(end) }) - 1
		high := sort.Search(len(samples), func(k int) bool { return samples[k].from.After(r.Created) })
		if low < 0 || high == len(samples) {
			continue
		}
		checked++
		l, h := samples[low].Counts, samples[high].Counts
		widest = max(widest, h.PacketsIn-l.PacketsIn)
		if !within(l, upTo, h) {
			t.Errorf("up to %s there are %+v; the truth was %+v before, %+v after", end, upTo, l, h)
		}
	}
	t.Logf("%d boundaries, the truth known to %d packets", checked, widest)
	if checked < 15 {
		t.Errorf("%d boundaries were checked", checked)
	}
}

func within(low, x, high harness.Counts) bool {
	between := func(a, b, c int64) bool { return a <= b && b <= c }
	return between(low.PacketsIn, x.PacketsIn, high.PacketsIn) && between(low.PacketsOut, x.PacketsOut, high.PacketsOut) &&
		between(low.BytesIn, x.BytesIn, high.BytesIn) && between(low.BytesOut, x.BytesOut, high.BytesOut)
}

// TestTrafficIsInItsInterval lets traffic pass in the middle of single intervals,
// and expects it in their rows alone.
func TestTrafficIsInItsInterval(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		const interval = 2 * time.Second
		w := newWorld(t, engine, harness.Settings{"pg_netstat.interval": "2s"})
		w.truth.Quiet(t)
		w.s.Reset(t)
		want := map[time.Time]harness.Counts{}
		for attempt := 0; len(want) < 3; attempt++ {
			if attempt == 20 {
				t.Fatal("the machine is too busy to pass a burst within an interval")
			}
			start := time.Now().Truncate(interval).Add(interval)
			time.Sleep(time.Until(start.Add(interval / 5)))
			before := w.truth.Read(t)
			w.client().Psql(t, w.v4(), "SELECT generate_series(1, 1000)")
			burst := w.truth.Quiet(t).Sub(before)
			// Only a burst that was surely over before the interval was says anything.
			if over := time.Now(); over.Before(start.Add(interval)) {
				want[start] = burst
			} else {
				t.Logf("the burst of %s was over at %s only", start, over)
				w.s.Reset(t)
				clear(want)
			}
		}
		w.s.CaughtUp(t)
		for _, r := range w.complete(t) {
			if at := r.Start.Local().Truncate(interval); r.Counts != want[at] {
				t.Errorf("the row of %s has %+v, the truth is %+v", at, r.Counts, want[at])
			}
		}
	})
}
