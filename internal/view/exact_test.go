package view

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// dump remembers the sockets as they are, but for some that it misses.
func (s *server) dump() {
	s.sockets = nil
	for serial, c := range s.live {
		if c.Unix || s.rand.IntN(10) == 0 {
			continue
		}
		s.sockets = append(s.sockets, sockdiag.Known(sockdiag.Socket{
			Cookie: serial, State: sockdiag.Established, BytesReceived: c.now.BytesIn,
			BytesSent: c.now.BytesOut + c.now.RetransmittedBytes, BytesRetrans: c.now.RetransmittedBytes,
			SegsIn: uint32(c.now.SegmentsIn), SegsOut: uint32(c.now.SegmentsOut), TotalRetrans: uint32(c.now.RetransmittedSegments),
		}))
	}
}

// refresh shows the register the dump, at the end of a batch.
func (s *server) refresh() {
	s.register.Refresh(slices.Clone(s.sockets), noon, time.Second)
	for _, k := range s.sockets {
		if c := s.live[k.Cookie]; c != nil && k.BytesReceived >= c.Base.BytesIn && k.Out() >= c.Base.BytesOut {
			now := link.Traffic{
				BytesIn: k.BytesReceived, BytesOut: k.Out(), SegmentsIn: uint64(k.SegsIn), SegmentsOut: uint64(k.SegsOut),
				RetransmittedBytes: k.BytesRetrans, RetransmittedSegments: uint64(k.TotalRetrans),
			}
			s.has(c, minus(now, c.Base))
		}
	}
	for _, c := range s.live {
		if c.Unix && !s.changed[c.Serial] {
			s.has(c, minus(c.now, s.base(c)))
		}
	}
}

// publish refreshes and publishes, and looks at what is shown.
func (s *server) publish() {
	s.refresh()
	if s.rand.IntN(3) == 0 {
		s.wire()
	}
	before := s.published
	s.published = encodeAll(s.T, s.register)
	s.acked = s.register.Seq()
	s.register.Published()
	s.events = slices.DeleteFunc(s.events, func(e link.Event) bool { return e.Seq <= s.acked })
	s.check(before)
}

// next is what an agent does that comes after another one's death.
func (s *server) next() {
	s.register = session.NewRegister(s.acked, session.NewFlows(100))
	s.register.Rename(s.networks)
	if err := RestoreSessions(s.published, s.register); err != nil {
		s.Fatal(err)
	}
	s.register.Rename(s.networks)
	s.dump()
	s.tell(s.acked, true)
	s.setBound(s.bound)
	s.publish()
}

// crash ends all sessions without a word; what was saved is what was published last.
func (s *server) crash() {
	for _, c := range s.live {
		s.event(link.Ghost{Serial: c.Serial, Base: s.base(c), Account: c.Account})
	}
	clear(s.live)
	s.life, s.serial = s.life+1, 0
	s.next()
}

func (s *server) reset() {
	s.dump()
	s.tell(0, false)
	s.refresh()
	s.register.Reset(noon)
	clear(s.rows)
	s.sent, s.calls, s.published = 0, 0, nil
	s.publish()
}

func (s *server) rename() {
	s.dump()
	s.tell(0, false)
	s.publish()
	lists := []string{"", "lan=10.0.0.0/16,wan=10.0.0.0/8", "wan=10.1.0.0/16,lan=10.0.0.0/16,one=10.0.0.1", "all=0.0.0.0/0"}
	n, err := account.ParseNetworks(pick(s.rand, lists))
	if err != nil {
		s.Fatal(err)
	}
	s.networks = n
	if s.rand.IntN(2) == 0 {
		s.register.Rename(n)
		s.publish()
	} else {
		s.next() // with another setting
	}
}

func (s *server) setBound(rows int) {
	s.bound = rows
	s.register.Who.Clients.Bound(rows)
	s.register.Who.Networks.Bound(rows)
	s.register.Who.Applications.Bound(rows)
	s.register.What.Statements.Bound(rows)
}

// step does something at random.
func (s *server) step() {
	switch n := s.rand.IntN(100); {
	case n < 25:
		s.open()
	case n < 30:
		s.fail()
	case n < 40:
		s.statement()
	case n < 75:
		for _, c := range s.live {
			switch s.rand.IntN(12) {
			case 0:
				s.split(c)
			case 1:
				s.work(c)
				s.close(c)
			default:
				s.work(c)
			}
		}
	case n < 80:
		s.tell(0, false)
	case n < 92:
		s.dump()
		s.step() // between the dump and the batch
		s.tell(0, false)
		s.publish()
	case n < 95:
		s.rename()
	case n < 97:
		s.next()
	case n < 98:
		s.crash()
	default:
		s.reset()
	}
}

