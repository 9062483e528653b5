package test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/view"
	"github.com/pg-netstat/pg_netstat/test/harness"
)

// typeNames are types by their number, those that snapshots use and some whose
// form is harder to check.
var typeNames = map[uint32]string{
	16: "bool", 17: "bytea", 18: `"char"`, 19: "name", 20: "int8", 21: "int2", 22: "int2vector", 23: "int4", 24: "regproc",
	25: "text", 26: "oid", 27: "tid", 28: "xid", 30: "oidvector", 114: "json", 142: "xml", 199: "json[]", 600: "point", 602: "path", 604: "polygon",
	650: "cidr", 700: "float4", 701: "float8", 774: "macaddr8", 829: "macaddr", 869: "inet", 1000: "bool[]", 1007: "int4[]",
	1009: "text[]", 1042: "bpchar", 1043: "varchar", 1082: "date", 1083: "time", 1114: "timestamp", 1184: "timestamptz",
	1186: "interval", 1266: "timetz", 1560: "bit", 1562: "varbit", 1700: "numeric", 2205: "regclass", 2950: "uuid",
	3220: "pg_lsn", 3614: "tsvector", 3615: "tsquery", 3802: "jsonb", 3904: "int4range", 4072: "jsonpath", 4451: "int4multirange", 2970: "txid_snapshot",
}

// used has a column of each type that snapshots use.
var used = link.Table{Name: "used", Columns: []link.Column{
	{Name: "a", OID: 25}, {Name: "b", OID: 20}, {Name: "c", OID: 23}, {Name: "d", OID: 701}, {Name: "e", OID: 16},
	{Name: "f", OID: 1184}, {Name: "g", OID: 26}, {Name: "h", OID: 869}, {Name: "i", OID: 25},
}}

// definition is a list of columns to read a snapshot with.
func definition(types []uint32) string {
	var columns []string
	for i, oid := range types {
		name, ok := typeNames[oid]
		if !ok {
			name = "text"
		}
		columns = append(columns, fmt.Sprintf("c%d %s", i, name))
	}
	return strings.Join(columns, ", ")
}

// reader asks for snapshots and keeps account of the answers.
type reader struct {
	conn  *pgx.Conn
	codes map[string]int
}

func newReader(t *testing.T, s *harness.Server) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), tolerance)
	defer cancel()
	c, err := s.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return &reader{conn: c, codes: map[string]int{}}
}

// read asks; it gives rows or an error that says what is wrong with the data or
// with the question, by its code: more of them are right too.
func (r *reader) read(t *testing.T, sql string, more ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), tolerance)
	defer cancel()
	err := r.conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
	var e *pgconn.PgError
	switch {
	case err == nil:
		r.codes["rows"]++
	case errors.As(err, &e) && e.Message != "" && (strings.HasPrefix(e.Code, "22") || e.Code == "42804" || slices.Contains(more, e.Code)):
		r.codes[e.Code]++
	default:
		t.Fatalf("%s: %v", sql, err)
	}
}

// TestSnapshotsMutated publishes thousands of snapshots that differ from right ones in
// some bytes, and reads them in a backend: by the columns that a view would expect,
// and by those that they say they have.
func TestSnapshotsMutated(t *testing.T) {
	t.Parallel()
	const sets, each = 75, 60
	v := newFooled(t, "puppet")
	p := v.fake.Puppet(t)
	addr := netip.MustParsePrefix("10.1.2.3/32")
	base := of(&used,
		link.Row{"eth0", int64(1) << 40, int32(-7), 1.5, true, moment, uint32(16384), addr, "ünï"},
		link.Row{nil, nil, nil, nil, nil, nil, nil, nil, nil},
		link.Row{"", int64(0), int32(0), 0.0, false, moment, uint32(0), netip.MustParsePrefix("fd00::/64"), strings.Repeat("long ", 50)})
	m, r := newMutator(1), newReader(t, v.Server)
	for n := range sets {
		set := map[string][]byte{"sequence": of(&link.Table{Columns: used.Columns[1:2]}, link.Row{int64(n)}).bytes()}
		for i := range each {
			s := base
			if n%3 == 2 {
				s = m.otherTypes()
			}
			set[fmt.Sprintf("fuzz_%d", i)] = m.wellFormed(s)
		}
		p.Publish(t, set)
		begin := time.Now()
		harness.Until(t, patience, "the set being visible", func() error {
			now, err := harness.TryRows[struct{ N int64 }](v.Server, "SELECT n FROM pg_netstat_read('sequence') AS s (n int8)")
			if err == nil && now[0].N != int64(n) {
				err = fmt.Errorf("it is %d", now[0].N)
			}
			return err
		})
		for i := range each {
			name := fmt.Sprintf("fuzz_%d", i)
			s, _ := parse(set[name])
			for _, columns := range []string{definition(base.types), definition(s.types)} {
				// Some types of the server's own say such things of wrong bytes.
				r.read(t, fmt.Sprintf("SELECT * FROM pg_netstat_read('%s') AS s (%s)", name, columns), "XX000", "0A000", "54000", "42883", "42704")
			}
		}
		// More than 50 sets a second would be a flood.
		time.Sleep(time.Until(begin.Add(25 * time.Millisecond)))
	}
	t.Logf("%d snapshots, answers by code: %v", sets*each, r.codes)
	if r.codes["rows"] < 1000 || r.codes["42804"] < 1000 || r.codes["22P03"] < 1000 {
		t.Error("the mutations are too much alike")
	}
	if st := v.Status(t); st.Restarts != 0 || st.LastError != "" {
		t.Errorf("the status is %+v", st)
	}
	v.refusesMalformed(t, p, m, base)
	v.heals(t)
}

