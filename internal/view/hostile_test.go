package view

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
)

// FuzzRestoreSessions restores snapshots that somebody has damaged, and goes on with
// them: whatever they say, nothing panics, and what is published next can be read.
func FuzzRestoreSessions(f *testing.F) {
	s := &server{
		rand: rand.New(rand.NewPCG(1, 1)), live: map[uint64]*client{}, changed: map[uint64]bool{},
		had: map[string]account.Usage{}, rows: map[string]account.Usage{},
	}
	for range 5 {
		s.open()
		s.statement()
	}
	s.fail()
	r := session.NewRegister(0, session.NewFlows(10))
	for _, e := range s.events {
		r.Event(e)
	}
	for _, c := range s.live {
		r.Live(c.Live)
	}
	r.Apply(link.Taken{Seq: s.seq}, noon)
	tables := []*link.Table{&Databases, &Roles, &Applications, &Clients, &Networks, &Statements, &Activity}
	for name, data := range encodeAll(f, r) {
		for i, t := range tables {
			if t.Name == name {
				f.Add(byte(i), data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		r := session.NewRegister(0, session.NewFlows(10))
		_ = RestoreSessions(map[string][]byte{tables[int(which)%len(tables)].Name: data}, r)
		for _, c := range s.live {
			r.Live(c.Live)
		}
		r.Event(link.Event{Seq: 1, Change: link.Ghost{Serial: 1, Account: s.events[0].Change.(link.AccountChange).Account}})
		r.Apply(link.Taken{Seq: 1}, noon)
		for _, bounded := range r.Bounded() {
			bounded.Bound(3)
		}
		r.Refresh(nil, noon, time.Second)
		encoded := encodeAll(t, r)
		for _, table := range tables {
			if _, err := table.Decode(encoded[table.Name]); err != nil {
				t.Errorf("%s: %v", table.Name, err)
			}
		}
	})
}
