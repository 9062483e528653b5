package harness

import (
	"fmt"
	"testing"
)

// Statement is a row of pg_netstat_statements; what is null there is nil.
type Statement struct {
	Usename, Datname string
	QueryID          int64
	Class            string // "" for a statement, else what the row is in place of one
	Calls            int64
	BytesOut         int64
	Messages         int64
	Max              int64
	Mean             *float64
	Rows             int64
	BytesIn          *int64
}

// Statements reads pg_netstat_statements; where is a condition on its columns.
func (s *Server) Statements(t testing.TB, where string, args ...any) []Statement {
	t.Helper()
	return Rows[Statement](t, s, fmt.Sprintf(`SELECT coalesce(usename, ''), coalesce(datname, ''), coalesce(queryid, 0),
		coalesce(statement, ''), calls, bytes_out, messages_out, coalesce(max_bytes_out, 0), mean_bytes_out, coalesce(rows, 0), bytes_in
		FROM pg_netstat_statements WHERE %s`, where), args...)
}

// SumOf adds calls, bytes, messages and rows of statements.
func SumOf(rows []Statement) Statement {
	var sum Statement
	for _, r := range rows {
		sum.Calls += r.Calls
		sum.BytesOut += r.BytesOut
		sum.Messages += r.Messages
		sum.Rows += r.Rows
	}
	return sum
}
