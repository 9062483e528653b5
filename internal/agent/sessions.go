package agent

import (
	"fmt"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// Sockets reads the kernel's counters of the server's TCP connections.
type Sockets interface {
	// Dump gives those of the port, in into from its start.
	Dump(port uint16, into []sockdiag.Socket) ([]sockdiag.Socket, error)
}

// refresh is how far the present refresh of the sessions has come. First the
// sockets are dumped, then the worker is asked to read what the backends count, and when
// it has answered both are entered. In this order no figure goes back: what the dump says
// of a session is older than what its backend says.
type refresh struct {
	underWay bool
	request  uint32 // the last one to the worker
	then     []func()
	next     []func() // to run after another refresh, which has to begin when this one has ended

	began   time.Time // by the wall clock
	dumps   chan dump
	dump    dump
	buffers [2][]sockdiag.Socket // the one that the register has, and the one to dump into
	last    time.Duration        // when the last one was (monotonic); 0 for never
}

type dump struct {
	sockets []sockdiag.Socket
	at      account.Instant
	err     error
}

// Bounds of the refreshes that are made because much has happened.
const (
	manyEvents  = 4096
	oftenEnough = time.Second
)

// refreshIfIdle begins a refresh unless one is under way.
func (a *Agent) refreshIfIdle() {
	if !a.refresh.underWay {
		a.refreshThen(nil)
	}
}

// refreshThen begins a refresh now, or when the present one has ended, and runs
// then after it, if it is not nil.
func (a *Agent) refreshThen(then func()) {
	r := &a.refresh
	if then == nil {
		then = func() {}
	}
	if r.underWay {
		r.next = append(r.next, then)
		return
	}
	r.underWay, r.then, r.began = true, append(r.then, then), a.Now().Wall
	port, into := a.cfg.Port, r.buffers[1]
	go func() {
		d := dump{sockets: into}
		if a.Sockets != nil {
			d.sockets, d.err = a.Sockets.Dump(port, into)
		}
		d.at = a.Now()
		r.dumps <- d
	}()
}

// dumped asks the worker for the rest, once the sockets are dumped.
func (a *Agent) dumped(d dump) error {
	r := &a.refresh
	a.complain("sockets", "the connections' state cannot be read from the kernel", d.err)
	r.buffers[1] = d.sockets
	if d.err != nil {
		d.sockets = nil // not all of them: what is known of the others stays
	}
	r.dump = d
	if r.request++; r.request == 0 {
		r.request++
	}
	return a.Wire.Send(link.Take(r.request))
}

// handleSessions takes what the worker says of sessions and statements.
func (a *Agent) handleSessions(f frame) error {
	switch f.kind {
	case link.TypeEvent:
		e, err := link.DecodeEvent(f.body)
		if err == nil {
			a.register.Event(e)
		}
		return err
	case link.TypeLive:
		l, err := link.DecodeLive(f.body)
		if err == nil {
			a.register.Live(l)
		}
		return err
	case link.TypeEnded:
		serial, err := link.DecodeEnded(f.body)
		if err == nil {
			a.register.Ended(serial)
		}
		return err
	case link.TypeTaken:
		t, err := link.DecodeTaken(f.body)
		if err != nil {
			return err
		}
		return a.taken(t)
	default:
		return fmt.Errorf("%w: type %q", link.ErrFrame, f.kind)
	}
}

// taken applies a batch, and ends the refresh that it belongs to.
func (a *Agent) taken(t link.Taken) error {
	first := !a.register.Ready()
	a.register.Apply(t, a.Now().Wall)
	if first {
		a.bound()
	}
	r := &a.refresh
	if !r.underWay || t.Request == 0 || t.Request != r.request {
		if a.register.Pending() >= manyEvents && a.Now().Mono-a.shown.at >= oftenEnough {
			a.refreshIfIdle()
		}
		return nil
	}
	covered := r.dump.at.Mono - r.last
	if r.last == 0 {
		covered = 0
	}
	a.register.Refresh(r.dump.sockets, r.dump.at.Wall, covered)
	a.shown.measured, a.shown.known = covered > 0, r.began
	r.last = r.dump.at.Mono
	if r.dump.err == nil {
		r.buffers[0], r.buffers[1] = r.buffers[1], r.buffers[0]
	}
	return a.refreshed()
}

// refreshed runs what waits for the refresh, shows it, and begins the next one if
// that is asked for.
func (a *Agent) refreshed() error {
	r := &a.refresh
	then := r.then
	r.underWay, r.then = false, nil
	for _, f := range then {
		f()
	}
	next := r.next
	r.next = nil
	for _, f := range next {
		if r.underWay {
			r.then = append(r.then, f)
		} else {
			a.refreshThen(f)
		}
	}
	return a.publishSoon()
}

// reset makes everything zero, at one moment for packets and sessions: so sums
// over devices and over clients stay equal. What the live sessions did until now is
// known after a refresh.
func (a *Agent) reset(seq uint64) {
	a.refreshThen(func() {
		a.requestCut(func(at account.Instant) {
			a.ledger.Reset(at)
			a.register.Reset(at.Wall)
			a.changed = ""
			a.resetSeq = max(a.resetSeq, seq)
			a.shown.wanted = true
		})
	})
}

// restoreSessions makes the register go on from what an earlier agent published.
func (a *Agent) restoreSessions(snapshots map[string][]byte) {
	if a.Flows == nil {
		a.Flows = session.NewFlows(1)
	}
	a.register = session.NewRegister(a.restored.EventSeq, a.Flows)
	a.shown.seq = a.restored.EventSeq
	a.nameNetworks()
	if err := view.RestoreSessions(snapshots, a.register); err != nil {
		a.Log.Warn("some earlier figures of sessions cannot be restored", "err", err)
	}
	a.nameNetworks() // again, for the restored rows
	a.shown.folded = a.register.What.Folded
	// The packets' totals may have been published without the clients' part.
	lack := engine.Counts{}
	for _, d := range a.ledger.Devices() {
		lack.Add(d.Total)
	}
	a.register.Who.AddWire(engine.Reading{Other: a.register.Who.Lack(lack)})
}

// addWire adds what an engine saw of each client.
func (a *Agent) addWire(r engine.Reading) {
	a.register.Who.At(a.Now().Wall)
	a.register.Who.AddWire(r)
	if (len(r.Clients) > 0 || !r.Other.Zero()) && !a.refresh.underWay {
		a.shown.wanted = true
	}
}

// nameNetworks gives the networks the names of the settings.
func (a *Agent) nameNetworks() {
	n, err := account.ParseNetworks(a.cfg.Networks)
	a.complain("networks", "pg_netstat.networks cannot be used and stays as it was", err)
	if err == nil {
		a.register.Rename(n)
	}
}

// bound bounds the tables of totals.
func (a *Agent) bound() {
	if !a.register.Ready() {
		return
	}
	for name, t := range a.register.Bounded() {
		t.Bound(a.cfg.MaxEntries)
		a.settle("memory for " + name)
	}
}

// derived tells whether the engine has its figures from the sessions.
func (a *Agent) derived() bool { return a.source != nil && a.engine == "sockdiag" }
