package view

import (
	"net/netip"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/link"
)

// What the tables of sessions have in common: first what is counted, at last
// what is hidden, so that a restored row is what was settled.
const (
	sessionColumns = `, sessions int8, live_sessions int8, failed_connections int8,
	bytes_in int8, bytes_out int8, bytes_in_speed float8, bytes_out_speed float8,
	segments_in int8, segments_out int8, retransmitted_bytes int8, retransmitted_segments int8`
	wireColumns   = `, packets_in int8, packets_out int8, wire_bytes_in int8, wire_bytes_out int8`
	hiddenColumns = `, stats_reset timestamptz, special int4,
	settled_bytes_in int8, settled_bytes_out int8, settled_segments_in int8, settled_segments_out int8,
	settled_retransmitted_bytes int8, settled_retransmitted_segments int8`
)

// Snapshots of what sessions did, by who they are.
var (
	Databases = link.Table{Name: "pg_netstat_database", Columns: columns(
		`datid oid, datname text` + sessionColumns + hiddenColumns)}
	Roles = link.Table{Name: "pg_netstat_role", Columns: columns(
		`usesysid oid, usename text` + sessionColumns + hiddenColumns)}
	Applications = link.Table{Name: "pg_netstat_application", Columns: columns(
		`application_name text` + sessionColumns + hiddenColumns)}
	Clients = link.Table{Name: "pg_netstat_client", Columns: columns(
		`client text, client_addr inet, network text` + sessionColumns + wireColumns + hiddenColumns)}
	Networks = link.Table{Name: "pg_netstat_network", Columns: columns(
		`network text` + sessionColumns + wireColumns + hiddenColumns)}
)

// Moment is what the rows of totals have in common.
type Moment struct {
	Reset    time.Time
	Measured bool // speeds are known
}

// Physical is how the database is called of sessions that have none: those
// that replicate the whole server.
const Physical = "(replication)"

// rowOf is what of a row is the same whatever the table is of.
type rowOf struct {
	special        account.Special
	total, settled account.Usage
	live           int
	speed          account.Speed
}

func common[T comparable](r *account.Row[T, account.Usage]) rowOf {
	return rowOf{r.Key.Special, r.Total(), r.Settled(), r.Sessions(), r.Speed}
}

func (r rowOf) sessions(w *link.Writer, m Moment) {
	u := r.total
	w.Int8(u.Sessions, int64(r.live), u.Failed, u.BytesIn, u.BytesOut)
	if m.Measured {
		w.Float8(r.speed.In)
		w.Float8(r.speed.Out)
	} else {
		w.Null()
		w.Null()
	}
	w.Int8(u.SegmentsIn, u.SegmentsOut, u.RetransmittedBytes, u.RetransmittedSegments)
}

func (r rowOf) wire(w *link.Writer) {
	u := r.total
	w.Int8(u.PacketsIn, u.PacketsOut, u.WireIn, u.WireOut)
}

func (r rowOf) hidden(w *link.Writer, m Moment) {
	u := r.settled
	w.Time(m.Reset)
	w.Int4(int32(r.special))
	w.Int8(u.BytesIn, u.BytesOut, u.SegmentsIn, u.SegmentsOut, u.RetransmittedBytes, u.RetransmittedSegments)
}

// byOID encodes the databases or the roles.
func byOID(buf []byte, t *link.Table, rows *account.Table[uint32, account.Usage], noOID string, m Moment) ([]byte, error) {
	w := t.Write(buf)
	for r := range rows.All() {
		w.Row()
		switch {
		case r.Key.Special != account.Named:
			w.Null()
			w.Text(r.Key.Special.String())
		case r.Key.Of == 0:
			w.Null()
			w.Text(noOID)
		default:
			w.OID(r.Key.Of)
			w.Text(r.Label)
		}
		c := common(r)
		c.sessions(w, m)
		c.hidden(w, m)
	}
	return w.End()
}

// EncodeDatabases makes the snapshot of the databases in buf.
func EncodeDatabases(buf []byte, who *account.Who, m Moment) ([]byte, error) {
	return byOID(buf, &Databases, who.Databases, Physical, m)
}

// EncodeRoles makes the snapshot of the roles in buf.
func EncodeRoles(buf []byte, who *account.Who, m Moment) ([]byte, error) {
	return byOID(buf, &Roles, who.Roles, "", m)
}

