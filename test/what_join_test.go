package test

import (
	"fmt"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestJoinsStatStatements: with pg_stat_statements loaded before or after, both
// know the same statements, by the same key, as often called and with as many rows.
func TestJoinsStatStatements(t *testing.T) {
	t.Parallel()
	for _, libraries := range []string{"pg_stat_statements,pg_netstat", "pg_netstat,pg_stat_statements,auto_explain"} {
		t.Run(libraries, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ebpf", harness.Settings{"shared_preload_libraries": libraries})
			w.prepare(t)
			w.s.Exec(t, "CREATE EXTENSION pg_stat_statements")
			modes := []string{"simple", "extended", "prepared"}
			w.roles(t, modes...)
			const clients, transactions = 2, 200
			for _, mode := range modes {
				w.s.Exec(t, fmt.Sprintf("GRANT pg_read_all_data, pg_write_all_data TO %s", mode))
				w.client().Pgbench(t, w.v4(), "-c", fmt.Sprint(clients), "-t", fmt.Sprint(transactions), "-M", mode, "-U", mode)
			}
			w.s.Over(t)
			type row struct {
				Role, Query                                  string
				Calls, OtherCalls, Rows, OtherRows, BytesOut int64
			}
			rows := harness.Rows[row](t, w.s, `
				SELECT r.rolname, coalesce(p.query, ''), coalesce(n.calls, -1), coalesce(p.calls, -1),
				       coalesce(n.rows, -1), coalesce(p.rows, -1), coalesce(n.bytes_out, -1)
				FROM (SELECT * FROM pg_netstat_statements WHERE statement IS NULL) AS n
				FULL JOIN pg_stat_statements AS p USING (userid, dbid, queryid)
				JOIN pg_roles AS r ON r.oid = userid
				WHERE r.rolname = ANY ($1)`, modes)
			for _, r := range rows {
				if r.Role == "prepared" && (r.Query == "BEGIN" || r.Query == "END") {
					// Up to PostgreSQL 16 pg_stat_statements takes the number from the prepared
					// statement itself, so that it knows the first call only.
					r.OtherCalls = clients * transactions
				}
				if r.Calls != r.OtherCalls || r.Rows != r.OtherRows || r.BytesOut <= 0 {
					t.Errorf("%+v", r)
				}
			}
			// Seven of pgbench's script, and what it asks to begin with.
			if len(rows) < 7*len(modes) {
				t.Errorf("%d statements", len(rows))
			}
			top := harness.Rows[struct {
				Texts int64
				Share float64
			}](t, w.s, "SELECT count(query), sum(share) FROM pg_netstat_top_statements")[0]
			if int(top.Texts) < len(rows) || top.Share < 0.999 || top.Share > 1.001 {
				t.Errorf("the view with texts has %+v", top)
			}
			statementsAreSessions(t, w.s)
		})
	}
}

// TestWithoutStatStatements: there are no texts, and everything else.
func TestWithoutStatStatements(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.client().Psql(t, w.v4(), "SELECT repeat('x', 100000)")
	w.s.Over(t)
	type row struct {
		Texts int64
		First int64
	}
	got := harness.Rows[row](t, w.s, "SELECT count(query), (array_agg(bytes_out))[1] FROM pg_netstat_top_statements")[0]
	if got.Texts != 0 || got.First < 100_000 {
		t.Errorf("%+v", got)
	}
	if n := harness.Value[int64](t, w.s, "SELECT count(*) FROM pg_netstat_statements WHERE statement IS NULL AND queryid = 0"); n != 0 {
		t.Errorf("%d statements have no number", n)
	}
	statementsAreSessions(t, w.s)
	// Off by a reload: sessions are counted, and statements are not.
	w.s.Set(t, harness.Settings{"pg_netstat.track_statements": "off"})
	harness.Until(t, patience, "statements being left alone", func() error {
		count := func() int64 {
			return harness.SumOf(w.s.Statements(t, "statement IS NULL")).Calls
		}
		before := count()
		w.client().Psql(t, w.v4(), "SELECT repeat('x', 100000)")
		w.s.Over(t)
		if after := count(); after != before {
			return fmt.Errorf("%d calls after %d", after, before)
		}
		return nil
	})
}
