package test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// form is a way that statements and their bytes go through the protocol.
type form struct {
	name  string
	setup string // what the server is told before, by another session
	owners
	steps      []step
	parameters map[string]string // of the startup, besides user and database
}

// owners names statements by a letter: their text as pg_stat_statements has it,
// after "other/" if the second role of the form runs it. Further, p is the protocol, n
// is no statement, and x one that pg_stat_statements does not know, or none.
type owners map[string]string

// step sends messages and expects others. act is what happens before, {pid} in it
// is the session's backend.
type step struct {
	act  string
	send []pgproto3.FrontendMessage
	want string
}

type messages = []pgproto3.FrontendMessage

// simple asks by the simple protocol.
func simple(sql, want string) step { return step{send: messages{query(sql)}, want: want} }

// Modules come in any order: that of pg_stat_statements changes what ids we are
// told, and auto_explain sends messages of its own.
func TestBytesOfEachForm(t *testing.T) {
	t.Parallel()
	for _, preload := range []string{
		"pg_stat_statements, pg_netstat",
		"pg_netstat, pg_stat_statements",
		"auto_explain, pg_netstat, pg_stat_statements",
		"pg_netstat, pg_stat_statements, auto_explain",
	} {
		t.Run(strings.ReplaceAll(preload, ", ", "+"), func(t *testing.T) {
			t.Parallel()
			settings := harness.Settings{"shared_preload_libraries": preload, "pg_netstat.refresh_interval": "1s"}
			forms := allForms()
			if strings.Contains(preload, "auto_explain") {
				settings["auto_explain.log_min_duration"] = "0"
				settings["auto_explain.log_nested_statements"] = "on"
				forms = append(forms, explainedForms()...)
			}
			s := harness.NewServer(t, harness.Options{Settings: settings})
			s.Exec(t, formsSchema)
			played := make([]*rawClient, len(forms))
			for i, f := range forms {
				t.Run(f.name, func(t *testing.T) { played[i] = play(t, s, f, fmt.Sprintf("form%d", i)) })
			}
			for i, f := range forms {
				if played[i] != nil {
					t.Run(f.name+", counted", func(t *testing.T) { compare(t, s, f, fmt.Sprintf("form%d", i), played[i].sums) })
				}
			}
		})
	}
}

// play goes through a form. The session stays, so that each has a slot of its own.
func play(t *testing.T, s *harness.Server, f form, role string) *rawClient {
	t.Helper()
	s.Exec(t, fmt.Sprintf("CREATE ROLE %[1]s LOGIN SUPERUSER; CREATE ROLE %[1]s_other; GRANT %[1]s_other TO %[1]s", role))
	if f.setup != "" {
		s.Exec(t, strings.ReplaceAll(f.setup, "{role}", role))
	}
	parameters := map[string]string{"user": role, "database": "postgres"}
	for name, value := range f.parameters {
		parameters[name] = value
	}
	c := newRawClient(t, s, parameters)
	for _, st := range f.steps {
		if st.act != "" {
			s.Exec(t, complete(t, s, role, st.act))
		}
		for i, m := range st.send {
			if q, ok := m.(*pgproto3.Query); ok {
				st.send[i] = query(complete(t, s, role, q.String))
			}
		}
		if st.send != nil {
			c.send(st.send...)
		}
		c.expect(strings.ReplaceAll(st.want, "\n", " "))
	}
	return c
}

// complete puts what a form cannot know in place of {role}, {pid} and {lsn}.
func complete(t *testing.T, s *harness.Server, role, text string) string {
	t.Helper()
	if !strings.Contains(text, "{") {
		return text
	}
	now := harness.Rows[struct{ PID, LSN string }](t, s, `SELECT pid::text, pg_current_wal_flush_lsn()::text
		FROM pg_stat_activity WHERE usename = $1 AND backend_type IN ('client backend', 'walsender')`, role)
	return strings.NewReplacer("{role}", role, "{pid}", now[0].PID, "{lsn}", now[0].LSN).Replace(text)
}

// letters gives the letter of each statement by its role and queryid, which
// pg_stat_statements has for its text.
func (f form) letters(t *testing.T, s *harness.Server, role string) map[string]string {
	t.Helper()
	letters := map[string]string{}
	for letter, text := range f.owners {
		user := role
		if rest, ok := strings.CutPrefix(text, "other/"); ok {
			user, text = role+"_other", rest
		}
		text = strings.ReplaceAll(text, "{role}", role)
		ids := harness.Rows[struct{ ID int64 }](t, s, `SELECT queryid FROM pg_stat_statements s
			WHERE userid = $1::regrole AND dbid = (SELECT oid FROM pg_database WHERE datname = 'postgres') AND query = $2`, user, text)
		if len(ids) != 1 {
			known := harness.Rows[struct{ Text string }](t, s, `SELECT query FROM pg_stat_statements WHERE userid = $1::regrole`, user)
			t.Fatalf("pg_stat_statements has %d times %q of %s, and these: %q", len(ids), text, user, known)
		}
		letters[fmt.Sprintf("%s %d", user, ids[0].ID)] = letter
	}
	return letters
}

// counted is a row of pg_netstat_statements.
type counted struct {
	Usename, Class string
	QueryID        int64
	sums
}

const statementsQuery = `SELECT usename, coalesce(statement, ''), coalesce(queryid, 0), calls, bytes_out, messages_out,
	coalesce(rows, 0), coalesce(max_bytes_out, 0), coalesce(bytes_in, 0) FROM pg_netstat_statements WHERE usename = ANY ($1)`

// compare waits until the server's figures are the client's.
func compare(t *testing.T, s *harness.Server, f form, role string, wanted map[string]*sums) {
	t.Helper()
	letters := f.letters(t, s, role)
	unknown := "unknown"
	want := map[string]sums{}
	for letter, w := range wanted {
		if letter == "x" {
			letter, unknown = "n", "n"
		}
		addTo(want, letter, *w)
	}
	harness.Until(t, patience, "figures of each statement", func() error {
		got := map[string]sums{}
		for _, row := range harness.Rows[counted](t, s, statementsQuery, []string{role, role + "_other"}) {
			letter := map[string]string{"(protocol)": "p", "(none)": "n", "": letters[fmt.Sprintf("%s %d", row.Usename, row.QueryID)]}[row.Class]
			if letter == "" {
				letter = unknown
			}
			addTo(got, letter, row.sums)
		}
		return difference(want, got)
	})
}

// addTo adds to a letter's figures. What is of no statement has no calls.
func addTo(all map[string]sums, letter string, more sums) {
	if letter == "p" || letter == "n" {
		more.Calls, more.Max = 0, 0
	}
	sum := all[letter]
	sum.add(more)
	all[letter] = sum
}

// difference tells where figures differ.
func difference(want, got map[string]sums) error {
	var wrong []string
	for letter, w := range want {
		if g := got[letter]; g != w {
			wrong = append(wrong, fmt.Sprintf("%s: %+v, it should be %+v", letter, g, w))
		}
	}
	for letter, g := range got {
		if _, ok := want[letter]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %+v, there should be none", letter, g))
		}
	}
	if wrong != nil {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}
