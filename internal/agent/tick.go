package agent

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
)

// woken does what is due.
func (a *Agent) woken() error {
	now := a.Now()
	if now.Mono >= a.shown.by() {
		if err := a.publish(); err != nil {
			return err
		}
	}
	if now.Mono < a.due {
		return nil
	}
	err := a.tick(now)
	a.due = a.nextTick()
	return err
}

// tick is the regular cut: of a refresh, of an interval's end, or both.
func (a *Agent) tick(now account.Instant) error {
	if a.retryAt > 0 && now.Mono >= a.retryAt {
		a.retarget()
	}
	if a.derived() && !a.refresh.underWay {
		// What the sessions carried until the cut is known after the refresh.
		a.refreshThen(a.cutIfNone)
		return nil
	}
	a.refreshIfIdle()
	if a.source == nil {
		a.ledger.Turn(now)
		return a.publish()
	}
	a.cutIfNone()
	return nil
}

func (a *Agent) cutIfNone() {
	if len(a.waiting) == 0 {
		a.requestCut(func(account.Instant) {})
	}
}

// nextTick says when the next tick is due, by the monotonic clock. Refreshes are
// aligned to the wall clock as intervals are, so that they coincide where they can.
func (a *Agent) nextTick() time.Duration {
	now := a.Now()
	next := account.Align(now.Wall, a.cfg.Refresh).Add(a.cfg.Refresh)
	end := a.ledger.NextBoundary() // has passed while its reading is to come
	if end.After(now.Wall) && (end.Before(next) || end.Sub(next) < 100*time.Millisecond) {
		next = end
	}
	return now.Mono + min(next.Sub(now.Wall), a.cfg.Refresh)
}
