// Package view says what the rows of each view are made of: it turns the
// accounts into snapshots, and restored snapshots into accounts. The views
// themselves, with their columns' names and comments, are SQL; they show the
// first columns of these tables.
package view

import (
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
)

// columns makes columns from "name type" pairs separated by commas.
func columns(list string) []link.Column {
	oids := map[string]uint32{
		"int4": pgtype.Int4OID, "int8": pgtype.Int8OID, "float8": pgtype.Float8OID, "text": pgtype.TextOID,
		"bool": pgtype.BoolOID, "timestamptz": pgtype.TimestamptzOID, "oid": pgtype.OIDOID, "inet": pgtype.InetOID,
	}
	var cols []link.Column
	for f := range strings.SplitSeq(list, ",") {
		name, typ, _ := strings.Cut(strings.TrimSpace(f), " ")
		oid, ok := oids[typ]
		if !ok {
			panic("no type " + typ + " for column " + name)
		}
		cols = append(cols, link.Column{Name: name, OID: oid})
	}
	return cols
}

// History is the snapshot behind the view pg_netstat. Hidden: covered, the
// seconds of the interval that were counted.
var History = link.Table{Name: "pg_netstat", Columns: columns(`device text, ts timestamptz,
	packets_in int8, packets_out int8, packets_in_speed float8, packets_out_speed float8,
	bytes_in int8, bytes_out int8, bytes_in_speed float8, bytes_out_speed float8, created_at timestamptz,
	covered float8`)}

// Devices is the snapshot behind pg_netstat_device. Hidden: the interval that
// is not complete, as the device saw it until now.
var Devices = link.Table{Name: "pg_netstat_device", Columns: columns(`device text, state text,
	packets_in int8, packets_out int8, packets_in_speed float8, packets_out_speed float8,
	bytes_in int8, bytes_out int8, bytes_in_speed float8, bytes_out_speed float8, stats_reset timestamptz,
	open_start timestamptz, open_covered float8,
	open_packets_in int8, open_packets_out int8, open_bytes_in int8, open_bytes_out int8`)}

// StatusTable is the agent's part of pg_netstat_status. Hidden: until when
// everything is accounted for: packets, and what the sessions did.
var StatusTable = link.Table{Name: "pg_netstat_status", Columns: columns(`state text, engine text, engine_reason text,
	exact bool, inexact_reason text, devices text, port int4, warning text, packets_lost int8,
	gaps int8, gap_seconds float8, last_gap_start timestamptz, last_gap_end timestamptz,
	restored text, restored_from timestamptz, sessions_live int8, events_folded int8,
	stats_reset timestamptz, counted_until timestamptz, sessions_until timestamptz`)}

// speeds gives what each figure of c is per second, over a time that was
// really covered; NULL for none.
func speeds(c engine.Counts, covered time.Duration) (packetsIn, packetsOut, bytesIn, bytesOut any) {
	if covered <= 0 {
		return nil, nil, nil, nil
	}
	s := covered.Seconds()
	return float64(c.PacketsIn) / s, float64(c.PacketsOut) / s, float64(c.BytesIn) / s, float64(c.BytesOut) / s
}

// counted gives the eight columns that every table of counts has.
func counted(c engine.Counts, speedOf engine.Counts, covered time.Duration) link.Row {
	pin, pout, bin, bout := speeds(speedOf, covered)
	return link.Row{
		int64(c.PacketsIn), int64(c.PacketsOut), pin, pout,
		int64(c.BytesIn), int64(c.BytesOut), bin, bout,
	}
}

func timeOrNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func historyRow(i account.Interval) link.Row {
	row := append(link.Row{i.Device, i.Start}, counted(i.Counts, i.Counts, i.Covered)...)
	return append(row, i.Created, i.Covered.Seconds())
}

// Gone is the state of a device that does not exist.
const Gone = "gone"

// EncodeDevices makes the snapshot of the devices. State tells what a device
// is doing now. One that is gone and never counted anything has no row.
func EncodeDevices(l *account.Ledger, state func(device string) string) ([]byte, error) {
	start, covered := l.OpenInterval()
	return Devices.Encode(nil, func(yield func(link.Row) bool) {
		for _, d := range l.Devices() {
			doing := state(d.Name)
			if doing == Gone && d.Total.Zero() {
				continue
			}
			row := append(link.Row{d.Name, doing}, counted(d.Total, d.Last, d.LastCovered)...)
			row = append(row, l.ResetAt(), start, covered.Seconds(),
				int64(d.Open.PacketsIn), int64(d.Open.PacketsOut), int64(d.Open.BytesIn), int64(d.Open.BytesOut))
			if !yield(row) {
				return
			}
		}
	})
}

// Status is what the agent says of itself.
type Status struct {
	State         string
	Engine        string // empty while there is none
	EngineReason  string // why a better engine is not used; empty if none is better
	InexactReason string // why counts are not exact; empty if they are
	Devices       []string
	Port          uint16
	Warning       string // what of the settings could not be done
	Restored      string // where earlier figures came from; empty if from nowhere
	RestoredFrom  time.Time
	Sessions      int       // that live; as the other snapshots have it
	Folded        uint64    // calls and sessions whose account was lost to (other); likewise
	SessionsUntil time.Time // all that the sessions did before is in the other snapshots
}

// EncodeStatus makes the snapshot of the agent's state.
func EncodeStatus(s Status, l *account.Ledger) ([]byte, error) {
	g := l.Gaps()
	var exact any
	if s.Engine != "" {
		exact = s.InexactReason == ""
	}
	row := link.Row{
		s.State, textOrNull(s.Engine), textOrNull(s.EngineReason),
		exact, textOrNull(s.InexactReason), textOrNull(strings.Join(s.Devices, ", ")), int32(s.Port),
		textOrNull(s.Warning), int64(l.Lost()),
		int64(g.Count), g.Total.Seconds(), timeOrNull(g.LastStart), timeOrNull(g.LastEnd),
		textOrNull(s.Restored), timeOrNull(s.RestoredFrom), int64(s.Sessions), int64(s.Folded),
		l.ResetAt(), l.Until().Wall, timeOrNull(s.SessionsUntil),
	}
	return StatusTable.Encode(nil, func(yield func(link.Row) bool) { yield(row) })
}