func TestExact(t *testing.T) {
	for seed := range uint64(10) {
		for _, bound := range []int{0, 5, 20} {
			t.Run(fmt.Sprintf("seed %d, bound %d", seed, bound), func(t *testing.T) {
				s := &server{
					T: t, rand: rand.New(rand.NewPCG(seed, uint64(bound))), bound: bound,
					live: map[uint64]*client{}, changed: map[uint64]bool{},
					had: map[string]account.Usage{}, rows: map[string]account.Usage{},
				}
				s.next()
				for range 300 {
					s.step()
				}
			})
		}
	}
}

func encodeAll(t testing.TB, r *session.Register) map[string][]byte {
	t.Helper()
	m, all := Moment{Reset: noon, Measured: true}, map[string][]byte{}
	put := func(table link.Table, data []byte, err error) {
		if err != nil {
			t.Fatalf("%s: %v", table.Name, err)
		}
		all[table.Name] = data
	}
	data, err := EncodeDatabases(nil, r.Who, m)
	put(Databases, data, err)
	data, err = EncodeRoles(nil, r.Who, m)
	put(Roles, data, err)
	data, err = EncodeApplications(nil, r.Who, m)
	put(Applications, data, err)
	data, err = EncodeClients(nil, r.Who, m)
	put(Clients, data, err)
	data, err = EncodeNetworks(nil, r.Who, m)
	put(Networks, data, err)
	data, err = EncodeStatements(nil, r.What, r.Who, m)
	put(Statements, data, err)
	data, left, err := EncodeActivity(nil, r, 1<<20)
	put(Activity, data, err)
	if left != 0 {
		t.Fatalf("%d sessions left out", left)
	}
	return all
}

// shown gives what the views show, by table and row.
func shown(t *testing.T, published map[string][]byte) map[string]account.Usage {
	t.Helper()
	all := map[string]account.Usage{}
	for name, of := range map[string]struct {
		table  link.Table
		column string
	}{
		"database": {Databases, "datname"}, "role": {Roles, "usename"}, "application": {Applications, "application_name"},
		"client": {Clients, "client"}, "network": {Networks, "network"},
	} {
		rows, err := of.table.Decode(published[of.table.Name])
		if err != nil && published != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			f := fields{&of.table, row}
			u := account.Usage{
				Sessions: get[int64](f, "sessions"), Failed: get[int64](f, "failed_connections"),
				BytesIn: get[int64](f, "bytes_in"), BytesOut: get[int64](f, "bytes_out"),
				SegmentsIn: get[int64](f, "segments_in"), SegmentsOut: get[int64](f, "segments_out"),
				RetransmittedBytes:    get[int64](f, "retransmitted_bytes"),
				RetransmittedSegments: get[int64](f, "retransmitted_segments"),
			}
			if name == "client" || name == "network" {
				u = f.wire(u)
			}
			key := name + " " + get[string](f, of.column)
			all[key] = all[key].Plus(u)
		}
	}
	return all
}

func sums(rows map[string]account.Usage) map[string]account.Usage {
	all := map[string]account.Usage{}
	for key, u := range rows {
		table, _, _ := strings.Cut(key, " ")
		all[table] = all[table].Plus(u)
	}
	return all
}

// check compares what is shown with the model, and with what was shown before.
func (s *server) check(before map[string][]byte) {
	s.Helper()
	now, was := shown(s.T, s.published), shown(s.T, before)
	want, got := sums(s.rows), sums(now)
	for table, w := range want {
		if got[table] != w {
			s.Fatalf("sum of %s\n got %+v\nwant %+v", table, got[table], w)
		}
	}
	if s.bound == 0 {
		for row, w := range s.rows {
			if now[row] != w {
				s.Fatalf("%s\n got %+v\nwant %+v", row, now[row], w)
			}
		}
	}
	for row, u := range was {
		d := now[row].Minus(u)
		_, there := now[row]
		if (there || s.bound == 0) && min(d.Sessions, d.Failed, d.BytesIn, d.BytesOut, d.SegmentsIn, d.SegmentsOut,
			d.RetransmittedBytes, d.RetransmittedSegments, d.PacketsIn, d.WireOut) < 0 && (s.bound == 0 || strings.HasSuffix(row, " (other)")) {
			s.Fatalf("%s went back\nfrom %+v\n  to %+v", row, u, now[row])
		}
	}
	rows, err := Statements.Decode(s.published[Statements.Name])
	if err != nil {
		s.Fatal(err)
	}
	var sent, calls int64
	for _, row := range rows {
		f := fields{&Statements, row}
		sent += get[int64](f, "bytes_out")
		calls += get[int64](f, "calls")
	}
	if sent != s.sent || calls != s.calls || s.bound > 0 && len(rows) > s.bound+8 {
		s.Fatalf("%d statements sent %d in %d calls, want %d in %d", len(rows), sent, calls, s.sent, s.calls)
	}
}
