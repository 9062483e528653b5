package account

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
)

// Statement says whose bytes of a statement. The rows Protocol and None have
// no query.
type Statement struct {
	UserID, DatabaseID uint32
	QueryID            uint64
}

// What is the account of statements.
type What struct {
	Statements *Table[Statement, Calls]
	Folded     uint64 // calls and sessions whose account was lost to Other in the backends
}

// NewWhat begins an account with no bound.
func NewWhat() *What { return &What{Statements: newTable[Statement, Calls]()} }

// Add adds what a backend says of a statement.
func (w *What) Add(c link.StatementChange) {
	k := Key[Statement]{Of: Statement{c.UserID, c.DatabaseID, c.QueryID}}
	switch c.Class {
	case link.ClassStatement:
	case link.ClassProtocol:
		k.Special = Protocol
	case link.ClassNone:
		k.Special = None
	case link.ClassOther:
		k = Key[Statement]{Special: Other}
	}
	w.Statements.add(k, "", Calls{
		Calls: int64(c.Calls), BytesOut: int64(c.BytesOut), Messages: int64(c.Messages),
		Rows: int64(c.Rows), BytesIn: int64(c.BytesIn), MaxBytes: int64(c.MaxBytes),
	})
}

// At says when what is entered next is.
func (w *What) At(now time.Time) { w.Statements.at(now) }

// Reset makes every figure zero at now.
func (w *What) Reset(now time.Time) {
	w.At(now)
	w.Statements.reset()
	w.Folded = 0
}

// Refresh computes the speeds over the time since the last refresh, 0 if that
// is not known.
func (w *What) Refresh(covered time.Duration) { w.Statements.refresh(covered) }
