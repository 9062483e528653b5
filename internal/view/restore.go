package view

import (
	"errors"
	"sort"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
)

// Restore reads an account out of the snapshots that an earlier agent made.
// What one of them lacks stays empty; one that is damaged is left out and is
// in the error.
func Restore(snapshots map[string][]byte) (account.Saved, error) {
	var s account.Saved
	var errs []error
	each := rowsOf(snapshots, &errs)
	each(&History, func(f fields) {
		s.History = append(s.History, account.Interval{
			Device: get[string](f, "device"), Start: get[time.Time](f, "ts"),
			Covered: seconds(get[float64](f, "covered")), Counts: f.counts(""), Created: get[time.Time](f, "created_at"),
		})
	})
	each(&Devices, func(f fields) {
		s.Devices = append(s.Devices, account.SavedDevice{
			Name: get[string](f, "device"), Total: f.counts(""), Open: f.counts("open_"),
		})
		s.OpenStart, s.OpenCovered = get[time.Time](f, "open_start"), seconds(get[float64](f, "open_covered"))
	})
	each(&StatusTable, func(f fields) {
		s.Lost = uint64(get[int64](f, "packets_lost"))
		s.Reset, s.Until = get[time.Time](f, "stats_reset"), get[time.Time](f, "counted_until")
		s.Gaps = account.Gaps{
			Count: uint64(get[int64](f, "gaps")), Total: seconds(get[float64](f, "gap_seconds")),
			LastStart: get[time.Time](f, "last_gap_start"), LastEnd: get[time.Time](f, "last_gap_end"),
		}
		if !s.Gaps.LastStart.IsZero() && s.Gaps.LastEnd.IsZero() {
			// It lasted when the agent went, and goes on from its start.
			s.Gaps.Count--
			s.Until = s.Gaps.LastStart
		}
	})
	sort.SliceStable(s.History, func(i, j int) bool { return s.History[i].Created.Before(s.History[j].Created) })
	return s, errors.Join(errs...)
}

// RestoreSessions reads sessions, statements and their accounts in the same way.
func RestoreSessions(snapshots map[string][]byte, r *session.Register) error {
	var errs []error
	each := rowsOf(snapshots, &errs)
	restoreWho(r.Who, each)
	restoreWhat(r.What, each)
	restoreActivity(r, each)
	each(&StatusTable, func(f fields) { r.What.Folded = uint64(get[int64](f, "events_folded")) })
	return errors.Join(errs...)
}

// eachRow goes through the rows of a table's snapshot.
type eachRow func(*link.Table, func(fields))

func rowsOf(snapshots map[string][]byte, errs *[]error) eachRow {
	return func(t *link.Table, use func(fields)) {
		data, ok := snapshots[t.Name]
		if !ok {
			return
		}
		rows, err := t.Decode(data)
		if err != nil {
			*errs = append(*errs, err)
			return
		}
		for _, row := range rows {
			use(fields{t, row})
		}
	}
}

// fields finds a row's values by the names of their columns.
type fields struct {
	table *link.Table
	row   link.Row
}

// get gives the value of a column, zero if it is NULL or of another type.
func get[T any](f fields, name string) T {
	v, _ := f.value(name).(T)
	return v
}

func (f fields) value(name string) any {
	for i, c := range f.table.Columns {
		if c.Name == name {
			return f.row[i]
		}
	}
	panic("no column " + name + " in " + f.table.Name)
}

func (f fields) counts(prefix string) engine.Counts {
	n := func(name string) uint64 { return uint64(max(get[int64](f, prefix+name), 0)) }
	return engine.Counts{
		PacketsIn: n("packets_in"), PacketsOut: n("packets_out"),
		BytesIn: n("bytes_in"), BytesOut: n("bytes_out"),
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
