package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

var alice = link.Account{
	DatabaseID: 5, RoleID: 10, Database: "shop", Role: "alice", Application: "psql",
	Remote: link.Address{IP: netip.MustParseAddr("10.0.0.7")},
}

// say makes frames part of the next batch.
func (wk *worker) say(frames ...[]byte) {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	wk.batch = append(wk.batch, frames...)
}

// event makes an event part of it.
func (wk *worker) event(c link.Change) {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	wk.seq++
	wk.batch = append(wk.batch, link.Event{Seq: wk.seq, Change: c}.Encode())
}

// end ends the batch, as the worker does of itself.
func (wk *worker) end() { wk.answer(0) }

func live(serial uint64) link.Live {
	return link.Live{Serial: serial, PID: uint32(serial), Cookie: serial, RemotePort: 40000, Account: alice}
}

func socket(cookie, in, out uint64) sockdiag.Socket {
	return sockdiag.Known(sockdiag.Socket{Cookie: cookie, State: sockdiag.Established, BytesReceived: in, BytesSent: out})
}

// total gives a column of the only row of a table.
func (p published) total(table link.Table, column string) int64 {
	p.t.Helper()
	return p.value(table, column).(int64)
}

// sum adds up a column of a table.
func (p published) sum(table link.Table, column string) (sum int64) {
	p.t.Helper()
	for _, row := range p.rows(table) {
		for i, c := range table.Columns {
			if c.Name == column {
				sum += row[i].(int64)
			}
		}
	}
	return sum
}

func TestSessionIsShownWhileItLivesAndAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		wk := employ(t, w, nil)
		wk.end()
		wk.event(link.AccountChange{Account: alice, Opened: 1})
		wk.say(live(1).Encode())
		w.connected(nil, socket(1, 100, 1000), socket(99, 5, 5))
		p := wk.after(1500 * time.Millisecond)
		if p.total(view.Roles, "bytes_out") != 1000 || p.total(view.Roles, "live_sessions") != 1 || p.total(view.Activity, "bytes_in") != 100 {
			t.Errorf("role %v, session %v", p.rows(view.Roles), p.rows(view.Activity))
		}
		if p.set["events"] != "1" || p.status("sessions_live") != int64(1) {
			t.Errorf("events through %s, %v", p.set["events"], p.status("sessions_live"))
		}
		w.connected(nil, socket(1, 200, 3000))
		p = wk.after(time.Second)
		if speed := p.value(view.Activity, "bytes_out_speed"); speed != 2000.0 || p.value(view.Databases, "bytes_in_speed") != 100.0 {
			t.Errorf("speed %v, %v", speed, p.rows(view.Databases))
		}
		wk.event(link.AccountChange{Account: alice, Closed: 1, Traffic: link.Traffic{BytesIn: 250, BytesOut: 3500}})
		wk.say(link.Ended(1))
		wk.end()
		p = wk.after(time.Second)
		if p.sum(view.Clients, "bytes_out") != 3500 || p.sum(view.Clients, "live_sessions") != 0 || len(p.rows(view.Activity)) != 0 {
			t.Errorf("at the end: client %v, sessions %v", p.rows(view.Clients), p.rows(view.Activity))
		}
		wk.leave()
	})
}

// A worker that says nothing holds up neither the intervals nor the end.
func TestIntervalsDoNotWaitForTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wk := employ(t, &world{}, nil)
		wk.mu.Lock()
		wk.silent = true
		wk.mu.Unlock()
		p := wk.after(35*time.Second + 20*time.Millisecond)
		rows := p.rows(view.History)
		if len(rows) != 3 {
			t.Fatalf("%d rows after 35 s", len(rows))
		}
		for _, row := range rows {
			if late := row[10].(time.Time).Sub(row[1].(time.Time)); late != 10*time.Second+8*time.Millisecond {
				t.Errorf("a row is complete after %s", late)
			}
		}
		if _, ok := p.set[view.Roles.Name]; ok || p.set["events"] != "0" {
			t.Error("sessions are shown that nobody told of")
		}
		if err := wk.leave(); err != nil {
			t.Error(err)
		}
	})
}

func TestResetOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{client: alice.Remote.IP}
		wk := employ(t, w, nil)
		wk.event(link.AccountChange{Account: alice, Opened: 1})
		wk.event(link.StatementChange{Calls: 1, BytesOut: 9})
		wk.say(live(1).Encode())
		wk.after(2500 * time.Millisecond)
		w.connected(nil, socket(1, 100, 1000)) // unseen when the reset comes
		wk.send('Z', numbers(9))
		p := wk.after(30 * time.Millisecond)
		if p.set["reset"] != "9" || p.total(view.Roles, "bytes_out") != 0 || p.total(view.Roles, "sessions") != 0 ||
			p.total(view.Roles, "live_sessions") != 1 || len(p.rows(view.Statements)) != 0 || p.sum(view.Clients, "packets_in") != 0 {
			t.Errorf("after the reset %s: %v, %v", p.set["reset"], p.rows(view.Roles), p.rows(view.Clients))
		}
		wk.event(link.AccountChange{Account: alice, Closed: 1, Traffic: link.Traffic{BytesIn: 150, BytesOut: 1700}})
		wk.say(link.Ended(1))
		p = wk.after(time.Second)
		if p.sum(view.Networks, "bytes_out") != 700 || p.sum(view.Networks, "bytes_in") != 50 {
			t.Errorf("at the end %v", p.rows(view.Networks))
		}
		wk.leave()
	})
}

// An agent is killed after each of many moments: the next one shows the same in the end.
func TestNextAgentKnowsTheSessions(t *testing.T) {
	for moment := time.Duration(0); moment < 2400*time.Millisecond; moment += 97 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			w := &world{client: alice.Remote.IP}
			wk := employ(t, w, nil)
			opened := link.Event{Seq: 1, Change: link.AccountChange{Account: alice, Opened: 1}}
			closed := link.Event{Seq: 2, Change: link.AccountChange{Account: alice, Closed: 1, Traffic: link.Traffic{BytesIn: 250, BytesOut: 3500}}}
			wk.mu.Lock()
			wk.seq, wk.batch = 1, [][]byte{opened.Encode(), live(1).Encode()}
			wk.mu.Unlock()
			w.connected(nil, socket(1, 100, 1000))
			go func() {
				time.Sleep(1200 * time.Millisecond)
				wk.mu.Lock()
				wk.seq, wk.batch = 2, append(wk.batch, closed.Encode(), link.Ended(1))
				wk.mu.Unlock()
				wk.end()
			}()
			p := wk.after(moment)
			wk.conn.Close()
			<-wk.done
			time.Sleep(2 * time.Second)
			var seq uint64
			if p.set != nil {
				fmt.Sscan(p.set["events"], &seq)
			}
			w.connected(nil)
			wk = employFrom(t, w, p.set, seq)
			wk.mu.Lock()
			for _, e := range []link.Event{opened, closed} {
				if e.Seq > seq {
					wk.batch = append(wk.batch, e.Encode())
				}
			}
			wk.seq = 2
			wk.mu.Unlock()
			wk.end()
			p = wk.after(2 * time.Second)
			for _, table := range []link.Table{view.Databases, view.Roles, view.Applications} {
				if p.total(table, "bytes_out") != 3500 || p.total(table, "sessions") != 1 || p.total(table, "live_sessions") != 0 {
					t.Errorf("killed after %s, %s shows %v", moment, table.Name, p.rows(table))
				}
			}
			packets, sent := p.sum(view.Clients, "packets_in"), p.sum(view.Clients, "bytes_out")
			if want := p.total(view.Devices, "packets_in"); packets != want || sent != 3500 {
				t.Errorf("killed after %s, the clients have %d packets of %d, %d bytes", moment, packets, want, sent)
			}
			wk.leave()
		})
	}
}

