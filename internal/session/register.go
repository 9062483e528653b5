package session

import (
	"iter"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// Register knows the sessions that live, and enters into the accounts what the
// backends say. It is not safe for concurrent use.
type Register struct {
	Who   *account.Who
	What  *account.What
	flows *Flows

	live    map[uint64]*Session // by serial
	order   []*Session          // the same, in the order that they are shown in
	sockets map[uint64]*Session // by cookie
	batch   batch
	seq     uint64           // of the last event that is in the accounts
	events  int              // since Heard was last called
	saved   map[uint64]Saved // of an earlier agent, until the first batch is applied
	ready   bool             // the first batch is applied: all sessions are known
	dumpAt  time.Time

	refreshes uint64 // how many there were
}

// batch is what the worker said since the last end of a batch.
type batch struct {
	events  []link.Event
	changes []change
}

// change is a session that has changed or ended.
type change struct {
	live  link.Live
	ended uint64 // serial; 0 if it lives
}

// NewRegister begins with no session, and with accounts that contain the events up to
// seq. What the sessions carry it tells flows as well.
func NewRegister(seq uint64, flows *Flows) *Register {
	return &Register{
		Who: account.NewWho(), What: account.NewWhat(), flows: flows,
		live: map[uint64]*Session{}, sockets: map[uint64]*Session{}, saved: map[uint64]Saved{}, seq: seq,
	}
}

// Event notes an event, Live a session that is new or has changed, and Ended
// one that has ended. They count from the end of the batch.
func (r *Register) Event(e link.Event) { r.batch.events = append(r.batch.events, e) }

// Live notes a session that is new or has changed.
func (r *Register) Live(l link.Live) { r.batch.changes = append(r.batch.changes, change{live: l}) }

// Ended notes a session that has ended.
func (r *Register) Ended(serial uint64) {
	r.batch.changes = append(r.batch.changes, change{ended: serial})
}

// Apply ends the batch: what was noted is in the accounts at once, so that the
// end of a session and what it did at last are never seen apart.
func (r *Register) Apply(t link.Taken, now time.Time) {
	r.Who.At(now)
	r.What.At(now)
	for _, e := range r.batch.events {
		if e.Seq > r.seq {
			r.enter(e.Change)
			r.seq = e.Seq
		}
	}
	r.seq = max(r.seq, t.Seq)
	r.events += len(r.batch.events)
	for _, c := range r.batch.changes {
		if c.ended != 0 {
			r.end(c.ended)
		} else {
			r.change(c.live)
		}
	}
	clear(r.batch.events) // they hold names
	clear(r.batch.changes)
	r.batch.events, r.batch.changes = r.batch.events[:0], r.batch.changes[:0]
	r.saved, r.ready = nil, true
}

// Ready tells whether all sessions are known; before that nothing may be shown.
func (r *Register) Ready() bool { return r.ready }

// Seq is the number of the last event that is in the accounts.
func (r *Register) Seq() uint64 { return r.seq }

// Pending counts the events that have been entered since it was last cleared.
func (r *Register) Pending() int { return r.events }

// Published says that what is in the accounts now was published.
func (r *Register) Published() { r.events = 0 }

func (r *Register) enter(c link.Change) {
	switch c := c.(type) {
	case link.AccountChange:
		u := account.UsageOf(c.Traffic)
		u.Sessions, u.Failed = int64(c.Opened), int64(c.Failed)
		r.Who.Add(c.Account, u)
		if !c.Remote.Unix {
			d := counted(c.Traffic)
			d.Opened, d.Closed = int64(c.Opened+c.Failed), int64(c.Closed+c.Failed)
			r.flows.Add(c.Local.IP, c.Remote.IP, d)
		}
	case link.StatementChange:
		r.What.Add(c)
	case link.Ghost:
		// No backend will say any more what it did.
		if s, ok := r.saved[c.Serial]; ok {
			r.Who.Add(c.Account, account.UsageOf(beyond(s.Seen, larger(s.Base, c.Base))))
		}
	case link.Folded:
		r.What.Folded += c.Count
	}
}

// change enters a session that is new, has another account now, or of which more is known.
func (r *Register) change(l link.Live) {
	s := r.live[l.Serial]
	if s == nil {
		s = r.open(l)
	} else if s.Account != l.Account || s.ProtocolBase != l.ProtocolBase || !l.Unix && !sameBase(s.Base, l.Base) {
		r.settle(s)
		s.share = r.Who.Open(l.Account)
	}
	s.heard(l)
	s.enter()
}

func (r *Register) open(l link.Live) *Session {
	s := &Session{share: r.Who.Open(l.Account)}
	// Serials begin anew with each life of the server.
	if saved, ok := r.saved[l.Serial]; ok && saved.Connected.Equal(l.ConnectedAt) {
		s.seen, s.known, s.Base = saved.Seen, saved.Known, saved.Base
	}
	r.live[l.Serial] = s
	s.place = len(r.order)
	r.order = append(r.order, s)
	if l.Cookie != 0 {
		r.sockets[l.Cookie] = s
	}
	return s
}

func (r *Register) end(serial uint64) {
	s := r.live[serial]
	if s == nil {
		return
	}
	r.settle(s)
	delete(r.live, serial)
	last := len(r.order) - 1
	r.order[s.place], r.order[last].place = r.order[last], s.place
	r.order[last] = nil
	r.order = r.order[:last]
	if r.sockets[s.Cookie] == s {
		delete(r.sockets, s.Cookie)
	}
}

// settle takes out of the accounts what a session did as whom it was: its backend
// has said all of that. What a backend cannot know, as it reads segments in 32 bits, is
// how often they have wrapped around.
func (r *Register) settle(s *Session) {
	const whole = ^uint64(1<<32 - 1)
	t := s.share.Traffic()
	w := link.Traffic{
		SegmentsIn: t.SegmentsIn & whole, SegmentsOut: t.SegmentsOut & whole,
		RetransmittedSegments: t.RetransmittedSegments & whole,
	}
	if w != (link.Traffic{}) {
		r.Who.Add(s.Account, account.UsageOf(w))
	}
	s.share.Close()
	r.flows.Settle(s.Local.IP, s.Remote.IP, &s.carried)
}

// counted gives what of a connection's traffic an engine is told.
func counted(t link.Traffic) engine.Counted {
	return engine.Counted{
		PayloadIn: int64(t.BytesIn), PayloadOut: int64(t.BytesOut),
		SegmentsIn: int64(t.SegmentsIn), SegmentsOut: int64(t.SegmentsOut),
		RetransmittedBytes: int64(t.RetransmittedBytes),
	}
}

// Refresh takes what was dumped at a moment before the last batch was asked
// for, and computes speeds over the time since the last refresh, 0 if there was none.
// The sockets belong to the register until the next refresh.
func (r *Register) Refresh(sockets []sockdiag.Socket, at time.Time, covered time.Duration) {
	r.dumpAt = at
	r.refreshes++
	for i := range sockets {
		k := &sockets[i]
		if s := r.sockets[k.Cookie]; s != nil && s.refreshes != r.refreshes {
			r.refresh(s, k, covered)
		}
	}
	for _, s := range r.order {
		if s.refreshes != r.refreshes {
			r.refresh(s, nil, covered)
		}
	}
	r.flows.Begin()
	r.Who.Refresh(covered)
	r.What.Refresh(covered)
}

// refresh takes a session's socket, nil if the dump lacks it.
func (r *Register) refresh(s *Session, k *sockdiag.Socket, covered time.Duration) {
	s.refreshes = r.refreshes
	if s.refreshed(k, covered) && !s.Unix {
		r.flows.Live(s.Local.IP, s.Remote.IP, &s.carried, counted(s.share.Traffic()))
	}
}

// DumpedAt is the time of the dump that the sessions' sockets are of.
func (r *Register) DumpedAt() time.Time { return r.dumpAt }

// Reset makes all totals zero at now.
func (r *Register) Reset(now time.Time) {
	r.Who.Reset(now)
	r.What.Reset(now)
}

// Bounded lists the tables of totals, by the names of their views.
func (r *Register) Bounded() map[string]account.Bounded {
	return map[string]account.Bounded{
		"pg_netstat_database": r.Who.Databases, "pg_netstat_role": r.Who.Roles,
		"pg_netstat_application": r.Who.Applications, "pg_netstat_client": r.Who.Clients,
		"pg_netstat_network": r.Who.Networks, "pg_netstat_statements": r.What.Statements,
	}
}

// Rename changes the names of networks.
func (r *Register) Rename(n account.Networks) {
	shares := make([]*account.Share, 0, len(r.live))
	for _, s := range r.order {
		shares = append(shares, s.share)
	}
	r.Who.Rename(n, shares)
}

// Len counts the sessions that live.
func (r *Register) Len() int { return len(r.live) }

// All gives the sessions that live.
func (r *Register) All() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for _, s := range r.order {
			if !yield(s) {
				return
			}
		}
	}
}
