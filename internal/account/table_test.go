package account

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
)

func person(app, addr string) link.Account {
	a := link.Account{DatabaseID: 5, RoleID: 10, Database: "shop", Role: "alice", Application: app}
	if addr != "" {
		a.Remote.IP = netip.MustParseAddr(addr)
	}
	return a
}

func sent(n int64) Usage { return Usage{Sessions: 1, BytesOut: n} }

// show gives a table's rows, the special ones by their names.
func show[T comparable, V amounts[V]](t *Table[T, V]) map[string]V {
	all := map[string]V{}
	for r := range t.All() {
		name := r.Key.Special.String()
		if r.Key.Special == Named {
			name = fmt.Sprint(r.Key.Of)
		}
		all[name] = r.Total()
	}
	return all
}

func TestFoldsTheLeast(t *testing.T) {
	w := NewWho()
	w.Applications.Bound(16)
	live := w.Open(person("live", ""))
	for i := range 14 {
		w.Add(person(fmt.Sprint("app", i), ""), sent(int64(100-i)))
	}
	if n := w.Applications.Len(); n != 15 {
		t.Fatalf("%d rows of 15", n)
	}
	w.Add(person("new", ""), sent(1000))
	w.Add(person("newer", ""), sent(1000))
	rows := show(w.Applications)
	for _, kept := range []string{"live", "app0", "app9", "new", "newer"} {
		if _, ok := rows[kept]; !ok {
			t.Errorf("%s is folded", kept)
		}
	}
	for _, gone := range []string{"app13", "app12"} {
		if _, ok := rows[gone]; ok {
			t.Errorf("%s is not folded", gone)
		}
	}
	var sum Usage
	for _, u := range rows {
		sum = sum.Plus(u)
	}
	if want := int64(14*100 - 13*7 + 2000); sum.BytesOut != want || sum.Sessions != 16 || len(rows) > 16 {
		t.Errorf("%d rows with %d bytes of %d sessions, want %d", len(rows), sum.BytesOut, sum.Sessions, want)
	}
	live.Close()
}

// A row whose sessions go on is folded when only such rows are left, and what they do then is
// added to (other), which never goes back; when they have ended, the name is free.
func TestFoldsLiveRowsAtLast(t *testing.T) {
	w := NewWho()
	w.Applications.Bound(4)
	shares := map[string]*Share{}
	for i := range 8 {
		name := fmt.Sprint("app", i)
		shares[name] = w.Open(person(name, ""))
		shares[name].Set(link.Traffic{BytesOut: uint64(10 + i)})
	}
	rows := show(w.Applications)
	if len(rows) != 4 || rows[Others].BytesOut == 0 {
		t.Fatalf("rows %v", rows)
	}
	for name, s := range shares {
		_, there := rows[name]
		if folded := s.Folded() == 1<<inApplications; folded == there {
			t.Errorf("%s: folded %t, shown %t", name, folded, there)
		}
		s.Set(link.Traffic{BytesOut: 1000})
	}
	if u := show(w.Applications)[Others]; u.BytesOut != 5000 {
		t.Errorf("(other) has %d bytes of five sessions", u.BytesOut)
	}
	for name, s := range shares {
		w.Add(person(name, ""), Usage{BytesOut: 1500})
		s.Close()
	}
	rows = show(w.Applications)
	if u := rows[Others]; u.BytesOut != 7500 {
		t.Errorf("(other) has %d bytes at the end", u.BytesOut)
	}
	w.Refresh(time.Second)
	w.Applications.Bound(100)
	w.Add(person("app0", ""), sent(1))
	if rows = show(w.Applications); len(rows) != 5 && len(rows) != 4 {
		t.Errorf("rows %v", rows)
	}
}

