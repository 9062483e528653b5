package view

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/link"
)

// Statements is the snapshot behind pg_netstat_statements.
var Statements = link.Table{Name: "pg_netstat_statements", Columns: columns(
	`userid oid, usename text, dbid oid, datname text, queryid int8, statement text,
	calls int8, bytes_out int8, messages_out int8, max_bytes_out int8, mean_bytes_out float8, rows int8, bytes_in int8,
	bytes_out_speed float8, stats_since timestamptz, stats_reset timestamptz`)}

// EncodeStatements makes the snapshot of the statements in buf. The names of
// roles and databases are those that sessions had.
func EncodeStatements(buf []byte, what *account.What, who *account.Who, m Moment) ([]byte, error) {
	w := Statements.Write(buf)
	for r := range what.Statements.All() {
		w.Row()
		k := r.Key.Of
		nameOID(w, k.UserID, who.Roles)
		nameOID(w, k.DatabaseID, who.Databases)
		if r.Key.Special == account.Named {
			w.Int8(int64(k.QueryID))
			w.Null()
		} else {
			w.Null()
			w.Text(r.Key.Special.String())
		}
		calls(w, r.Total())
		if m.Measured {
			w.Float8(r.Speed.Out)
		} else {
			w.Null()
		}
		w.Time(r.Since)
		w.Time(m.Reset)
	}
	return w.End()
}

// nameOID appends an object's number and the name that it was last seen with.
func nameOID(w *link.Writer, oid uint32, names *account.Table[uint32, account.Usage]) {
	if oid == 0 {
		w.Null()
		w.Null()
		return
	}
	w.OID(oid)
	if r := names.Find(account.Key[uint32]{Of: oid}); r != nil && r.Label != "" {
		w.Text(r.Label)
	} else {
		w.Null()
	}
}

func calls(w *link.Writer, c account.Calls) {
	w.Int8(c.Calls, c.BytesOut, c.Messages, c.MaxBytes)
	if c.Calls > 0 {
		w.Float8(float64(c.BytesOut) / float64(c.Calls))
	} else {
		w.Null()
	}
	w.Int8(c.Rows)
	// What is not copied in comes in messages that nobody counts.
	if c.BytesIn > 0 {
		w.Int8(c.BytesIn)
	} else {
		w.Null()
	}
}

func restoreWhat(what *account.What, each eachRow) {
	var rows []account.SavedRow[account.Statement, account.Calls]
	each(&Statements, func(f fields) {
		n := func(name string) int64 { return get[int64](f, name) }
		rows = append(rows, account.SavedRow[account.Statement, account.Calls]{
			Key: account.Key[account.Statement]{
				Special: account.SpecialNamed(get[string](f, "statement")),
				Of: account.Statement{
					UserID: get[uint32](f, "userid"), DatabaseID: get[uint32](f, "dbid"), QueryID: uint64(n("queryid")),
				},
			},
			Since: get[time.Time](f, "stats_since"),
			Settled: account.Calls{
				Calls: n("calls"), BytesOut: n("bytes_out"), Messages: n("messages_out"),
				Rows: n("rows"), BytesIn: n("bytes_in"), MaxBytes: n("max_bytes_out"),
			},
		})
	})
	what.Statements.Restore(rows)
}