// otherTypes makes a snapshot of types that the agent does not use.
func (m mutator) otherTypes() snapshot {
	types := slices.Sorted(maps.Keys(typeNames)) // in the same order in each run
	var s snapshot
	var row [][]byte
	for range 5 {
		s.types = append(s.types, types[m.IntN(len(types))])
		row = append(row, m.field([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1}))
	}
	s.rows = [][][]byte{row, row}
	return s
}

// refusesMalformed sends snapshots whose form is wrong, each by an agent of its own:
// that is its end, and what was published before stays to be read.
func (v *victim) refusesMalformed(t *testing.T, p *harness.Puppet, m mutator, base snapshot) {
	t.Helper()
	p.Publish(t, map[string][]byte{"fuzz_0": base.bytes()})
	reasons := map[string]int{}
	for range 10 {
		b := m.malformed(base)
		st := v.suffers(t, "the agent was stopped: a ", "no agent", func() {
			if err := p.Send(link.Snapshot("fuzz_0", b)); err != nil {
				t.Fatal(err)
			}
			p.Dismissed(t)
		})
		reasons[st.LastError]++
		if n := harness.Value[int64](t, v.Server, "SELECT count(*) FROM pg_netstat_read('fuzz_0') AS s ("+definition(base.types)+")"); n != 3 {
			t.Errorf("%d rows are left of those published before", n)
		}
		v.reload(t)
		p = v.fake.Puppet(t)
		if string(p.Snapshots["fuzz_0"]) != string(base.bytes()) {
			t.Error("the next agent is not given what was published before")
		}
	}
	t.Logf("refused: %v", reasons)
	p.Close()
}

// viewSnapshots are right ones of the three views.
func viewSnapshots() map[string]snapshot {
	counts := func(row ...any) link.Row { return row }
	return map[string]snapshot{
		"pg_netstat": of(&view.History,
			counts("eth0", moment, int64(10), int64(20), 1.0, 2.0, int64(1000), int64(2000), 100.0, 200.0, moment.Add(time.Second), 10.0),
			counts("eth1", moment, int64(10), int64(20), nil, nil, int64(1000), int64(2000), nil, nil, moment.Add(time.Second), 0.0)),
		"pg_netstat_device": of(&view.Devices,
			counts("eth0", "counting", int64(10), int64(20), 1.0, 2.0, int64(1000), int64(2000), 100.0, 200.0, moment,
				moment, 5.0, int64(1), int64(2), int64(100), int64(200)),
			counts("eth1", "gone", int64(10), int64(20), 1.0, 2.0, int64(1000), int64(2000), 100.0, 200.0, moment,
				moment, 5.0, int64(1), int64(2), int64(100), int64(200))),
		"pg_netstat_status": of(&view.StatusTable,
			counts("counting", "ebpf", nil, true, nil, "eth0, eth1", int32(5432), nil, int64(0), int64(1), 2.5, moment, moment.Add(time.Second),
				"file", moment, int64(3), int64(0), moment, moment.Add(time.Minute), moment.Add(time.Minute))),
	}
}

// TestViewsMutated does the same to the snapshots behind the views, and lets the
// real agent make of them what it can.
func TestViewsMutated(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			v := &victim{fake: harness.NewFake(t, "puppet")}
			v.Server = harness.NewServer(t, harness.Options{Settings: victimSettings(harness.Settings{"pg_netstat.agent_path": v.fake.Path})})
			v.witness = newWitness(t, v.Server, "pg_class")
			p, m, r := v.fake.Puppet(t), newMutator(uint64(round)+10), newReader(t, v.Server)
			base := viewSnapshots()
			p.Publish(t, map[string][]byte{"pg_netstat": base["pg_netstat"].bytes(),
				"pg_netstat_device": base["pg_netstat_device"].bytes(), "pg_netstat_status": base["pg_netstat_status"].bytes()})
			v.Await(t, "ebpf")
			for range 150 {
				begin := time.Now()
				set := map[string][]byte{}
				// In a fixed order, for the same mutations in each run.
				for _, name := range views {
					set[name] = m.wellFormed(base[name])
				}
				p.Publish(t, set)
				for time.Since(begin) < 25*time.Millisecond {
					for _, name := range views {
						r.read(t, "SELECT * FROM "+name)
					}
				}
			}
			t.Logf("answers by code: %v", r.codes)
			v.heals(t)
		})
	}
}

// TestRestoreMutated lets the accounts go on from mutated snapshots, and publishes
// what comes of it.
func TestRestoreMutated(t *testing.T) {
	t.Parallel()
	m, base := newMutator(3), viewSnapshots()
	refused := 0
	for range 5000 {
		set := map[string][]byte{}
		for _, name := range views {
			set[name] = m.mutate(base[name])
		}
		saved, err := view.Restore(set)
		if err != nil {
			refused++
		}
		now := account.Instant{Wall: moment.Add(time.Hour), Mono: time.Hour}
		l := account.New(now, 10*time.Second, 60, 100)
		l.Restore(now, saved)
		now.Wall, now.Mono = now.Wall.Add(time.Minute), now.Mono+time.Minute
		l.Cover(now)
		l.Turn(now)
		var h view.HistoryEncoder
		_, _, err = h.Encode(l, 1<<20)
		if _, err2 := view.EncodeDevices(l, func(string) string { return "" }); err2 != nil || err != nil {
			t.Fatal(err, err2)
		}
		if _, err := view.EncodeStatus(view.Status{}, l); err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 || refused == 5000 {
		t.Errorf("%d of 5000 were refused", refused)
	}
}
