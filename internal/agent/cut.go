package agent

import (
	"slices"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// cut is a period of a source that has ended and whose reading is to come.
type cut struct {
	at    account.Instant
	read  func() (engine.Reading, error)
	then  []func(account.Instant) // to run when the reading is in the accounts
	void  bool                    // the reading counts for nothing
	final engine.Source           // to close then
}

type reading struct {
	engine.Reading
	err error
}

// requestCut ends the present period as soon as the source can, enters its
// reading into the accounts, and then runs then. Without a source it runs it at once.
func (a *Agent) requestCut(then func(account.Instant)) {
	a.waiting = append(a.waiting, then)
	a.cutNow()
}

// cutNow makes the cut that is waited for, unless the source has to be read first.
func (a *Agent) cutNow() {
	if len(a.waiting) == 0 || len(a.cuts) > 0 && (a.source == nil || !a.source.Overlap()) {
		return
	}
	then := a.waiting
	a.waiting = nil
	now := a.Now()
	if a.source == nil {
		for _, f := range then {
			f(now)
		}
		return
	}
	a.push(cut{at: now, read: a.source.Cut(now.Wall), then: then})
}

// push adds a cut. Readings are taken one after the other, off the loop, as
// they may take seconds.
func (a *Agent) push(c cut) {
	a.cuts = append(a.cuts, c)
	a.readFirst()
}

// readFirst begins to take the first cut's reading, if no other is being taken.
func (a *Agent) readFirst() {
	if a.reading || len(a.cuts) == 0 {
		return
	}
	a.reading = true
	read := a.cuts[0].read
	go func() {
		r, err := read()
		a.readings <- reading{r, err}
	}()
}

// take enters the first cut's reading into the accounts and publishes.
func (a *Agent) take(r reading) error {
	c := a.cuts[0]
	a.cuts, a.reading = slices.Delete(a.cuts, 0, 1), false
	a.complain("reading", "counts cannot be read", r.err)
	if !c.void {
		a.ledger.Apply(c.at, a.Now().Wall, r.Reading)
		a.addWire(r.Reading)
		for _, then := range c.then {
			then(c.at)
		}
	}
	if c.final != nil {
		if err := c.final.Close(); err != nil {
			a.Log.Warn("the former engine cannot be closed", "err", err)
		}
	}
	a.readFirst()
	a.cutNow()
	if c.void {
		return nil
	}
	if err := a.publish(); err != nil {
		return err
	}
	return a.leaveIfDone()
}

// publishIfIdle publishes at once what no reading to come will.
func (a *Agent) publishIfIdle() error {
	if len(a.cuts) > 0 {
		return nil
	}
	if err := a.publish(); err != nil {
		return err
	}
	return a.leaveIfDone()
}

func (a *Agent) leaveIfDone() error {
	if a.leaving && len(a.cuts) == 0 && len(a.waiting) == 0 {
		return errLeave
	}
	return nil
}