// Where the refresh is seldom, many events are published nevertheless.
func TestManyEventsArePublishedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wk := employ(t, &world{}, nil, "pg_netstat.refresh_interval=3600", "pg_netstat.interval=900000")
		wk.end()
		wk.after(5 * time.Second)
		for range manyEvents {
			wk.event(link.AccountChange{Account: alice, Opened: 1})
		}
		wk.end()
		p := wk.after(time.Second)
		if p.set["events"] != fmt.Sprint(manyEvents) || p.total(view.Roles, "sessions") != manyEvents {
			t.Errorf("events through %s", p.set["events"])
		}
		wk.leave()
	})
}

// names lists the first column.
func names(rows []link.Row) string {
	var all []string
	for _, row := range rows {
		all = append(all, row[0].(string))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestNetworksThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wk := employ(t, &world{}, nil, "pg_netstat.networks=lan=10.0.0.0/8")
		wk.event(link.AccountChange{Account: alice, Opened: 1})
		wk.end()
		wk.send('C', settings("pg_netstat.networks=(lan)=10.0.0.0/8"))
		p := wk.after(1500 * time.Millisecond)
		if names := names(p.rows(view.Networks)); names != "(other) lan" || !strings.Contains(fmt.Sprint(p.status("warning")), "reserved") {
			t.Errorf("networks %v, warning %v", p.rows(view.Networks), p.status("warning"))
		}
		wk.send('C', settings("pg_netstat.networks=vpn=10.0.0.0/8"))
		p = wk.after(1500 * time.Millisecond)
		if p.rows(view.Clients)[0][2] == "lan" || p.rows(view.Clients)[1][2] == "lan" || names(p.rows(view.Networks)) != "(other) lan" || p.status("warning") != nil {
			t.Errorf("clients %v, warning %v", p.rows(view.Clients), p.status("warning"))
		}
		wk.leave()
	})
}

// What does not fit into a small set is added up or left out, and said.
func TestSmallMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wk := employ(t, &world{room: 128 << 10}, nil, "pg_netstat.interval=1", "pg_netstat.history=86400")
		for i := range 400 {
			a := alice
			a.Application, a.Remote.IP = fmt.Sprint("application ", i), netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
			wk.event(link.AccountChange{Account: a, Opened: 1, Traffic: link.Traffic{BytesOut: 10}})
			l := live(uint64(i + 1))
			l.Account = a
			wk.say(l.Encode())
		}
		p := wk.after(400 * time.Second)
		size := 0
		for name, data := range p.set {
			if strings.HasPrefix(name, "pg_netstat") {
				size += len(data)
			}
		}
		if size > 128<<10 {
			t.Errorf("%d bytes are published", size)
		}
		for _, table := range []link.Table{view.Applications, view.Clients, view.Roles} {
			if n := p.sum(table, "sessions"); n != 400 {
				t.Errorf("%s has %d sessions in %d rows", table.Name, n, len(p.rows(table)))
			}
		}
		warning := fmt.Sprint(p.status("warning"))
		for _, want := range []string{"pg_netstat_activity are left out", "least rows of pg_netstat_client", "least rows of pg_netstat_application", "oldest rows of pg_netstat are left out"} {
			if !strings.Contains(warning, want) {
				t.Errorf("warning %q lacks %q", warning, want)
			}
		}
		if n := len(p.rows(view.History)); n < 20 {
			t.Errorf("%d intervals are left", n)
		}
		wk.leave()
	})
}

func TestSocketsThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		wk := employ(t, w, nil)
		wk.event(link.AccountChange{Account: alice, Opened: 1})
		wk.say(live(1).Encode())
		w.connected(nil, socket(1, 100, 1000))
		wk.after(2500 * time.Millisecond)
		w.connected(errors.New("not permitted"))
		p := wk.after(time.Second)
		if p.total(view.Roles, "bytes_out") != 1000 || !strings.Contains(fmt.Sprint(p.status("warning")), "not permitted") {
			t.Errorf("role %v, warning %v", p.rows(view.Roles), p.status("warning"))
		}
		w.connected(nil, socket(1, 100, 1500))
		p = wk.after(time.Second)
		if p.total(view.Roles, "bytes_out") != 1500 || p.status("warning") != nil {
			t.Errorf("role %v, warning %v", p.rows(view.Roles), p.status("warning"))
		}
		wk.leave()
	})
}
