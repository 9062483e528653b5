package account

import "github.com/pg-netstat/pg_netstat/internal/link"

// Share is a live session's part of the rows that it belongs to.
type Share struct {
	account link.Account
	network Key[string]
	entries [tablesOfWho]*Entry[Usage]
	traffic link.Traffic // that the rows have as live
}

// The tables that a session is in, in the order of a share's entries.
const (
	inDatabases = iota
	inRoles
	inApplications
	inClients
	inNetworks
	tablesOfWho
)

// Open makes a live session part of its account's rows, with no traffic yet.
func (w *Who) Open(a link.Account) *Share {
	client := clientKey(a)
	network := w.networkKey(client)
	return &Share{account: a, network: network, entries: [tablesOfWho]*Entry[Usage]{
		inDatabases:    w.Databases.open(keyOf(a, a.DatabaseID), a.Database),
		inRoles:        w.Roles.open(keyOf(a, a.RoleID), a.Role),
		inApplications: w.Applications.open(applicationKey(a), ""),
		inClients:      w.Clients.open(client, networkName(network)),
		inNetworks:     w.Networks.open(network, ""),
	}}
}

// Set says what the session has done for its account until now, and tells
// whether that is news.
func (s *Share) Set(now link.Traffic) bool {
	if now == s.traffic {
		return false
	}
	more := UsageOf(now).Minus(UsageOf(s.traffic))
	s.traffic = now
	for _, e := range s.entries {
		e = e.shown()
		e.live = e.live.Plus(more)
	}
	return true
}

// Close takes the session out of the rows: what it did is settled elsewhere.
func (s *Share) Close() {
	s.Set(link.Traffic{})
	for _, e := range s.entries {
		e.close()
	}
}

// Traffic is what the rows have of the session now.
func (s *Share) Traffic() link.Traffic { return s.traffic }

// Network names the network of the session's client.
func (s *Share) Network() string { return networkName(s.network) }

// Folded tells in which tables the session is part of the row Other because its
// own row was folded: a bit for each.
func (s *Share) Folded() (bits uint8) {
	for i, e := range s.entries {
		if e.into != nil {
			bits |= 1 << i
		}
	}
	return bits
}

// Rename changes the names of networks. What the live sessions did until now
// stays with the network that showed it.
func (w *Who) Rename(n Networks, live []*Share) {
	w.networks = n
	for r := range w.Clients.All() {
		r.Label = networkName(w.networkKey(r.Key))
	}
	for _, s := range live {
		network := w.networkKey(clientKey(s.account))
		if network == s.network {
			continue
		}
		s.network = network
		s.move(inNetworks, w.Networks.open(network, ""))
	}
}

// move makes a session part of another row from now on.
func (s *Share) move(table int, to *Entry[Usage]) {
	from, done := s.entries[table], UsageOf(s.traffic)
	from.close()
	s.entries[table] = to
	e := from.shown()
	e.live, e.settled = e.live.Minus(done), e.settled.Plus(done)
	e = to.shown()
	e.live, e.settled = e.live.Plus(done), e.settled.Minus(done)
}
