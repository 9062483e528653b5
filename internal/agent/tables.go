package agent

import (
	"fmt"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// Parts of a set: what a table of totals may take, and what is left to the history
// where the live sessions, which get the rest, are many.
const (
	tablePart   = 10
	historyPart = 16
)

// addSessions adds the sessions' tables as they are now.
func (s *set) addSessions() error {
	who, what := s.register.Who, s.register.What
	m := view.Moment{Reset: s.ledger.ResetAt(), Measured: s.shown.measured}
	for _, t := range []struct {
		table  *link.Table
		encode func([]byte) ([]byte, error)
	}{
		{&view.Databases, func(b []byte) ([]byte, error) { return view.EncodeDatabases(b, who, m) }},
		{&view.Roles, func(b []byte) ([]byte, error) { return view.EncodeRoles(b, who, m) }},
		{&view.Applications, func(b []byte) ([]byte, error) { return view.EncodeApplications(b, who, m) }},
		{&view.Clients, func(b []byte) ([]byte, error) { return view.EncodeClients(b, who, m) }},
		{&view.Networks, func(b []byte) ([]byte, error) { return view.EncodeNetworks(b, who, m) }},
		{&view.Statements, func(b []byte) ([]byte, error) { return view.EncodeStatements(b, what, who, m) }},
	} {
		if err := s.addTotals(t.table, t.encode); err != nil {
			return err
		}
	}
	limit := s.rest(view.Activity.Name) - s.room/historyPart
	activity, left, err := view.EncodeActivity(s.buffer(&view.Activity), s.register, limit)
	if err != nil {
		return err
	}
	s.put(&view.Activity, activity)
	s.noteLeft("sessions", left, "some rows of pg_netstat_activity")
	s.shown.wanted, s.shown.late = false, 0
	s.shown.until = s.shown.known
	s.shown.at, s.shown.seq = s.Now().Mono, s.register.Seq()
	s.shown.sessions, s.shown.folded = s.register.Len(), what.Folded
	s.register.Published()
	return nil
}

func (s *set) buffer(t *link.Table) []byte { return s.shown.buffers[t.Name] }

// put adds a table that was made in its buffer.
func (s *set) put(t *link.Table, data []byte) {
	s.shown.buffers[t.Name] = data
	s.add(t, data)
}

// addTotals adds a table of totals. If it is too large for its part of the set, it is
// bounded to as many rows as fit.
func (s *set) addTotals(t *link.Table, encode func([]byte) ([]byte, error)) error {
	data, err := encode(s.buffer(t))
	if err != nil {
		return err
	}
	rows := s.register.Bounded()[t.Name]
	part := s.room / tablePart
	about := "memory for " + t.Name
	for n := rows.Len(); len(data) > part && n > 0; {
		n = min(n*9/10, n*part/len(data))
		rows.Bound(max(n, 1))
		if data, err = encode(data); err != nil {
			return err
		}
		s.complainText(about, fmt.Sprintf("the least rows of %s are added to (other), as they do not fit into pg_netstat.max_memory", t.Name))
	}
	s.put(t, data)
	return nil
}
