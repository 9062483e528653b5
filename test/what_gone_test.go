package test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestTerminatedWithTemporaryTable ends a session in a statement whose portal goes
// before its temporary table does: what the server says meanwhile is not the statement's.
func TestTerminatedWithTemporaryTable(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Settings: harness.Settings{"pg_netstat.refresh_interval": "1s"}})
	s.Exec(t, "CREATE ROLE alice LOGIN SUPERUSER")
	c := newRawClient(t, s, map[string]string{"user": "alice", "database": "postgres"})
	c.send(query("CREATE TEMP TABLE gone (n int PRIMARY KEY)"))
	c.expect("b:C p:Z")
	c.send(query("SET client_min_messages = debug5"))
	c.expect("c:N*C p:Z")
	c.send(query("SELECT pg_sleep(600)"))
	s.Exec(t, complete(t, s, "alice", sleeps+"PERFORM pg_terminate_backend({pid}); END$$"))
	c.expect("n:N* a:TE")
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c.conn); err != nil || len(rest) == 0 {
		t.Fatalf("%d bytes came after the error, %v", len(rest), err)
	}
	s.Over(t)
	sleeper := fmt.Sprintf("usename = 'alice' AND calls = 1 AND bytes_out = %d", c.sums["a"].Bytes)
	if rows := s.Statements(t, sleeper); len(rows) != 1 {
		t.Errorf("%d statements have %d bytes and one call, of %+v", len(rows), c.sums["a"].Bytes, s.Statements(t, "usename = 'alice'"))
	}
}
