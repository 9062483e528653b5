package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// mixture is what a user of psql might do: notices, errors, copies, cursors, a few
// statements in one string.
const mixture = `
SELECT repeat('x', 1000) FROM generate_series(1, 500);
DO $$ BEGIN FOR i IN 1..20 LOOP RAISE NOTICE 'notice %', i; END LOOP; END $$;
SELECT 1 / 0;
SELECT 1 \; SELECT repeat('y', 5000) \; SELECT no_such_function();
BEGIN;
DECLARE c CURSOR FOR SELECT repeat('z', 100) FROM generate_series(1, 1000);
FETCH 300 FROM c;
FETCH ALL FROM c;
COMMIT;
PREPARE p(int) AS SELECT repeat('p', $1);
EXECUTE p(3000);
EXPLAIN ANALYZE SELECT 1;
COPY (SELECT generate_series(1, 5000)) TO STDOUT;
CREATE TEMP TABLE mine (i int);
COPY mine FROM STDIN;
1
2
3
\.
INSERT INTO mine SELECT generate_series(1, 500) RETURNING i;
LISTEN there;
NOTIFY there, 'payload';
SET application_name = 'another';
SHOW application_name;
SELECT syntax error;
`

// messagesOf gives what the server sent to sessions of a role, by type.
func messagesOf(p *proxy.Proxy, role string) (out map[byte]proxy.Tally, sessions int) {
	out = map[byte]proxy.Tally{}
	for _, s := range p.Sessions() {
		if s.Startup["user"] != role {
			continue
		}
		sessions++
		for kind, n := range s.Messages.Out {
			out[kind] = proxy.Tally{Messages: out[kind].Messages + n.Messages, Bytes: out[kind].Bytes + n.Bytes}
		}
	}
	return out, sessions
}

// TestStatementsSum: what the server sent to each role by messages is the sum of that
// role's rows, with TLS and without.
func TestStatementsSum(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"disable", "require"} {
		t.Run("sslmode "+mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ebpf")
			w.prepare(t)
			pair := w.s.EnableTLS(t)
			w.roles(t, "simple", "extended", "prepared", "mixed", "brief")
			w.s.Exec(t, "GRANT pg_read_all_data, pg_write_all_data TO simple, extended, prepared, brief")
			p, at := w.witness(t, w.link.Client.V4, proxy.Options{Messages: true, TLS: &pair})
			to := func(role string) string {
				return fmt.Sprintf("host=%s port=%d dbname=postgres user=%s sslmode=%s", at.Addr, at.Port, role, mode)
			}
			for _, protocol := range []string{"simple", "extended", "prepared"} {
				w.client().Run(t, "pgbench", "-n", "-c", "4", "-t", "100", "-M", protocol, to(protocol))
			}
			w.client().Run(t, "pgbench", "-n", "-S", "-C", "-c", "4", "-t", "50", to("brief"))
			script := filepath.Join(t.TempDir(), "script.sql")
			if err := os.WriteFile(script, []byte(mixture), 0o644); err != nil {
				t.Fatal(err)
			}
			w.client().Run(t, "psql", "-X", "-q", "-f", script, to("mixed"))
			p.Done(t)
			w.s.Over(t)
			for _, role := range []string{"simple", "extended", "prepared", "mixed", "brief"} {
				tallies, sessions := messagesOf(p, role)
				truth := proxy.Sum(tallies)
				got := harness.SumOf(w.s.Statements(t, "usename = $1", role))
				if got.BytesOut != truth.Bytes || got.Messages != truth.Messages || sessions == 0 {
					t.Errorf("%s: statements have %d bytes in %d messages, the truth is %+v of %d sessions", role, got.BytesOut, got.Messages, truth, sessions)
				}
			}
			if n := harness.Value[int64](t, w.s, "SELECT events_folded FROM pg_netstat_status"); n != 0 {
				t.Errorf("%d events were folded", n)
			}
			if mode == "disable" {
				statementsAreSessions(t, w.s)
			}
		})
	}
}

// statementsAreSessions checks that, with no TLS, all statements have the bytes that
// all sessions have.
func statementsAreSessions(t *testing.T, s *harness.Server) {
	t.Helper()
	harness.Until(t, patience, "the sums of statements and sessions agreeing", func() error {
		rows, err := harness.TryRows[struct{ Statements, Sessions int64 }](s, `SELECT
			(SELECT sum(bytes_out)::int8 FROM pg_netstat_statements), (SELECT sum(bytes_out)::int8 FROM pg_netstat_database)`)
		if err == nil && rows[0].Statements != rows[0].Sessions {
			err = fmt.Errorf("%+v", rows[0])
		}
		return err
	})
}

