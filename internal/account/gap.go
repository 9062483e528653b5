package account

import "time"

// Gaps is the time since the reset in which nobody counted.
type Gaps struct {
	Count     uint64
	Total     time.Duration // of those that have ended
	LastStart time.Time     // zero if there was none
	LastEnd   time.Time     // zero while it lasts

	open     bool
	openWall time.Time
	openMono time.Duration
}

// Uncovered says that from now nobody counts, until Cover.
func (l *Ledger) Uncovered(now Instant) {
	if l.gaps.open {
		return
	}
	l.gaps.open, l.gaps.openWall, l.gaps.openMono = true, now.Wall, now.Mono
}

// Cover says that somebody begins to count now, who did not before.
func (l *Ledger) Cover(now Instant) {
	l.last = now
	if g := &l.gaps; g.open {
		g.Count++
		g.Total += max(now.Mono-g.openMono, 0)
		g.LastStart, g.LastEnd = g.openWall, now.Wall
		g.open = false
	}
	l.turn(now.Wall, now.Wall)
}

// Gaps tells of the gaps; one that lasts is counted, with no end.
func (l *Ledger) Gaps() Gaps {
	g := l.gaps
	if g.open {
		g.Count++
		g.LastStart, g.LastEnd = g.openWall, time.Time{}
	}
	return g
}

// Turn completes the open interval if it is over, also while nobody counts.
func (l *Ledger) Turn(now Instant) { l.turn(now.Wall, now.Wall) }
