package account

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
)

// SavedRow is a row of a table as an earlier agent left it.
type SavedRow[T comparable, V amounts[V]] struct {
	Key     Key[T]
	Label   string
	Since   time.Time
	Settled V
}

// Restore adds the rows to the table's. It must have no bound before all sessions
// that live are back: until then a row may lack what is to be added to it.
func (t *Table[T, V]) Restore(rows []SavedRow[T, V]) {
	for _, saved := range rows {
		t.add(saved.Key, saved.Label, saved.Settled)
		if r := t.rows[saved.Key]; !saved.Since.IsZero() {
			r.Since = saved.Since
		}
	}
}

// SavedShare is a session's part of the rows as an earlier agent left it.
type SavedShare struct {
	Account link.Account
	Traffic link.Traffic // that the rows showed as live
	Network string
	Folded  uint8 // as Share.Folded
}

// Carry leaves what a restored session had done with those rows that showed it,
// though what it did comes back, live or settled, in the rows of its account. They
// differ where its rows were folded or its network has another name now.
func (w *Who) Carry(s SavedShare) {
	a, done := s.Account, UsageOf(s.Traffic)
	carry(w.Databases, s.Folded&(1<<inDatabases) != 0, keyOf(a, a.DatabaseID), done)
	carry(w.Roles, s.Folded&(1<<inRoles) != 0, keyOf(a, a.RoleID), done)
	carry(w.Applications, s.Folded&(1<<inApplications) != 0, applicationKey(a), done)
	client := clientKey(a)
	carry(w.Clients, s.Folded&(1<<inClients) != 0, client, done)
	network := w.networkKey(client)
	if s.Folded&(1<<inNetworks) != 0 {
		carry(w.Networks, true, network, done)
	} else if former := networkNamed(s.Network); former != network {
		w.Networks.move(former, network, done)
	}
}

func carry[T comparable](t *Table[T, Usage], folded bool, k Key[T], done Usage) {
	if other := (Key[T]{Special: Other}); folded && k != other {
		t.move(other, k, done)
	}
}

// move leaves what comes back in one row with another.
func (t *Table[T, V]) move(to, from Key[T], v V) {
	var zero V
	t.add(to, "", v)
	t.add(from, "", zero.Minus(v))
}

// SpecialNamed gives the special row that is shown by this name, Named if none is.
func SpecialNamed(name string) Special {
	for _, s := range []Special{None, Other, Local, Protocol} {
		if name == s.String() {
			return s
		}
	}
	return Named
}

// networkNamed gives the key of the network that is shown by this name.
func networkNamed(name string) Key[string] {
	if s := SpecialNamed(name); s != Named {
		return Key[string]{Special: s}
	}
	return Key[string]{Of: name}
}
