package view

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
)

// server makes up a server's sessions at random, says of them what the module
// would say, and knows on its own what the tables have to show.
type server struct {
	*testing.T
	rand     *rand.Rand
	seq      uint64
	events   []link.Event // not yet published by an agent
	live     map[uint64]*client
	changed  map[uint64]bool // live or ended, and not yet told
	serial   uint64
	networks account.Networks
	dumped   map[uint64]link.Traffic

	register  *session.Register
	published map[string][]byte
	acked     uint64
	truth     truth // what is to be shown
	kept      truth // as it was published last
	bound     int
}

// client is a session and, where it changed its name, what it did as each.
type client struct {
	link.Live
	now  link.Traffic
	part int // how often it has changed its name
}

// truth adds up by the rows' names, from what each part of a session has had until
// now: a model that knows nothing of settling.
type truth struct {
	had  map[string]account.Usage // by session and part, and by number for what is in events
	rows map[string]account.Usage // by table and row
}

func (t truth) clone() truth { return truth{maps.Clone(t.had), maps.Clone(t.rows)} }

func (s *server) add(a link.Account, u account.Usage) {
	name := func(v any) string {
		if a.None {
			return "(none)"
		}
		return fmt.Sprint(v)
	}
	clientName := "(none)"
	if a.Remote.Unix {
		clientName = "(local)"
	} else if a.Remote.IP.IsValid() {
		clientName = a.Remote.IP.String()
	}
	network := clientName
	if a.Remote.IP.IsValid() {
		var ok bool
		if network, ok = s.networks.Find(a.Remote.IP); !ok {
			network = "(other)"
		}
	}
	for _, row := range []string{
		"database " + name(a.Database), "role " + name(a.Role), "application " + name(a.Application),
		"client " + clientName, "network " + network,
	} {
		s.truth.rows[row] = s.truth.rows[row].Plus(u)
	}
}

// has says how much of a part of a session is to be shown now.
func (s *server) has(c *client, now link.Traffic) {
	key := fmt.Sprint(c.Serial, " ", c.part)
	u := account.UsageOf(now)
	more := u.Minus(s.truth.had[key])
	if more.BytesIn < 0 || more.BytesOut < 0 {
		return // the dump is older than what is known
	}
	s.truth.had[key] = u
	s.add(c.Account, more)
}

func (s *server) event(c link.Change) {
	s.seq++
	s.events = append(s.events, link.Event{Seq: s.seq, Change: c})
}

func minus(a, b link.Traffic) link.Traffic {
	return link.Traffic{
		BytesIn: a.BytesIn - b.BytesIn, BytesOut: a.BytesOut - b.BytesOut,
		SegmentsIn: a.SegmentsIn - b.SegmentsIn, SegmentsOut: a.SegmentsOut - b.SegmentsOut,
		RetransmittedBytes:    a.RetransmittedBytes - b.RetransmittedBytes,
		RetransmittedSegments: a.RetransmittedSegments - b.RetransmittedSegments,
	}
}

