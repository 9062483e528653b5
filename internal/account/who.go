package account

import (
	"net/netip"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
)

// Who is the account of sessions: what they did, by each of the ways to say who
// they are. The sums over the tables are equal at any time.
type Who struct {
	Databases    *Table[uint32, Usage]
	Roles        *Table[uint32, Usage]
	Applications *Table[string, Usage]
	Clients      *Table[netip.Addr, Usage]
	Networks     *Table[string, Usage]

	networks Networks
}

// NewWho begins an account with no bound.
func NewWho() *Who {
	return &Who{
		Databases: newTable[uint32, Usage](), Roles: newTable[uint32, Usage](),
		Applications: newTable[string, Usage](), Clients: newTable[netip.Addr, Usage](),
		Networks: newTable[string, Usage](),
	}
}

// table is what can be done with a table whatever its rows are of.
type table interface {
	at(time.Time)
	reset()
	refresh(time.Duration)
}

func (t *Table[T, V]) at(now time.Time) { t.now = now }

func (w *Who) tables() []table {
	return []table{w.Databases, w.Roles, w.Applications, w.Clients, w.Networks}
}

// At says when what is entered next is.
func (w *Who) At(now time.Time) { each(w.tables(), func(t table) { t.at(now) }) }

// Reset makes every figure zero at now; what live sessions did until then is never counted.
func (w *Who) Reset(now time.Time) {
	w.At(now)
	each(w.tables(), table.reset)
}

// Refresh computes the speeds over the time since the last refresh, 0 if that
// is not known.
func (w *Who) Refresh(covered time.Duration) {
	each(w.tables(), func(t table) { t.refresh(covered) })
}

func each(tables []table, do func(table)) {
	for _, t := range tables {
		do(t)
	}
}

// Keys of the rows that an account belongs to.

func special(a link.Account) Special {
	switch {
	case a.None:
		return None
	case a.Other:
		return Other
	default:
		return Named
	}
}

// keyOf gives the key of a row, which of a special one is no value.
func keyOf[T comparable](a link.Account, of T) Key[T] {
	if s := special(a); s != Named {
		return Key[T]{Special: s}
	}
	return Key[T]{Of: of}
}

// applicationKey is of one name: a backend may have no room for that alone.
func applicationKey(a link.Account) Key[string] {
	if a.Nameless {
		return Key[string]{Special: Other}
	}
	return keyOf(a, a.Application)
}

// clientKey is of whom the address is known, also if nothing else is.
func clientKey(a link.Account) Key[netip.Addr] {
	switch {
	case a.Remote.Unix:
		return Key[netip.Addr]{Special: Local}
	case a.Remote.IP.IsValid():
		return Key[netip.Addr]{Of: a.Remote.IP}
	case a.Other:
		return Key[netip.Addr]{Special: Other}
	default:
		return Key[netip.Addr]{Special: None}
	}
}

// networkKey gives the network of a client.
func (w *Who) networkKey(client Key[netip.Addr]) Key[string] {
	if client.Special != Named {
		return Key[string]{Special: client.Special}
	}
	if name, ok := w.networks.Find(client.Of); ok {
		return Key[string]{Of: name}
	}
	return Key[string]{Special: Other}
}

// NetworkOf names the network of an account's client, as the views show it.
func (w *Who) NetworkOf(a link.Account) string { return networkName(w.networkKey(clientKey(a))) }

func networkName(k Key[string]) string {
	if k.Special != Named {
		return k.Special.String()
	}
	return k.Of
}

// Add adds what an account's backends say for good.
func (w *Who) Add(a link.Account, u Usage) {
	client := clientKey(a)
	network := w.networkKey(client)
	w.Databases.add(keyOf(a, a.DatabaseID), a.Database, u)
	w.Roles.add(keyOf(a, a.RoleID), a.Role, u)
	w.Applications.add(applicationKey(a), "", u)
	w.Clients.add(client, networkName(network), u)
	w.Networks.add(network, "", u)
}

// AddWire adds what an engine saw of each client on the wire.
func (w *Who) AddWire(r engine.Reading) {
	for _, c := range r.Clients {
		w.addWire(Key[netip.Addr]{Of: c.Client.Unmap()}, c.Counts)
	}
	w.addWire(Key[netip.Addr]{Special: Other}, r.Other)
}

// Lack gives what of the packets' totals the clients' rows do not have.
func (w *Who) Lack(total engine.Counts) engine.Counts {
	var have Usage
	for r := range w.Clients.All() {
		have = have.Plus(r.Total())
	}
	lack := func(total uint64, have int64) uint64 { return total - min(total, uint64(max(have, 0))) }
	return engine.Counts{
		PacketsIn: lack(total.PacketsIn, have.PacketsIn), PacketsOut: lack(total.PacketsOut, have.PacketsOut),
		BytesIn: lack(total.BytesIn, have.WireIn), BytesOut: lack(total.BytesOut, have.WireOut),
	}
}

func (w *Who) addWire(client Key[netip.Addr], c engine.Counts) {
	if c.Zero() {
		return
	}
	u := Usage{
		PacketsIn: int64(c.PacketsIn), PacketsOut: int64(c.PacketsOut),
		WireIn: int64(c.BytesIn), WireOut: int64(c.BytesOut),
	}
	network := w.networkKey(client)
	w.Clients.add(client, networkName(network), u)
	w.Networks.add(network, "", u)
}