// A flood from addresses that come once takes no more rows than the bound, and
// every packet is somewhere.
func TestFlood(t *testing.T) {
	w := NewWho()
	w.Clients.Bound(5000)
	w.Networks.Bound(5000)
	steady := netip.MustParseAddr("192.0.2.1")
	var r engine.Reading
	for i := range 100_000 {
		c := engine.Counts{PacketsIn: 1, BytesIn: 60}
		r.Clients = append(r.Clients, engine.ClientCounts{
			Client: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Counts: c,
		})
	}
	w.AddWire(engine.Reading{Clients: []engine.ClientCounts{{Client: steady, Counts: engine.Counts{PacketsOut: 1000, BytesOut: 1_000_000}}}})
	w.AddWire(r)
	if n := len(w.Clients.rows); n > 5000 {
		t.Errorf("%d rows", n)
	}
	rows := show(w.Clients)
	if rows[steady.String()].WireOut != 1_000_000 {
		t.Error("who sends much is folded")
	}
	var packets int64
	for _, u := range rows {
		packets += u.PacketsIn
	}
	if packets != 100_000 {
		t.Errorf("%d packets", packets)
	}
	if lack := w.Lack(engine.Counts{PacketsIn: 100_007, BytesOut: 999}); lack != (engine.Counts{PacketsIn: 7}) {
		t.Errorf("lack %+v", lack)
	}
}

func TestSpecialRows(t *testing.T) {
	w := NewWho()
	w.Add(link.Account{None: true, Remote: link.Address{IP: netip.MustParseAddr("10.0.0.1")}}, Usage{Failed: 1})
	w.Add(link.Account{None: true}, Usage{Failed: 1})
	w.Add(link.Account{Other: true}, Usage{Sessions: 1})
	w.Add(link.Account{Database: "(none)", DatabaseID: 7, Application: "(other)", Remote: link.Address{Unix: true}}, Usage{Sessions: 1})
	if rows := show(w.Databases); rows["(none)"].Failed != 2 || rows[Others].Sessions != 1 || rows["7"].Sessions != 1 {
		t.Errorf("databases %v", rows)
	}
	if rows := show(w.Clients); rows["10.0.0.1"].Failed != 1 || rows["(none)"].Failed != 1 || rows["(local)"].Sessions != 1 || rows[Others].Sessions != 1 {
		t.Errorf("clients %v", rows)
	}
	if rows := show(w.Networks); rows[Others].Failed != 1 || rows["(none)"].Failed != 1 || rows["(local)"].Sessions != 1 {
		t.Errorf("networks %v", rows)
	}
	if n := w.Applications.Len(); n != 3 { // (none), (other), and one who calls itself (other)
		t.Errorf("%d applications", n)
	}
}

// TestNameless: what a backend had no room for is an application's name, not who it
// was and where from.
func TestNameless(t *testing.T) {
	w := NewWho()
	w.Add(link.Account{Nameless: true, DatabaseID: 7, Database: "shop", RoleID: 10, Role: "alice", Remote: link.Address{IP: netip.MustParseAddr("10.0.0.1")}}, Usage{BytesOut: 5})
	for what, rows := range map[string]map[string]Usage{"7": show(w.Databases), "10": show(w.Roles), Others: show(w.Applications), "10.0.0.1": show(w.Clients)} {
		if len(rows) != 1 || rows[what].BytesOut != 5 {
			t.Errorf("%s is not in %v", what, rows)
		}
	}
}

func TestSpeeds(t *testing.T) {
	w := NewWho()
	s := w.Open(person("x", ""))
	s.Set(link.Traffic{BytesIn: 100, BytesOut: 1000})
	w.Refresh(0)
	s.Set(link.Traffic{BytesIn: 300, BytesOut: 1500})
	w.Refresh(2 * time.Second)
	r := w.Applications.Find(Key[string]{Of: "x"})
	if r.Speed != (Speed{100, 250}) {
		t.Errorf("speed %+v", r.Speed)
	}
	// The session ends: what it did is settled, and nothing jumps.
	w.Add(person("x", ""), Usage{BytesIn: 300, BytesOut: 1700})
	s.Close()
	w.Refresh(2 * time.Second)
	if r.Speed != (Speed{0, 100}) {
		t.Errorf("speed %+v after its end", r.Speed)
	}
	w.Reset(time.Time{})
	if w.Applications.Len() != 0 {
		t.Error("a row of nobody is left after a reset")
	}
}

