package test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// whoViews are the views that name somebody.
var whoViews = []string{
	"pg_netstat_activity", "pg_netstat_client", "pg_netstat_network", "pg_netstat_database", "pg_netstat_role",
	"pg_netstat_application", "pg_netstat_statements", "pg_netstat_top_statements",
}

// readers are encodings of clients, with a pattern of those names that they lack. Rows
// with those are an error of the server's own, also in pg_roles; here they are left out.
var readers = map[string]string{
	"UTF8": "^$", "SQL_ASCII": "^$", "LATIN1": japanese, "WIN1252": japanese, "SJIS": french, "EUC_JP": french,
}

const (
	japanese = `[\65E5\6771]`
	french   = `\00E9`
)

// TestInvalidNames has a role, a database and an application whose names are no
// text in any reader's encoding, and one that some encodings lack. A view is read
// all the same, and the bytes are told to whom they belong.
func TestInvalidNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.s.Exec(t, "CREATE DATABASE raw TEMPLATE template0 ENCODING 'SQL_ASCII'")
	const bad = "n\xff\xfe\xe9"
	// Only a database without an encoding lets such names be made.
	maker := w.client().NewClient(t, w.v4(), "dbname=raw client_encoding=SQL_ASCII")
	for _, sql := range []string{
		"CREATE ROLE \"" + bad + "\" LOGIN",
		"CREATE DATABASE \"" + bad + "\" TEMPLATE template0 ENCODING 'SQL_ASCII'",
	} {
		if _, err := maker.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	maker.Close()
	w.roles(t, "日本", "été")
	tokyo := w.as(t, "日本", "application_name=東京")
	paris := w.as(t, "été")
	strange := w.as(t, bad, "dbname="+bad, "application_name=\xff\xfeapp", "client_encoding=SQL_ASCII")
	oid := harness.Value[uint32](t, w.s, "SELECT usesysid FROM pg_stat_activity WHERE pid = $1", strange.Pid())
	w.s.CaughtUp(t)
	read := func(when string) {
		t.Helper()
		for encoding, lacks := range readers {
			c, err := w.s.Connect(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Exec(ctx, "SET client_encoding = "+encoding); err != nil {
				t.Fatal(err)
			}
			for _, view := range whoViews {
				sql := fmt.Sprintf("SELECT * FROM %s AS v WHERE v::text !~ U&'%s'", view, lacks)
				if _, err := c.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
					t.Errorf("%s: %s cannot read %s: %v", when, encoding, view, err)
				}
			}
			_ = c.Close(ctx)
		}
	}
	read("while they live")
	for _, c := range []*harness.Client{tokyo, paris, strange} {
		c.Close()
	}
	w.s.Over(t)
	read("after they closed")
	owns(t, "the Japanese role", w.s.Roles(t)["日本"], tokyo)
	owns(t, "the French role", w.s.Roles(t)["été"], paris)
	rows := harness.Rows[harness.Usage](t, w.s, `SELECT sessions, live_sessions, failed_connections, bytes_in, bytes_out,
		segments_in, segments_out, retransmitted_bytes, retransmitted_segments FROM pg_netstat_role WHERE usesysid = $1`, oid)
	if len(rows) != 1 {
		t.Fatalf("rows of the role with the bad name: %v", rows)
	}
	owns(t, "the role with the bad name", rows[0], strange)
	sumsAgree(t, w.s)
}
