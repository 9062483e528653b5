package harness

import (
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/link"
)

// Batch is what the worker tells its agent between two TypeTaken frames, the
// latter of which is its end.
type Batch struct {
	Events []link.Event
	Live   []link.Live
	Ended  []uint64
	link.Taken
}

// heard gathers batches, so that the worker never waits for a test to read.
type heard struct {
	mu      sync.Mutex
	current Batch
	batches []Batch
	reset   uint64 // the last request to reset
	quit    bool   // the worker has asked the agent to end
	err     error
}

func (h *heard) frame(kind byte, body []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	switch kind {
	case link.TypeEvent:
		var e link.Event
		e, err = link.DecodeEvent(body)
		h.current.Events = append(h.current.Events, e)
	case link.TypeLive:
		var l link.Live
		l, err = link.DecodeLive(body)
		h.current.Live = append(h.current.Live, l)
	case link.TypeEnded:
		var serial uint64
		serial, err = link.DecodeEnded(body)
		h.current.Ended = append(h.current.Ended, serial)
	case link.TypeTaken:
		h.current.Taken, err = link.DecodeTaken(body)
		h.batches = append(h.batches, h.current)
		h.current = Batch{}
	case link.TypeReset:
		h.reset, err = link.DecodeReset(body)
	case link.TypeQuit:
		h.quit = true
	}
	if h.err == nil {
		h.err = err
	}
}

// Batches gives those that came since it was called last.
func (p *Puppet) Batches(t testing.TB) []Batch {
	t.Helper()
	p.heard.mu.Lock()
	defer p.heard.mu.Unlock()
	if p.heard.err != nil {
		t.Fatal("reading from the worker: ", p.heard.err)
	}
	batches := p.heard.batches
	p.heard.batches = nil
	return batches
}

// Take asks the worker to read what the backends count, and gives the batches
// that have come when it has answered.
func (p *Puppet) Take(t testing.TB) []Batch {
	t.Helper()
	p.requests++
	if err := p.Send(link.Take(p.requests)); err != nil {
		t.Fatal("asking the worker to take: ", err)
	}
	var batches []Batch
	Until(t, patience, "the worker's answer to a request to take", func() error {
		batches = append(batches, p.Batches(t)...)
		for _, b := range batches {
			if b.Request == p.requests {
				return nil
			}
		}
		return fmt.Errorf("%d batches, none answers request %d", len(batches), p.requests)
	})
	return batches
}

// AwaitReset waits for a request to reset that the puppet has not seen yet, which
// the next publication applies.
func (p *Puppet) AwaitReset(t testing.TB) {
	t.Helper()
	Until(t, patience, "a request to reset", func() error {
		p.heard.mu.Lock()
		defer p.heard.mu.Unlock()
		if p.heard.reset <= p.ResetSeq {
			return fmt.Errorf("the last one is %d", p.heard.reset)
		}
		p.ResetSeq = p.heard.reset
		return nil
	})
}

// Quitting waits until the worker asks the agent to end.
func (p *Puppet) Quitting(t testing.TB) {
	t.Helper()
	Until(t, patience, "the worker asking for the end", func() error {
		p.heard.mu.Lock()
		defer p.heard.mu.Unlock()
		if !p.heard.quit {
			return fmt.Errorf("%d batches came", len(p.heard.batches))
		}
		return nil
	})
}

// Ledger adds up what the worker tells, as an agent does.
type Ledger struct {
	Seq        uint64 // of the last event
	Accounts   map[link.Account]link.AccountChange
	Statements map[link.StatementKey]link.StatementChange
	Live       map[uint64]link.Live
	Ghosts     []link.Ghost
	Folded     uint64
}

// NewLedger makes an empty one, as an agent has that nobody was before.
func NewLedger() *Ledger {
	return &Ledger{
		Accounts:   map[link.Account]link.AccountChange{},
		Statements: map[link.StatementKey]link.StatementChange{},
		Live:       map[uint64]link.Live{},
	}
}

// Restart gives a copy without the live sessions, of which each agent is told anew.
func (l *Ledger) Restart() *Ledger {
	c := *l
	c.Accounts, c.Statements, c.Live = maps.Clone(l.Accounts), maps.Clone(l.Statements), map[uint64]link.Live{}
	return &c
}

// Apply adds batches. Events have to be numbered without a gap.
func (l *Ledger) Apply(t testing.TB, batches []Batch) {
	t.Helper()
	for _, b := range batches {
		for _, e := range b.Events {
			if e.Seq != l.Seq+1 {
				t.Fatalf("event %d came after %d", e.Seq, l.Seq)
			}
			l.Seq = e.Seq
			l.add(e.Change)
		}
		if b.Seq != l.Seq {
			t.Fatalf("a batch ends with event %d, and is said to with %d", l.Seq, b.Seq)
		}
		for _, serial := range b.Ended {
			if _, ok := l.Live[serial]; !ok {
				t.Fatalf("session %d ended, which was not live", serial)
			}
			delete(l.Live, serial)
		}
		for _, s := range b.Live {
			l.Live[s.Serial] = s
		}
	}
}

func (l *Ledger) add(change link.Change) {
	switch c := change.(type) {
	case link.AccountChange:
		l.Accounts[c.Account] = AddAccounts(l.Accounts[c.Account], c)
	case link.StatementChange:
		s := l.Statements[c.StatementKey]
		c.Calls, c.BytesOut, c.Messages = c.Calls+s.Calls, c.BytesOut+s.BytesOut, c.Messages+s.Messages
		c.Rows, c.BytesIn, c.MaxBytes = c.Rows+s.Rows, c.BytesIn+s.BytesIn, max(c.MaxBytes, s.MaxBytes)
		l.Statements[c.StatementKey] = c
	case link.Ghost:
		l.Ghosts = append(l.Ghosts, c)
	case link.Folded:
		l.Folded += c.Count
	}
}

// AddAccounts gives the sum of two accounts, under the name of the second.
func AddAccounts(a, b link.AccountChange) link.AccountChange {
	b.Opened, b.Closed, b.Failed = a.Opened+b.Opened, a.Closed+b.Closed, a.Failed+b.Failed
	b.BytesIn, b.BytesOut = a.BytesIn+b.BytesIn, a.BytesOut+b.BytesOut
	b.SegmentsIn, b.SegmentsOut = a.SegmentsIn+b.SegmentsIn, a.SegmentsOut+b.SegmentsOut
	b.RetransmittedBytes += a.RetransmittedBytes
	b.RetransmittedSegments += a.RetransmittedSegments
	return b
}

// Sum adds the accounts that a test is about.
func (l *Ledger) Sum(of func(link.Account) bool) link.AccountChange {
	var sum link.AccountChange
	for key, c := range l.Accounts {
		if of(key) {
			sum = AddAccounts(sum, c)
		}
	}
	sum.Account = link.Account{}
	return sum
}

// SentFor adds up what was sent to a user's sessions, for statements and beside them.
func (l *Ledger) SentFor(user uint32) (bytes uint64) {
	for key, c := range l.Statements {
		if key.UserID == user {
			bytes += c.BytesOut
		}
	}
	return bytes
}
