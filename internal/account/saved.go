package account

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Saved is a ledger as an earlier agent left it.
type Saved struct {
	Devices     []SavedDevice
	History     []Interval // of all devices, oldest first
	OpenStart   time.Time  // of the interval that was not complete; zero if there was none
	OpenCovered time.Duration
	Reset       time.Time
	Lost        uint64
	Gaps        Gaps
	Until       time.Time // until when everything is accounted for
}

// SavedDevice is a device's part of it.
type SavedDevice struct {
	Name        string
	Total, Open engine.Counts
}

// Restore makes a ledger go on where an earlier one stopped. The time between
// is a gap, which lasts until Cover. The interval that was open goes on if the
// wall clock is still in it, and is complete otherwise.
func (l *Ledger) Restore(now Instant, s Saved) {
	clear(l.devices)
	l.version++
	for _, d := range s.Devices {
		l.devices[d.Name] = &Device{Name: d.Name, Total: d.Total, Open: d.Open, seen: !d.Open.Zero()}
	}
	for _, row := range s.History {
		d := l.device(row.Device)
		d.history = append(d.history, row)
	}
	if !s.Reset.IsZero() {
		l.reset = s.Reset
	}
	l.lost, l.gaps, l.last = s.Lost, s.Gaps, now
	if !s.Until.IsZero() {
		away := max(now.Wall.Sub(s.Until), 0)
		l.gaps.open, l.gaps.openWall, l.gaps.openMono = true, s.Until, now.Mono-away
	}
	if !s.OpenStart.IsZero() {
		end := Align(s.OpenStart, l.interval).Add(l.interval)
		l.open = openInterval{start: s.OpenStart, end: end, covered: s.OpenCovered}
		if now.Wall.Before(s.OpenStart) || !now.Wall.Before(end) {
			l.complete(now.Wall)
			l.begin(now.Wall)
		}
	}
	for _, d := range l.devices {
		d.trim(l.keep, time.Time{})
	}
	l.fold()
}
