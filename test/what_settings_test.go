package test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// statementsOf gives what is counted for a role, by class, "" for statements.
func statementsOf(t *testing.T, s *harness.Server, role string) map[string][]sums {
	t.Helper()
	rows := map[string][]sums{}
	for _, row := range harness.Rows[counted](t, s, statementsQuery, []string{role}) {
		rows[row.Class] = append(rows[row.Class], row.sums)
	}
	return rows
}

// newRole makes a role and a session of it.
func newRole(t *testing.T, s *harness.Server, role, setting string) *rawClient {
	t.Helper()
	s.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN SUPERUSER", role))
	if setting != "" {
		s.Exec(t, fmt.Sprintf("ALTER ROLE %s SET %s", role, setting))
	}
	return newRawClient(t, s, map[string]string{"user": role, "database": "postgres"})
}

// Without pg_stat_statements EXECUTE has an id of its own, which must not count: it is
// a call of what was prepared.
func TestStatementsAlone(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Settings: harness.Settings{"pg_netstat.refresh_interval": "1s"}})
	c := newRole(t, s, "alone", "")
	c.send(query("PREPARE p (int) AS SELECT $1 + 1"))
	c.expect("b:C p:Z")
	c.send(query("EXECUTE p(1); EXECUTE p(22)"))
	c.expect("a:TDC a:TDC p:Z")
	c.send(prepare("", "SELECT $1::int + 1"), bind("", "", "333"), execute("", 0), syncs())
	c.expect("p:12 a:DC p:Z")
	c.send(prepare("", "EXECUTE p(4444)"), bind("", ""), execute("", 0), syncs())
	c.expect("p:12 a:DC p:Z")
	harness.Until(t, patience, "figures of the statements", func() error {
		for _, row := range statementsOf(t, s, "alone")[""] {
			if row == *c.sums["a"] {
				return nil
			}
		}
		return fmt.Errorf("%+v is not in %+v", *c.sums["a"], statementsOf(t, s, "alone"))
	})
}

// Without ids what is sent for statements is all in one row.
func TestStatementsWithoutIDs(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Settings: harness.Settings{"pg_netstat.refresh_interval": "1s"}})
	c := newRole(t, s, "nameless", "compute_query_id = off")
	for range 3 {
		c.send(query("CREATE TEMP TABLE made AS SELECT 1 AS n; SELECT * FROM made; DROP TABLE made"))
		c.expect("n:CTDCC p:Z")
		c.send(prepare("", "EXPLAIN SELECT 1"), bind("", ""), execute("", 0), syncs())
		c.expect("p:12 n:DC p:Z")
	}
	compare(t, s, form{}, "nameless", c.sums)
}

// What is not to be counted is not, and then it is again, in a session that goes on.
func TestStatementsNotTracked(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Settings: harness.Settings{"pg_netstat.refresh_interval": "1s", "compute_query_id": "off"}})
	c := newRole(t, s, "tracked", "")
	c.send(query("SELECT 1"))
	c.expect("n:TDC p:Z")
	track := func(on string) {
		t.Helper()
		s.Set(t, harness.Settings{"pg_netstat.track_statements": on})
		harness.Until(t, patience, "the session to know", func() error {
			// The session is asked itself, which counts if it says on.
			before := c.sums
			c.sums = map[string]*sums{}
			c.send(query("SHOW pg_netstat.track_statements"))
			c.expect("n:TDC p:Z")
			said := string(c.value)
			if said == "on" {
				before["n"].add(*c.sums["n"])
				before["p"].add(*c.sums["p"])
			}
			if c.sums = before; said != on {
				return fmt.Errorf("it is %s", said)
			}
			return nil
		})
	}
	compare(t, s, form{}, "tracked", c.sums)
	track("off")
	before := map[string]*sums{"n": {}, "p": {}}
	*before["n"], *before["p"] = *c.sums["n"], *c.sums["p"]
	c.send(query("SELECT repeat('x', 1000000)"), query("SELECT 2"))
	c.expect("n:TDC p:Z n:TDC p:Z")
	c.sums = before
	track("on")
	c.send(query("SELECT 3"))
	c.expect("n:TDC p:Z")
	compare(t, s, form{}, "tracked", c.sums)
}

// A client that goes away in the middle of what it sends has sent so much; where the
// server does not track activities it is not known.
func TestStatementsCopyCutOff(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Settings: harness.Settings{"pg_netstat.refresh_interval": "1s"}})
	s.Exec(t, "CREATE TABLE brought (n int, t text)")
	for role, setting := range map[string]string{"cut": "", "blind": "track_activities = off"} {
		c := newRole(t, s, role, setting)
		c.send(query("COPY brought FROM STDIN"))
		c.expect("a:G")
		c.send(copyData(megabyte()), copyData(megabyte()), copyData("3\tcut"))
		if setting != "" {
			c.send(&pgproto3.CopyDone{})
			c.expect("+a:C p:Z")
			c.sums["a"].BytesIn = 0
		}
		c.conn.Close()
		harness.Until(t, patience, "what was copied", func() error {
			got := statementsOf(t, s, role)[""]
			if len(got) != 1 || got[0].Calls != 1 || got[0].BytesIn != c.sums["a"].BytesIn {
				return fmt.Errorf("%+v, it should be %+v", got, *c.sums["a"])
			}
			return nil
		})
	}
}