var pool = struct{ databases, roles, applications []string }{
	[]string{"shop", "bank", "(other)"}, []string{"alice", "bob"}, []string{"psql", "", "(none)", "\xff"},
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func (s *server) address() link.Address {
	if s.rand.IntN(5) == 0 {
		return link.Address{Unix: true}
	}
	return link.Address{IP: netip.AddrFrom4([4]byte{10, byte(s.rand.IntN(3)), 0, byte(s.rand.IntN(60))})}
}

func (s *server) open() {
	s.serial++
	db, role := s.rand.IntN(3), s.rand.IntN(2)
	c := &client{Live: link.Live{
		Serial: s.serial, PID: uint32(s.serial), Cookie: s.serial, ConnectedAt: noon.Add(time.Duration(s.serial) * time.Second),
		Account: link.Account{
			DatabaseID: uint32(1 + db), RoleID: uint32(1 + role), Database: pool.databases[db], Role: pool.roles[role],
			Application: pick(s.rand, pool.applications), Remote: s.address(),
		},
	}}
	if c.Remote.Unix {
		c.Unix, c.Cookie = true, 0
	} else {
		c.RemotePort = 1000
	}
	s.live[c.Serial], s.changed[c.Serial] = c, true
	s.event(link.AccountChange{Account: c.Account, Opened: 1})
	s.add(c.Account, account.Usage{Sessions: 1})
}

func (s *server) work(c *client) {
	n := uint64(s.rand.IntN(1000))
	if c.Unix {
		c.now.BytesOut += n
		c.ProtocolOut = c.now.BytesOut
		s.changed[c.Serial] = true
		return
	}
	c.now = minus(c.now, link.Traffic{}) // a copy
	c.now.BytesIn += n
	c.now.BytesOut += 3 * n
	c.now.SegmentsIn += n / 100
	c.now.SegmentsOut += n / 50
	c.now.RetransmittedBytes += n / 10
	c.now.RetransmittedSegments += n / 200
}

func (s *server) base(c *client) link.Traffic {
	if c.Unix {
		return link.Traffic{BytesOut: c.ProtocolBase}
	}
	return c.Base
}

// settle says for good what the session did as whom it is.
func (s *server) settle(c *client, closed uint64) {
	done := minus(c.now, s.base(c))
	s.event(link.AccountChange{Account: c.Account, Closed: closed, Traffic: done})
	s.has(c, done)
}

func (s *server) split(c *client) {
	s.settle(c, 0)
	c.part++
	c.Application = pick(s.rand, pool.applications)
	if c.Unix {
		c.ProtocolBase = c.now.BytesOut
	} else {
		c.Base = c.now
	}
	s.changed[c.Serial] = true
}

func (s *server) close(c *client) {
	s.settle(c, 1)
	delete(s.live, c.Serial)
	s.changed[c.Serial] = true
}

func (s *server) fail() {
	a := link.Account{None: true}
	if s.rand.IntN(2) == 0 {
		a.Remote = s.address()
	}
	u := link.Traffic{BytesIn: 50, BytesOut: 70}
	s.event(link.AccountChange{Account: a, Failed: 1, Traffic: u})
	s.add(a, account.UsageOf(u).Plus(account.Usage{Failed: 1}))
}

// tell sends the register a batch, from an event on.
func (s *server) tell(from uint64, all bool) {
	for _, e := range s.events {
		if e.Seq > from {
			s.register.Event(e)
		}
	}
	for serial, c := range s.live {
		if all || s.changed[serial] {
			s.register.Live(c.Live)
		}
	}
	if !all {
		for serial := range s.changed {
			if s.live[serial] == nil {
				s.register.Ended(serial)
			}
		}
	}
	clear(s.changed)
	s.register.Apply(link.Taken{Seq: s.seq}, noon)
	if s.register.Seq() != s.seq {
		s.Fatalf("applied through %d of %d", s.register.Seq(), s.seq)
	}
}

// dump remembers the sockets as they are, but for some that it misses.
func (s *server) dump() {
	s.dumped = map[uint64]link.Traffic{}
	for serial, c := range s.live {
		if !c.Unix && s.rand.IntN(10) > 0 {
			s.dumped[serial] = c.now
		}
	}
}

// refresh shows the register the dump, as it is at the end of a batch.
func (s *server) refresh() {
	s.register.Refresh(sockets(s.dumped), noon, time.Second)
	for serial, c := range s.live {
		if c.Unix {
			s.has(c, minus(c.now, s.base(c)))
		} else if now, ok := s.dumped[serial]; ok {
			s.has(c, larger0(now, c.Base))
		}
	}
}

func larger0(now, base link.Traffic) link.Traffic {
	if now.BytesIn < base.BytesIn || now.BytesOut < base.BytesOut {
		return link.Traffic{}
	}
	return minus(now, base)
}

func (s *server) publish() {
	before := s.published
	s.published = encodeAll(s.T, s.register)
	s.acked, s.kept = s.register.Seq(), s.truth.clone()
	s.register.Published()
	keep := 0
	for keep < len(s.events) && s.events[keep].Seq <= s.acked {
		keep++
	}
	s.events = s.events[keep:]
	s.check(before)
}

func (s *server) restart() {
	s.register = session.NewRegister(s.acked)
	s.register.Rename(s.networks)
	if err := RestoreSessions(s.published, s.register); err != nil {
		s.Fatal(err)
	}
	// What was not published is to come again.
	s.truth = s.kept.clone()
	s.replay()
	s.dump()
	s.tell(s.acked, true)
	s.setBound()
	s.refresh()
	s.publish()
}

// replay makes the model forget and learn again what the next agent is told of.
func (s *server) replay() {
	for _, e := range s.events {
		if c, ok := e.Change.(link.AccountChange); ok && (c.Opened > 0 || c.Failed > 0) {
			u := account.Usage{Sessions: int64(c.Opened), Failed: int64(c.Failed)}
			if c.Failed > 0 {
				u = u.Plus(account.UsageOf(c.Traffic))
			}
			s.add(c.Account, u)
		}
	}
	for _, p := range s.settled {
		if p.seq > s.acked {
			s.has(p.client, p.done)
		}
	}
}