// TestCopy: 50 MB out and in are the copy's to the byte.
func TestCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.prepare(t)
	w.roles(t, "reader", "writer")
	w.s.Exec(t, "GRANT pg_write_all_data TO writer")
	p, at := w.witness(t, w.link.Client.V4, proxy.Options{Messages: true})
	psql := func(role, command string) {
		w.client().Run(t, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1",
			fmt.Sprintf("host=%s port=%d dbname=postgres user=%s", at.Addr, at.Port, role), "-c", command)
	}
	psql("reader", fmt.Sprintf(`\copy (SELECT repeat('x', %d) FROM generate_series(1, %d)) TO '/dev/null'`, copyLine, copyRows))
	psql("writer", fmt.Sprintf(`\copy sink FROM '%s'`, copyFile(t)))
	p.Done(t)
	w.s.Over(t)
	for _, role := range []string{"reader", "writer"} {
		out, _ := messagesOf(p, role)
		rows := w.s.Statements(t, "usename = $1 AND statement IS NULL", role)
		if len(rows) != 1 || rows[0].Calls != 1 {
			t.Fatalf("%s: %+v", role, rows)
		}
		want := out['H'].Bytes + out['d'].Bytes + out['c'].Bytes + out['G'].Bytes + out['C'].Bytes
		if got := rows[0]; got.BytesOut != want || got.Max != want || got.Mean == nil || *got.Mean != float64(want) {
			t.Errorf("%s: %+v, the truth is %d bytes", role, got, want)
		}
		protocol := harness.SumOf(w.s.Statements(t, "usename = $1 AND statement IS NOT NULL", role))
		if rest := proxy.Sum(out).Bytes - want; protocol.BytesOut != rest {
			t.Errorf("%s: the rest is %+v, the truth is %d bytes", role, protocol, rest)
		}
		if role == "writer" {
			var data int64
			for _, s := range p.Sessions() {
				in := s.Messages.In['d']
				data += in.Bytes - 5*in.Messages
			}
			if got := rows[0]; got.BytesIn == nil || *got.BytesIn != data || data < copyRows*copyLine {
				t.Errorf("copied in: %v, the truth is %d", got.BytesIn, data)
			}
		} else if rows[0].Rows != copyRows {
			t.Errorf("%d rows, the truth is %d", rows[0].Rows, copyRows)
		}
	}
	statementsAreSessions(t, w.s)
}

// distinct gives a statement that is like no other of 2^17: the operators differ.
func distinct(n int) string {
	sql := "SELECT 1"
	for bit := range 17 {
		sql += map[int]string{0: "+1", 1: "-1"}[n>>bit&1]
	}
	return sql
}

// TestManyStatements: 100,000 that are all different, and rows for 1,000.
func TestManyStatements(t *testing.T) {
	t.Parallel()
	const statements, atOnce, entries = 100_000, 100, 1000
	w := newWorld(t, "ebpf", harness.Settings{"pg_netstat.max_entries": strconv.Itoa(entries)})
	w.roles(t, "alice", "bob")
	clients := []*harness.Client{w.as(t, "alice"), w.as(t, "bob")}
	done := make(chan struct{})
	for i, c := range clients {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := i * atOnce; n < statements; n += len(clients) * atOnce {
				sql := ""
				for k := range atOnce {
					sql += distinct(n+k) + ";"
				}
				c.Exec(t, sql)
			}
		}()
	}
	for range clients {
		<-done
	}
	for _, c := range clients {
		c.Close()
	}
	w.s.Over(t)
	roles := w.s.Roles(t)
	owns(t, "alice", roles["alice"], clients[0])
	owns(t, "bob", roles["bob"], clients[1])
	statementsAreSessions(t, w.s)
	all := w.s.Statements(t, "true")
	// Each role and database has its own row of the protocol and of none.
	if bound := entries + 10; len(all) > bound || len(all) < entries/2 {
		t.Errorf("%d rows", len(all))
	}
	var calls int64
	for _, row := range all {
		if row.Usename != harness.Account {
			calls += row.Calls
		}
	}
	// What the test itself asked may be in the rest.
	if calls < statements || calls > statements+2000 {
		t.Errorf("%d calls, the truth is %d", calls, statements)
	}
	now, most := agentMemory(t, w.s)
	t.Logf("%d folded in the server; the agent has %d kB, had %d kB at most",
		harness.Value[int64](t, w.s, "SELECT events_folded FROM pg_netstat_status"), now>>10, most>>10)
	if most > memoryBound {
		t.Errorf("the agent took %d bytes", most)
	}
}