// EncodeApplications makes the snapshot of the application names in buf.
func EncodeApplications(buf []byte, who *account.Who, m Moment) ([]byte, error) {
	w := Applications.Write(buf)
	for r := range who.Applications.All() {
		w.Row()
		w.Text(named(r.Key))
		c := common(r)
		c.sessions(w, m)
		c.hidden(w, m)
	}
	return w.End()
}

// EncodeClients makes the snapshot of the client addresses in buf.
func EncodeClients(buf []byte, who *account.Who, m Moment) ([]byte, error) {
	w := Clients.Write(buf)
	for r := range who.Clients.All() {
		w.Row()
		if r.Key.Special != account.Named {
			w.Text(r.Key.Special.String())
		} else {
			w.Text(r.Key.Of.String())
		}
		w.Addr(r.Key.Of)
		w.Text(r.Label)
		c := common(r)
		c.sessions(w, m)
		c.wire(w)
		c.hidden(w, m)
	}
	return w.End()
}

// EncodeNetworks makes the snapshot of the networks in buf.
func EncodeNetworks(buf []byte, who *account.Who, m Moment) ([]byte, error) {
	w := Networks.Write(buf)
	for r := range who.Networks.All() {
		w.Row()
		w.Text(named(r.Key))
		c := common(r)
		c.sessions(w, m)
		c.wire(w)
		c.hidden(w, m)
	}
	return w.End()
}

func named(k account.Key[string]) string {
	if k.Special != account.Named {
		return k.Special.String()
	}
	return k.Of
}

// Restoring.

func (f fields) usage() account.Usage {
	n := func(name string) int64 { return get[int64](f, name) }
	return account.Usage{
		Sessions: n("sessions"), Failed: n("failed_connections"),
		BytesIn: n("settled_bytes_in"), BytesOut: n("settled_bytes_out"),
		SegmentsIn: n("settled_segments_in"), SegmentsOut: n("settled_segments_out"),
		RetransmittedBytes:    n("settled_retransmitted_bytes"),
		RetransmittedSegments: n("settled_retransmitted_segments"),
	}
}

func (f fields) wire(u account.Usage) account.Usage {
	u.PacketsIn, u.PacketsOut = get[int64](f, "packets_in"), get[int64](f, "packets_out")
	u.WireIn, u.WireOut = get[int64](f, "wire_bytes_in"), get[int64](f, "wire_bytes_out")
	return u
}

// keyed gives the key of a restored row, which has a value only if it is no special one.
func keyed[T comparable](f fields, of T) account.Key[T] {
	if s := account.Special(get[int32](f, "special")); s != account.Named {
		return account.Key[T]{Special: s}
	}
	return account.Key[T]{Of: of}
}

func (f fields) addr(column string) netip.Addr {
	return get[netip.Prefix](f, column).Addr()
}

type saved[T comparable] = account.SavedRow[T, account.Usage]

func restoreWho(who *account.Who, each eachRow) {
	byOID := func(t *link.Table, oid, name string, to *account.Table[uint32, account.Usage]) {
		var rows []saved[uint32]
		each(t, func(f fields) {
			rows = append(rows, saved[uint32]{
				Key: keyed(f, get[uint32](f, oid)), Label: get[string](f, name), Settled: f.usage(),
			})
		})
		to.Restore(rows)
	}
	byOID(&Databases, "datid", "datname", who.Databases)
	byOID(&Roles, "usesysid", "usename", who.Roles)

	byName := func(t *link.Table, name string, usage func(fields) account.Usage, to *account.Table[string, account.Usage]) {
		var rows []saved[string]
		each(t, func(f fields) {
			rows = append(rows, saved[string]{Key: keyed(f, get[string](f, name)), Settled: usage(f)})
		})
		to.Restore(rows)
	}
	withWire := func(f fields) account.Usage { return f.wire(f.usage()) }
	byName(&Applications, "application_name", fields.usage, who.Applications)
	byName(&Networks, "network", withWire, who.Networks)

	var clients []saved[netip.Addr]
	each(&Clients, func(f fields) {
		clients = append(clients, saved[netip.Addr]{
			Key: keyed(f, f.addr("client_addr")), Label: get[string](f, "network"), Settled: withWire(f),
		})
	})
	who.Clients.Restore(clients)
}
