package view

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
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
	sockets  []sockdiag.Socket // as they were dumped

	life int // of the server, in which serials are unique

	register  *session.Register
	published map[string][]byte
	acked     uint64
	bound     int

	// had and rows are a model that knows nothing of settling: what each part of a
	// session has had until now, and the sums by the names of table and row.
	sent, calls int64 // of statements

	had  map[string]account.Usage
	rows map[string]account.Usage
}

// client is a session and, where it changed its name, what it did as each.
type client struct {
	link.Live
	now  link.Traffic
	part int // how often it has changed its name
}

func (s *server) add(a link.Account, u account.Usage) {
	name := func(v any) string {
		if a.None {
			return "(none)"
		}
		return fmt.Sprint(v)
	}
	for _, row := range []string{
		"database " + name(a.Database), "role " + name(a.Role), "application " + name(a.Application),
	} {
		s.rows[row] = s.rows[row].Plus(u)
	}
	s.addTo(a.Remote, u)
}

func (s *server) addTo(a link.Address, u account.Usage) {
	client := "(none)"
	switch {
	case a.Unix:
		client = "(local)"
	case a.IP.IsValid():
		client = a.IP.String()
	}
	network := client
	if a.IP.IsValid() {
		var ok bool
		if network, ok = s.networks.Find(a.IP); !ok {
			network = "(other)"
		}
	}
	for _, row := range []string{"client " + client, "network " + network} {
		s.rows[row] = s.rows[row].Plus(u)
	}
}

// has says how much of a part of a session is to be shown now.
func (s *server) has(c *client, now link.Traffic) {
	key := fmt.Sprint(s.life, " ", c.Serial, " ", c.part)
	u := account.UsageOf(now)
	more := u.Minus(s.had[key])
	if more.BytesIn < 0 || more.BytesOut < 0 {
		return // the dump is older than what is known
	}
	s.had[key] = u
	s.add(c.Account, more)
}

func (s *server) event(c link.Change) {
	s.seq++
	s.events = append(s.events, link.Event{Seq: s.seq, Change: c})
}

func (s *server) wire() {
	r := engine.Reading{Other: engine.Counts{PacketsIn: 1, BytesIn: 60}}
	for range s.rand.IntN(20) {
		if a := s.address(); a.IP.IsValid() {
			c := engine.Counts{PacketsIn: 1, PacketsOut: 2, BytesIn: 70, BytesOut: 1500}
			r.Clients = append(r.Clients, engine.ClientCounts{Client: a.IP, Counts: c})
			s.addTo(a, account.Usage{PacketsIn: 1, PacketsOut: 2, WireIn: 70, WireOut: 1500})
		}
	}
	s.register.Who.AddWire(r)
	other := account.Usage{PacketsIn: 1, WireIn: 60}
	s.rows["client (other)"] = s.rows["client (other)"].Plus(other)
	s.rows["network (other)"] = s.rows["network (other)"].Plus(other)
}

func (s *server) statement() {
	c := link.StatementChange{
		StatementKey: link.StatementKey{Class: link.StatementClass(s.rand.IntN(4))},
		Calls:        1, BytesOut: uint64(s.rand.IntN(1000)), Messages: 2, Rows: 3, BytesIn: 4,
	}
	c.MaxBytes = c.BytesOut
	if c.Class != link.ClassOther {
		c.UserID, c.DatabaseID = uint32(1+s.rand.IntN(2)), uint32(1+s.rand.IntN(3))
	}
	if c.Class == link.ClassStatement {
		c.QueryID = uint64(s.rand.IntN(300)) << 55
	}
	s.event(c)
	s.sent += int64(c.BytesOut)
	s.calls++
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