func TestNetworks(t *testing.T) {
	n, err := ParseNetworks(" office = 10.0.0.0/8 ,vpn=10.9.0.0/16,host=10.9.1.1, office=2001:db8::/32,all6=::/0")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"10.1.2.3": "office", "10.9.2.3": "vpn", "10.9.1.1": "host", "11.0.0.1": "", "2001:db8::5": "office", "2001:db9::5": "all6",
		"fe80::1%eth0": "all6",
	} {
		if name, _ := n.Find(netip.MustParseAddr(addr)); name != want {
			t.Errorf("%s is in %q, want %q", addr, name, want)
		}
	}
	for list, complaint := range map[string]string{
		"office":                    "name=CIDR",
		"=10.0.0.0/8":               "name=CIDR",
		"a=10.0.0.0/8,":             "name=CIDR",
		"(other)=10.0.0.0/8":        "reserved",
		"a=10.0.0.0/33":             "CIDR",
		"a=10.0.0.1/8":              "10.0.0.0/8",
		"a=::ffff:10.0.0.0/104":     "CIDR",
		"a=fe80::1%eth0":            "no address",
		"a=localhost":               "no address",
		"a=10.0.0.0/8,b=10.0.0.0/8": "both",
	} {
		if _, err := ParseNetworks(list); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%q gives %v", list, err)
		}
	}
	if n, err := ParseNetworks(" "); err != nil {
		t.Error(err)
	} else if _, ok := n.Find(netip.MustParseAddr("10.0.0.1")); ok {
		t.Error("an address is in no network's network")
	}
}

func TestStatements(t *testing.T) {
	w := NewWhat()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w.At(at)
	k := link.StatementKey{UserID: 1, DatabaseID: 2, QueryID: 1 << 63}
	w.Add(link.StatementChange{StatementKey: k, Calls: 2, BytesOut: 50, MaxBytes: 40})
	w.At(at.Add(time.Hour))
	w.Add(link.StatementChange{StatementKey: k, Calls: 1, BytesOut: 30, MaxBytes: 30})
	w.Add(link.StatementChange{StatementKey: link.StatementKey{Class: link.ClassProtocol, UserID: 1, DatabaseID: 2}, BytesOut: 5})
	w.Add(link.StatementChange{StatementKey: link.StatementKey{Class: link.ClassOther, UserID: 9}, BytesOut: 6})
	r := w.Statements.Find(Key[Statement]{Of: Statement{1, 2, 1 << 63}})
	if r == nil || r.Total() != (Calls{Calls: 3, BytesOut: 80, MaxBytes: 40}) || !r.Since.Equal(at) {
		t.Errorf("%+v", r)
	}
	if rows := show(w.Statements); rows["(protocol)"].BytesOut != 5 || rows[Others].BytesOut != 6 {
		t.Errorf("%v", rows)
	}
	w.Reset(at)
	if w.Statements.Len() != 0 {
		t.Error("a statement survives a reset")
	}
}

func BenchmarkFlood(b *testing.B) {
	for b.Loop() {
		w := NewWho()
		w.Clients.Bound(5000)
		var r engine.Reading
		for i := range 100_000 {
			r.Clients = append(r.Clients, engine.ClientCounts{
				Client: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), Counts: engine.Counts{PacketsIn: 1, BytesIn: 60},
			})
		}
		w.AddWire(r)
	}
}

// TestFloodAmongLiveRows: where every row is of live sessions, a flood of new keys does not
// look through all of them each time, nothing is lost, and later there is room again.
func TestFloodAmongLiveRows(t *testing.T) {
	const bound, flood = 5000, 100000
	w := NewWho()
	w.Clients.Bound(bound)
	account := func(i int) link.Account {
		return link.Account{Remote: link.Address{IP: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}}
	}
	var shares []*Share
	for i := range 2 * bound {
		shares = append(shares, w.Open(account(i)))
	}
	for i := range flood {
		w.Add(account(2*bound+i), Usage{BytesIn: 1})
	}
	late := w.Open(account(3 * flood))
	late.Set(link.Traffic{BytesIn: 7})
	check := func(want Usage, live int) {
		t.Helper()
		var sum Usage
		sessions := 0
		for r := range w.Clients.All() {
			sum = sum.Plus(r.Total())
			sessions += r.Sessions()
		}
		if sum != want || sessions != live || w.Clients.Len() > bound+1 {
			t.Errorf("%d rows with %d sessions and %+v, want %d and %+v", w.Clients.Len(), sessions, sum, live, want)
		}
	}
	check(Usage{BytesIn: flood + 7}, 2*bound+1)
	late.Close()
	for _, s := range shares {
		s.Close()
	}
	w.Refresh(time.Second)
	w.Add(account(4*flood), Usage{BytesIn: 3})
	check(Usage{BytesIn: flood + 3}, 0)
	if r := w.Clients.Find(Key[netip.Addr]{Of: account(4 * flood).Remote.IP}); r == nil {
		t.Error("there is no room for a new key after all sessions have ended")
	}
}
