package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// world is what the agent is given: a network of one device, and engines that
// count one packet each millisecond of the test's clock.
type world struct {
	found   Found
	findErr error
	refuse  map[string]error // engines that cannot run
	opened  []string
	closed  int
	overlap bool
	restart bool
	targets []engine.Target
	stuck   bool       // readings never come
	client  netip.Addr // of one packet in each reading

	mu      sync.Mutex
	sockets []sockdiag.Socket // of a dump
	dumpErr error
	room    uint64 // bytes of a set; 0 for plenty
}

func (w *world) Dump(_ uint16, into []sockdiag.Socket) ([]sockdiag.Socket, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(into[:0], w.sockets...), w.dumpErr
}

// connected says what the next dumps have.
func (w *world) connected(err error, sockets ...sockdiag.Socket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dumpErr, w.sockets = err, sockets
}

func (w *world) Find(Config) (Found, error)                { return w.found, w.findErr }
func (w *world) Watch(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }
func (w *world) Configure(engine.Source, Config) error     { return nil }
func (w *world) Restart() bool                             { return w.restart }

func (w *world) Open(name string, _ Config, _ engine.Target) (engine.Source, error) {
	if err := w.refuse[name]; err != nil {
		return nil, err
	}
	w.opened = append(w.opened, name)
	return &metronome{world: w, since: time.Now()}, nil
}

// metronome is a source that sees a packet of 100 bytes each way every
// millisecond, and checks the rules of Cut.
type metronome struct {
	*world
	since   time.Time
	pending atomic.Int32
}

func (m *metronome) Retarget(t engine.Target) error { m.targets = append(m.targets, t); return nil }
func (m *metronome) Overlap() bool                  { return m.overlap }
func (m *metronome) Inexact() string                { return "" }
func (m *metronome) Close() error                   { m.closed++; return nil }

func (m *metronome) Cut(at time.Time) func() (engine.Reading, error) {
	if m.pending.Load() > 0 && !m.overlap {
		panic("a cut before the former's reading was taken")
	}
	m.pending.Add(1)
	n := uint64(at.Sub(m.since).Milliseconds())
	m.since = at
	return func() (engine.Reading, error) {
		time.Sleep(8 * time.Millisecond)
		if m.stuck {
			time.Sleep(time.Hour)
		}
		m.pending.Add(-1)
		c := engine.Counts{PacketsIn: n, PacketsOut: n, BytesIn: 100 * n, BytesOut: 100 * n}
		r := engine.Reading{Devices: []engine.DeviceCounts{{Device: "eth0", Counts: c}}, Other: c}
		if m.client.IsValid() { // all but one packet
			r.Other.PacketsIn -= min(n, 1)
			r.Clients = []engine.ClientCounts{{Client: m.client, Counts: engine.Counts{PacketsIn: min(n, 1)}}}
		}
		return r, nil
	}
}

// worker is the module's side of the socket.
type worker struct {
	t    *testing.T
	conn net.Conn
	sets chan map[string]string // what was published: snapshots by name
	logs chan string
	done chan error

	mu     sync.Mutex
	batch  [][]byte // to go with the next answer
	seq    uint64   // of the last event in it
	silent bool     // never answers
}

func settings(changes ...string) []byte {
	m := map[string]string{
		"port": "5432", "postmaster_pid": "100", "listen_addresses": "*",
		"pg_netstat.device": "auto", "pg_netstat.devices": "", "pg_netstat.capture_loopback": "off",
		"pg_netstat.engine": "auto", "pg_netstat.interval": "10", "pg_netstat.history": "60",
		"pg_netstat.refresh_interval": "1", "pg_netstat.max_entries": "5000",
		"pg_netstat.packet_wait_time": "5", "pg_netstat.pcap_buffer_size": "1000000",
		"pg_netstat.pcap_snaplen": "96", "pg_netstat.pcap_timeout": "1000", "pg_netstat.networks": "",
	}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, "=")
		m[name] = value
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(m)))
	for name, value := range m {
		b = text(text(b, name), value)
	}
	return b
}

