// Package account adds up what the engines count: rows per interval, totals
// per device, and the time in which nobody counted. It is pure: readings and
// the time come in from outside, tables come out.
package account

import (
	"sort"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Instant is one moment on both clocks. The wall clock names intervals and may
// be stepped; the monotonic one measures how long they were.
type Instant struct {
	Wall time.Time
	Mono time.Duration // since an arbitrary start
}

// Interval is what one device saw in one interval.
type Interval struct {
	Device  string
	Start   time.Time
	Covered time.Duration // how much of it was counted
	engine.Counts
	Created time.Time // when it was complete and its counts known
}

// Device is the account of one device.
type Device struct {
	Name  string
	Total engine.Counts // since the reset
	Open  engine.Counts // of the interval that is not complete
	// Last is what the last reading had, over LastCovered.
	Last        engine.Counts
	LastCovered time.Duration

	seen     bool // a target since the open interval began
	counting bool // a target in the last reading
	history  []Interval
}

// Others is the name under which devices are added up that no longer fit.
const Others = "(other)"

// Ledger is the account of a server. It is not safe for concurrent use.
type Ledger struct {
	interval   time.Duration
	keep       int // complete intervals kept per device
	maxDevices int

	devices     map[string]*Device
	open        openInterval
	last        Instant       // until when everything is accounted for
	lastCovered time.Duration // of the last reading
	reset       time.Time
	lost        uint64
	gaps        Gaps
	version     uint64 // of the rows of all devices
}

type openInterval struct {
	start, end time.Time
	covered    time.Duration
}

// New begins an account at now.
func New(now Instant, interval time.Duration, keep, maxDevices int) *Ledger {
	l := &Ledger{interval: interval, keep: keep, maxDevices: maxDevices, devices: map[string]*Device{}}
	l.Reset(now)
	return l
}

// Reset forgets everything: what was counted until now belongs to nothing.
func (l *Ledger) Reset(now Instant) {
	clear(l.devices)
	l.version++
	l.reset, l.lost = now.Wall, 0
	l.gaps = Gaps{open: l.gaps.open, openWall: now.Wall, openMono: now.Mono}
	l.last = now
	l.begin(now.Wall)
}

// begin opens an interval that starts at start and ends at the next boundary.
func (l *Ledger) begin(start time.Time) {
	l.open = openInterval{start: start, end: Align(start, l.interval).Add(l.interval)}
	for _, d := range l.devices {
		d.Open, d.seen = engine.Counts{}, false
	}
}

// Align rounds t down to a whole number of steps since the Unix epoch, so
// that intervals begin at round times of the wall clock.
func Align(t time.Time, step time.Duration) time.Time {
	since := t.Sub(time.Unix(0, 0))
	rest := since % step
	if rest < 0 {
		rest += step
	}
	return t.Add(-rest).Round(0)
}

// NextBoundary says when the open interval ends, by the wall clock.
func (l *Ledger) NextBoundary() time.Time { return l.open.end }

// Apply enters what was counted from the last reading until at, which is known
// since now by the wall clock.
func (l *Ledger) Apply(at Instant, now time.Time, r engine.Reading) {
	covered := max(at.Mono-l.last.Mono, 0)
	l.last, l.lastCovered = at, covered
	l.open.covered += covered
	l.lost += r.Lost
	for _, d := range l.devices {
		d.Last, d.LastCovered, d.counting = engine.Counts{}, covered, false
	}
	for _, c := range r.Devices {
		d := l.device(c.Device)
		d.Total.Add(c.Counts)
		d.Open.Add(c.Counts)
		d.Last.Add(c.Counts)
		d.seen, d.counting = true, true
	}
	l.turn(at.Wall, now)
	l.fold()
}

func (l *Ledger) device(name string) *Device {
	d := l.devices[name]
	if d == nil {
		d = &Device{Name: name, LastCovered: l.lastCovered}
		l.devices[name] = d
	}
	return d
}

// turn completes the open interval if the wall clock has left it, either way.
// The clock of a running server may be stepped: an interval's name is then
// the wall clock's, its length what was measured.
func (l *Ledger) turn(wall, now time.Time) {
	if !wall.Before(l.open.start) && wall.Before(l.open.end) {
		return
	}
	l.complete(now)
	l.begin(Align(wall, l.interval))
}

// complete makes the open interval a row of each device that was counted in it. A
// device that is gone and has nothing to show is forgotten.
func (l *Ledger) complete(now time.Time) {
	l.version++
	oldest := now.Add(-time.Duration(l.keep) * l.interval)
	for _, d := range l.devices {
		if d.seen && (l.open.covered > 0 || !d.Open.Zero()) {
			d.history = append(d.history, Interval{
				Device: d.Name, Start: l.open.start, Covered: l.open.covered,
				Counts: d.Open, Created: now,
			})
		}
		d.trim(l.keep, oldest)
		if !d.seen && !d.counting && d.Total.Zero() && len(d.history) == 0 {
			delete(l.devices, d.Name)
		}
	}
}

// trim forgets rows beyond keep, and those of a device that is gone once
// they are older than any row of a device that is there can be.
func (d *Device) trim(keep int, oldest time.Time) {
	over := max(len(d.history)-keep, 0)
	if !d.seen {
		for over < len(d.history) && d.history[over].Start.Before(oldest) {
			over++
		}
	}
	// What is cut off in front is freed when an append next finds no room.
	d.history = d.history[over:]
}

// Configure changes the length of intervals, the rows kept and the bound of
// devices. Everything must have been read until now (Apply). If the length
// changes, the open interval ends here, shorter than it was to be.
func (l *Ledger) Configure(now Instant, interval time.Duration, keep, maxDevices int) {
	l.version++
	l.keep, l.maxDevices = keep, maxDevices
	if interval != l.interval {
		l.complete(now.Wall)
		l.interval = interval
		l.begin(now.Wall)
	}
	for _, d := range l.devices {
		d.trim(keep, time.Time{})
	}
	l.fold()
}

// fold adds up the devices beyond the bound, those first that count no more
// and have the least bytes, so that sums stay exact.
func (l *Ledger) fold() {
	if len(l.devices) <= l.maxDevices {
		return
	}
	all := l.Devices()
	sort.SliceStable(all, func(i, j int) bool {
		if all[i].counting != all[j].counting {
			return !all[i].counting
		}
		return all[i].Total.BytesIn+all[i].Total.BytesOut < all[j].Total.BytesIn+all[j].Total.BytesOut
	})
	other := l.device(Others)
	for _, d := range all {
		if len(l.devices) <= l.maxDevices {
			return
		}
		if d == other {
			continue
		}
		other.Total.Add(d.Total)
		other.Open.Add(d.Open)
		other.Last.Add(d.Last)
		other.seen = other.seen || d.seen
		other.LastCovered = d.LastCovered
		delete(l.devices, d.Name)
	}
}

// Devices lists the devices by name. They are the ledger's own: read only.
func (l *Ledger) Devices() []*Device {
	all := make([]*Device, 0, len(l.devices))
	for _, d := range l.devices {
		all = append(all, d)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// History lists the complete intervals of a device, oldest first, read only.
func (d *Device) History() []Interval { return d.history }

// Version changes whenever the rows of complete intervals do.
func (l *Ledger) Version() uint64 { return l.version }

// ResetAt says since when totals count.
func (l *Ledger) ResetAt() time.Time { return l.reset }

// Lost counts packets that the engines know they did not see, since the reset.
func (l *Ledger) Lost() uint64 { return l.lost }

// Until says until when everything is accounted for.
func (l *Ledger) Until() Instant { return l.last }

// OpenInterval says when the interval that is not complete began, and how much of it
// was counted.
func (l *Ledger) OpenInterval() (start time.Time, covered time.Duration) {
	return l.open.start, l.open.covered
}
