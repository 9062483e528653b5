package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a question to a server may take before the test fails:
// the machine may be busy with other things.
const patience = 60 * time.Second

// Connect opens a connection by the Unix socket; the test closes it.
func (s *Server) Connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", s.Sockets, s.Port, Account))
}

// session gives the connection that the server's methods share, a new one if
// the former has broken.
func (s *Server) session(ctx context.Context) (*pgx.Conn, error) {
	if s.conn != nil && !s.conn.IsClosed() {
		return s.conn, nil
	}
	c, err := s.Connect(ctx)
	s.conn = c
	return c, err
}

// Disconnect closes the connection that the server's methods share. They open it
// again.
func (s *Server) Disconnect() {
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.conn.Close(ctx)
		s.conn = nil
	}
}

// Exec runs statements.
func (s *Server) Exec(t testing.TB, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.session(ctx)
	if err == nil {
		_, err = c.PgConn().Exec(ctx, sql).ReadAll()
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// TryRows asks a server that may not answer. T is a struct with a field for
// each column, by position.
func TryRows[T any](s *Server, sql string, args ...any) ([]T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := c.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// Rows asks a server; an error ends the test.
func Rows[T any](t testing.TB, s *Server, sql string, args ...any) []T {
	t.Helper()
	rows, err := TryRows[T](s, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// Value asks for a single value.
func Value[T any](t testing.TB, s *Server, sql string, args ...any) T {
	t.Helper()
	rows := Rows[struct{ V T }](t, s, sql, args...)
	if len(rows) != 1 {
		t.Fatalf("%s: %d rows", sql, len(rows))
	}
	return rows[0].V
}

// Status is the row of pg_netstat_status; a text that is null is empty.
type Status struct {
	State, Engine, EngineReason string
	Exact                       *bool
	InexactReason, Devices      string
	Port                        *int32
	AgentPID                    *int32
	AgentVersion                string
	StartedAt                   *time.Time
	Restarts                    int64
	LastError                   string
	LastErrorAt                 *time.Time
	Warning                     string
	PacketsLost                 *int64
	Gaps                        *int64
	GapSeconds                  *float64
	LastGapStart, LastGapEnd    *time.Time
	Restored                    string
	RestoredFrom                *time.Time
	SnapshotAge                 *float64 // seconds
	SavedAt, StatsReset         *time.Time
}

const statusQuery = `SELECT state, coalesce(engine, ''), coalesce(engine_reason, ''), exact,
	coalesce(inexact_reason, ''), coalesce(devices, ''), port, agent_pid, coalesce(agent_version, ''), started_at,
	restarts, coalesce(last_error, ''), last_error_at, coalesce(warning, ''), packets_lost, gaps, gap_seconds,
	last_gap_start, last_gap_end, coalesce(restored, ''), restored_from,
	extract(epoch FROM snapshot_age)::float8, saved_at, stats_reset FROM pg_netstat_status`

// Status asks for the server's status.
func (s *Server) Status(t testing.TB) Status {
	t.Helper()
	st, err := s.TryStatus()
	if err != nil {
		t.Fatal("pg_netstat_status: ", err)
	}
	return st
}

// TryStatus is Status for a server that may not answer.
func (s *Server) TryStatus() (Status, error) {
	rows, err := TryRows[Status](s, statusQuery)
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("%d rows", len(rows))
	}
	if err != nil {
		return Status{}, err
	}
	return rows[0], nil
}

// Await waits until an engine counts, by its name, and gives the status. With
// "" any engine will do.
func (s *Server) Await(t testing.TB, engine string) Status {
	t.Helper()
	return s.AwaitStatus(t, "engine "+engine+" counting", func(st Status) bool {
		return st.State == "counting" && (engine == "" || st.Engine == engine)
	})
}

// AwaitStatus waits until the status is as it should be, and gives it. A server
// that does not answer yet is waited for.
func (s *Server) AwaitStatus(t testing.TB, what string, good func(Status) bool) Status {
	t.Helper()
	var st Status
	Until(t, 90*time.Second, what, func() (err error) {
		if st, err = s.TryStatus(); err == nil && !good(st) {
			err = fmt.Errorf("the status is %+v", st)
		}
		return err
	})
	return st
}

// CaughtUp waits until everything that passed before the call is in the views.
func (s *Server) CaughtUp(t testing.TB) {
	t.Helper()
	now := time.Now()
	Until(t, 90*time.Second, "figures catching up", func() error {
		rows, err := TryRows[struct{ Packets, Sessions *time.Time }](s, `SELECT counted_until, sessions_until FROM pg_netstat_read('pg_netstat_status') AS s (
			state text, engine text, engine_reason text, exact bool, inexact_reason text, devices text, port int4,
			warning text, packets_lost int8, gaps int8, gap_seconds float8, last_gap_start timestamptz,
			last_gap_end timestamptz, restored text, restored_from timestamptz, sessions_live int8, events_folded int8,
			stats_reset timestamptz, counted_until timestamptz, sessions_until timestamptz)`)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.Packets != nil && r.Packets.After(now) && r.Sessions != nil && r.Sessions.After(now) {
				return nil
			}
		}
		return fmt.Errorf("known are %+v, now it was %s", rows, now)
	})
}

// Reset sets the figures to zero.
func (s *Server) Reset(t testing.TB) {
	t.Helper()
	s.Exec(t, "SELECT pg_netstat_reset()")
}

// Device is a row of pg_netstat_device.
type Device struct {
	Name, State string
	Counts
	StatsReset time.Time
}

// Devices gives pg_netstat_device, by name.
func (s *Server) Devices(t testing.TB) map[string]Device {
	t.Helper()
	devices := map[string]Device{}
	for _, d := range Rows[Device](t, s, `SELECT device, state, packets_in, packets_out, bytes_in, bytes_out,
		stats_reset FROM pg_netstat_device`) {
		devices[d.Name] = d
	}
	return devices
}

// Totals gives the sum of pg_netstat_device.
func (s *Server) Totals(t testing.TB) Counts {
	t.Helper()
	var sum Counts
	for _, d := range s.Devices(t) {
		sum = sum.Add(d.Counts)
	}
	return sum
}

// Interval is a row of pg_netstat.
type Interval struct {
	Device string
	Start  time.Time
	Counts
	Created time.Time
}

// History gives pg_netstat, ordered by device and start.
func (s *Server) History(t testing.TB) []Interval {
	t.Helper()
	return Rows[Interval](t, s, `SELECT device, ts, packets_in, packets_out, bytes_in, bytes_out, created_at FROM pg_netstat`)
}

// Sum gives the sum of rows.
func Sum(rows []Interval) Counts {
	var sum Counts
	for _, r := range rows {
		sum = sum.Add(r.Counts)
	}
	return sum
}