func text(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func numbers(v ...uint64) (b []byte) {
	for _, n := range v {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// employ starts an agent in w and greets it.
func employ(t *testing.T, w *world, restore map[string]string, changes ...string) *worker {
	t.Helper()
	return employFrom(t, w, restore, 0, changes...)
}

// employFrom does the same where the snapshots contain the events up to seq.
func employFrom(t *testing.T, w *world, restore map[string]string, seq uint64, changes ...string) *worker {
	t.Helper()
	if w.found.Target.Devices == nil {
		w.found.Target = engine.Target{Port: 5432, Devices: []engine.Device{{Index: 2, Name: "eth0"}}}
	}
	mine, its := net.Pipe()
	wk := &worker{t: t, conn: mine, sets: make(chan map[string]string, 10000),
		logs: make(chan string, 10000), done: make(chan error, 1), seq: seq}
	wire, start := NewWire(its), time.Now()
	a := &Agent{
		Version: "test", Wire: wire, Log: NewLogger(wire), Network: w, Engines: w, Sockets: w,
		Now: func() account.Instant { return account.Instant{Wall: time.Now(), Mono: time.Since(start)} },
	}
	go func() {
		wk.done <- a.Run(t.Context(), its)
		its.Close()
	}()
	go wk.listen()
	hello := text(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, link.Protocol), 150000), "1.0")
	if w.room == 0 {
		w.room = 1 << 24
	}
	wk.send('H', append(hello, numbers(w.room)...))
	wk.send('C', settings(changes...))
	origin := byte(0)
	for name, data := range restore {
		if !strings.HasPrefix(name, "pg_netstat") {
			continue
		}
		wk.send('S', text(text(nil, name), data))
		origin = 1
	}
	wk.send('T', append([]byte{origin}, numbers(1, 3, wk.seq)...))
	return wk
}

func (wk *worker) send(kind byte, body []byte) {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	wk.write(append(append(frame, kind), body...))
}

func (wk *worker) write(frames ...[]byte) {
	wk.mu.Lock()
	defer wk.mu.Unlock()
	for _, f := range frames {
		if _, err := wk.conn.Write(f); err != nil {
			wk.t.Logf("sending %q: %v", f[4], err)
		}
	}
}

// answer ends the batch that the agent has asked for.
func (wk *worker) answer(request uint32) {
	wk.mu.Lock()
	silent, batch, seq := wk.silent, wk.batch, wk.seq
	if !silent {
		wk.batch = nil
	}
	wk.mu.Unlock()
	if !silent {
		wk.write(append(batch, link.Taken{Request: request, Seq: seq}.Encode())...)
	}
}

func (wk *worker) listen() {
	r := link.NewReader(wk.conn)
	r.Limit(1 << 24)
	set, all := map[string]string{}, map[string]string{}
	defer close(wk.sets)
	for {
		kind, body, err := r.Next()
		if err != nil {
			return
		}
		switch kind {
		case link.TypeSnapshot:
			name, data, err := link.DecodeRestore(body)
			if err != nil {
				wk.t.Error(err)
			}
			set[name] = string(data)
		case link.TypePublish:
			for name, data := range set {
				all[name] = data
			}
			shown := map[string]string{}
			for name, data := range all {
				shown[name] = data
			}
			set = map[string]string{}
			shown["reset"] = fmt.Sprint(binary.BigEndian.Uint64(body[8:]))
			shown["events"] = fmt.Sprint(binary.BigEndian.Uint64(body))
			wk.sets <- shown
		case link.TypeLog:
			wk.logs <- string(body)
		case link.TypeTake:
			go wk.answer(binary.BigEndian.Uint32(body))
		}
	}
}

// after lets time pass and gives what is published then.
func (wk *worker) after(d time.Duration) published {
	time.Sleep(d)
	synctest.Wait()
	p := published{t: wk.t}
	for {
		select {
		case set, ok := <-wk.sets:
			if !ok {
				return p
			}
			p.set = set
		default:
			return p
		}
	}
}

func (wk *worker) leave() error {
	wk.send('Q', nil)
	return <-wk.done
}

type published struct {
	t   *testing.T
	set map[string]string
}

func (p published) rows(table link.Table) []link.Row {
	p.t.Helper()
	rows, err := table.Decode([]byte(p.set[table.Name]))
	if err != nil {
		p.t.Fatalf("%s: %v", table.Name, err)
	}
	return rows
}

func (p published) value(table link.Table, column string) any {
	p.t.Helper()
	rows := p.rows(table)
	if len(rows) != 1 {
		p.t.Fatalf("%d rows of %s", len(rows), table.Name)
	}
	for i, c := range table.Columns {
		if c.Name == column {
			return rows[0][i]
		}
	}
	panic(column)
}

func (p published) status(column string) any { p.t.Helper(); return p.value(view.StatusTable, column) }

// sums gives the packets that came in by the intervals (complete and not) and in total.
func (p published) sums() (intervals, total int64) {
	p.t.Helper()
	if len(p.rows(view.Devices)) == 0 {
		return 0, 0
	}
	for _, row := range p.rows(view.History) {
		intervals += row[2].(int64)
	}
	return intervals + p.value(view.Devices, "open_packets_in").(int64), p.value(view.Devices, "packets_in").(int64)
}

func TestIntervalsBecomeRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // begins at midnight
		wk := employ(t, &world{}, nil)
		p := wk.after(35*time.Second + 20*time.Millisecond)
		rows := p.rows(view.History)
		if len(rows) != 3 {
			t.Fatalf("%d rows after 35 s", len(rows))
		}
		for i, row := range rows {
			if start := row[1].(time.Time).UTC(); start.Second() != 10*i || row[2] != int64(10000) || row[4] != 1000.0 {
				t.Errorf("row %d: %v", i, row)
			}
			// Visible 8 ms after its end, which is what the reading takes.
			if late := row[10].(time.Time).Sub(row[1].(time.Time)); late != 10*time.Second+8*time.Millisecond {
				t.Errorf("row %d complete after %s", i, late)
			}
		}
		if i, total := p.sums(); i != total || total != 35000 {
			t.Errorf("intervals have %d, total %d", i, total)
		}
		if err := wk.leave(); err != nil {
			t.Error(err)
		}
	})
}

func TestReloadLosesNothing(t *testing.T) {
	for _, overlap := range []bool{false, true} {
		t.Run(fmt.Sprintf("overlap=%t", overlap), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wk := employ(t, &world{overlap: overlap}, nil)
				for i := range 100 {
					time.Sleep(777 * time.Millisecond)
					engines := []string{"auto", "pcap", "ebpf"}
					wk.send('C', settings(fmt.Sprintf("pg_netstat.interval=%d", 1+i%3), "pg_netstat.engine="+engines[i%3],
						"pg_netstat.history=1000"))
				}
				p := wk.after(320 * time.Millisecond)
				if i, total := p.sums(); i != total || total != 78000 {
					t.Errorf("intervals have %d, total %d, want 78000", i, total)
				}
				if g := p.status("gaps"); g != int64(0) {
					t.Errorf("%d gaps", g)
				}
				if err := wk.leave(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wk := employ(t, &world{}, nil)
		time.Sleep(25*time.Second + 500*time.Millisecond)
		wk.send('Z', numbers(9))
		p := wk.after(20 * time.Millisecond)
		if i, total := p.sums(); i != 0 || total != 0 || p.set["reset"] != "9" {
			t.Errorf("after a reset: %d, %d, number %s", i, total, p.set["reset"])
		}
		p = wk.after(10 * time.Second)
		if i, total := p.sums(); i != total || total < 9000 || total > 10000 {
			t.Errorf("10 s after: %d, %d", i, total)
		}
		wk.leave()
	})
}

func TestEngineIsTheBestPermitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{refuse: map[string]error{"ebpf": &engine.Missing{What: "CAP_BPF is missing", Hint: "Give it."}}}
		wk := employ(t, w, nil)
		p := wk.after(time.Second + 100*time.Millisecond)
		if p.status("engine") != "pcap" || p.status("engine_reason") != "engine ebpf: CAP_BPF is missing (Give it.)" || p.status("exact") != true {
			t.Errorf("engine %v, as %v", p.status("engine"), p.status("engine_reason"))
		}
		delete(w.refuse, "ebpf")
		wk.send('C', settings())
		p = wk.after(time.Second)
		if p.status("engine") != "ebpf" || p.status("engine_reason") != nil {
			t.Errorf("once permitted: engine %v, as %v", p.status("engine"), p.status("engine_reason"))
		}
		wk.leave()
	})
}

func TestForcedEngineThatCannotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{refuse: map[string]error{"ebpf": &engine.Missing{What: "CAP_BPF is missing", Hint: "Give it."}}}
		wk := employ(t, w, nil, "pg_netstat.engine=ebpf")
		p := wk.after(5*time.Second + 100*time.Millisecond)
		if p.status("state") != "no engine" || p.status("engine") != nil || p.status("exact") != nil || p.status("gaps") != int64(1) {
			t.Errorf("status %v", p.rows(view.StatusTable)[0])
		}
		if !strings.Contains(fmt.Sprint(p.status("engine_reason")), "CAP_BPF") {
			t.Errorf("reason %v", p.status("engine_reason"))
		}
		if n, line := len(wk.logs), <-wk.logs; n != 1 || !strings.Contains(line, "CAP_BPF") || !strings.Contains(line, "Give it.") {
			t.Errorf("logged %d lines, the first %q", n, line)
		}
		delete(w.refuse, "ebpf")
		wk.send('C', settings("pg_netstat.engine=ebpf"))
		p = wk.after(time.Second)
		if p.status("state") != "counting" || p.status("gaps") != int64(1) || p.status("gap_seconds").(float64) < 5 {
			t.Errorf("once permitted: %v", p.rows(view.StatusTable)[0])
		}
		// What runs stays when what is forced next cannot.
		w.refuse["pcap"] = errors.New("no libpcap")
		wk.send('C', settings("pg_netstat.engine=pcap"))
		p = wk.after(time.Second)
		if p.status("engine") != "ebpf" || p.status("state") != "counting" || !strings.Contains(fmt.Sprint(p.status("warning")), "no libpcap") {
			t.Errorf("engine %v is %v, warning %v", p.status("engine"), p.status("state"), p.status("warning"))
		}
		if p.status("state") != "counting" || p.status("devices") != "eth0" || p.status("exact") != true {
			t.Errorf("with the former engine: %v", p.rows(view.StatusTable)[0])
		}
		wk.leave()
	})
}

// A change of engine that takes place is told until the next reset.
func TestChangeOfEngineIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wk := employ(t, &world{}, nil)
		wk.after(time.Second)
		wk.send('C', settings("pg_netstat.engine=pcap"))
		p := wk.after(time.Second)
		if p.status("engine") != "pcap" || p.status("exact") != false ||
			!strings.Contains(fmt.Sprint(p.status("inexact_reason")), "from ebpf to pcap") {
			t.Errorf("after the change: %v", p.rows(view.StatusTable)[0])
		}
		wk.send('Z', numbers(1))
		if p = wk.after(time.Second); p.status("exact") != true {
			t.Errorf("after the reset: %v", p.rows(view.StatusTable)[0])
		}
		wk.leave()
	})
}

func TestUselessDeviceLeavesTheFormer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		wk := employ(t, w, nil, "pg_netstat.device=eth0")
		for _, bad := range []string{"a/b", "auto,eth0", strings.Repeat("x", 16), "two words"} {
			wk.send('C', settings("pg_netstat.device="+bad))
			p := wk.after(time.Second)
			if s := fmt.Sprint(p.status("warning")); !strings.Contains(s, "pg_netstat.device stays eth0") {
				t.Errorf("%q: warning %s", bad, s)
			}
		}
		w.found.Warnings = []string{"device eth9 does not exist"}
		wk.send('C', settings("pg_netstat.device=eth9"))
		if p := wk.after(time.Second); p.status("warning") != "device eth9 does not exist" {
			t.Errorf("warning %v", p.status("warning"))
		}
		w.found.Warnings = nil
		wk.send('C', settings("pg_netstat.device=eth0"))
		if p := wk.after(time.Second); p.status("warning") != nil {
			t.Errorf("warning %v", p.status("warning"))
		}
		wk.leave()
	})
}

func TestNextAgentGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wk := employ(t, &world{}, nil)
		p := wk.after(25*time.Second + 100*time.Millisecond)
		wk.conn.Close() // as when the agent is killed: nothing more is published
		<-wk.done
		time.Sleep(2 * time.Second)
		wk = employ(t, &world{}, p.set)
		p = wk.after(10 * time.Second)
		i, total := p.sums()
		if i != total || total < 34000 || total > 35000 {
			t.Errorf("intervals have %d, total %d", i, total)
		}
		if p.status("restored") != "shared memory" || p.status("gaps") != int64(1) {
			t.Errorf("status %v", p.rows(view.StatusTable)[0])
		}
		if p.set["reset"] != "3" {
			t.Errorf("reset number %s, want the restored 3", p.set["reset"])
		}
		wk.leave()
	})
}

func TestLeaving(t *testing.T) {
	t.Run("publishes the last packets", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wk := employ(t, &world{}, nil)
			time.Sleep(1500 * time.Millisecond)
			if err := wk.leave(); err != nil {
				t.Error(err)
			}
			if _, total := wk.after(0).sums(); total != 1500 {
				t.Errorf("total %d, want 1500", total)
			}
		})
	})
	t.Run("does not wait for ever", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wk := employ(t, &world{stuck: true}, nil)
			time.Sleep(1500 * time.Millisecond)
			start := time.Now()
			if err := wk.leave(); err != nil || time.Since(start) > 2*time.Second {
				t.Errorf("left after %s: %v", time.Since(start), err)
			}
			time.Sleep(2 * time.Hour) // lets the reading end
		})
	})
	t.Run("when the worker is gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{}
			wk := employ(t, w, nil)
			time.Sleep(time.Second)
			wk.conn.Close()
			<-wk.done
			if w.closed != 1 {
				t.Errorf("%d sources closed", w.closed)
			}
			time.Sleep(time.Second)
		})
	})
	t.Run("to use new capabilities", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{refuse: map[string]error{"ebpf": errors.New("no")}}
			wk := employ(t, w, nil)
			time.Sleep(time.Second)
			w.restart = true
			wk.send('C', settings())
			if err := <-wk.done; err != nil {
				t.Error(err)
			}
		})
	})
}

func TestModuleOfAnotherProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine, its := net.Pipe()
		wire := NewWire(its)
		a := &Agent{Version: "test", Wire: wire, Log: NewLogger(wire)}
		done := make(chan error)
		go func() { done <- a.Run(t.Context(), its) }()
		wk := &worker{t: t, conn: mine, sets: make(chan map[string]string, 1), logs: make(chan string, 10)}
		go wk.listen()
		wk.send('H', []byte{0, 0, 0, 99})
		if err := <-done; err == nil || !strings.Contains(err.Error(), "restart the server") {
			t.Errorf("%v", err)
		}
		mine.Close()
	})
}

func TestBrokenFramesEndTheAgent(t *testing.T) {
	for name, wire := range map[string]string{
		"garbage":            "GET / HTTP/1.1\r\n\r\n",
		"a frame too early":  "\x00\x00\x00\x01Q",
		"no settings":        "\x00\x00\x00\x1aT\x00" + strings.Repeat("\x00", 24),
		"settings that lack": "\x00\x00\x00\x05C\x00\x00\x00\x00",
	} {
		synctest.Test(t, func(t *testing.T) {
			mine, its := net.Pipe()
			w := NewWire(its)
			a := &Agent{Version: "test", Wire: w, Log: NewLogger(w)}
			done := make(chan error)
			go func() { done <- a.Run(t.Context(), its); its.Close() }()
			wk := &worker{t: t, conn: mine, sets: make(chan map[string]string, 1), logs: make(chan string, 10)}
			go wk.listen()
			go mine.Write([]byte(wire))
			if err := <-done; err == nil {
				t.Errorf("%s: accepted", name)
			}
			mine.Close()
		})
	}
}
