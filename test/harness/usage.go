package harness

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Usage is a row of a view of totals: what sessions brought, in TCP payload.
type Usage struct {
	Sessions, Live, Failed                int64
	BytesIn, BytesOut                     int64
	SegmentsIn, SegmentsOut               int64
	RetransmittedBytes, RetransmittedSegs int64
}

// Add gives the sum.
func (a Usage) Add(o Usage) Usage {
	return Usage{
		a.Sessions + o.Sessions, a.Live + o.Live, a.Failed + o.Failed, a.BytesIn + o.BytesIn, a.BytesOut + o.BytesOut,
		a.SegmentsIn + o.SegmentsIn, a.SegmentsOut + o.SegmentsOut,
		a.RetransmittedBytes + o.RetransmittedBytes, a.RetransmittedSegs + o.RetransmittedSegs,
	}
}

// Sub gives the difference.
func (a Usage) Sub(o Usage) Usage {
	return a.Add(Usage{
		-o.Sessions, -o.Live, -o.Failed, -o.BytesIn, -o.BytesOut,
		-o.SegmentsIn, -o.SegmentsOut, -o.RetransmittedBytes, -o.RetransmittedSegs,
	})
}

// Usages are the rows of such a view by their key.
type Usages map[string]Usage

// Sum gives the sum of all rows, those of some keys left out.
func (a Usages) Sum(without ...string) Usage {
	var sum Usage
	for _, row := range a {
		sum = sum.Add(row)
	}
	for _, key := range without {
		sum = sum.Sub(a[key])
	}
	return sum
}

// The keys of rows that are no name.
const (
	Local = "(local)" // by a Unix socket
	None  = "(none)"  // what never became a session
	Other = "(other)" // past the bound
)

// UsageKeys are the views of totals and their key.
var UsageKeys = map[string]string{
	"pg_netstat_database": "datname", "pg_netstat_role": "usename", "pg_netstat_application": "application_name",
	"pg_netstat_client": "client", "pg_netstat_network": "network",
}

// Usages reads one of those views.
func (s *Server) Usages(t testing.TB, view string) Usages {
	t.Helper()
	rows, err := s.TryUsages(view)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TryUsages is Usages for a server that may not answer.
func (s *Server) TryUsages(view string) (Usages, error) {
	type row struct {
		Key string
		Usage
	}
	rows, err := TryRows[row](s, fmt.Sprintf(`SELECT %s, sessions, live_sessions, failed_connections, bytes_in, bytes_out,
		segments_in, segments_out, retransmitted_bytes, retransmitted_segments FROM %s`, UsageKeys[view], view))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", view, err)
	}
	all := Usages{}
	for _, r := range rows {
		if _, twice := all[r.Key]; twice {
			err = errors.Join(err, fmt.Errorf("%s: %q is there twice", view, r.Key))
		}
		all[r.Key] = r.Usage
	}
	return all, err
}

// Roles, Databases, Applications, Clients and Networks are those views.
func (s *Server) Roles(t testing.TB) Usages { t.Helper(); return s.Usages(t, "pg_netstat_role") }

// Databases is pg_netstat_database, by name.
func (s *Server) Databases(t testing.TB) Usages {
	t.Helper()
	return s.Usages(t, "pg_netstat_database")
}

// Applications is pg_netstat_application, by name.
func (s *Server) Applications(t testing.TB) Usages {
	t.Helper()
	return s.Usages(t, "pg_netstat_application")
}

// Clients is pg_netstat_client, by address.
func (s *Server) Clients(t testing.TB) Usages { t.Helper(); return s.Usages(t, "pg_netstat_client") }

// Networks is pg_netstat_network, by name.
func (s *Server) Networks(t testing.TB) Usages {
	t.Helper()
	return s.Usages(t, "pg_netstat_network")
}

// Over waits until no client that came by TCP has a session, and then for the
// figures to have caught up.
func (s *Server) Over(t testing.TB) {
	t.Helper()
	Until(t, patience, "sessions being over", func() error {
		rows, err := TryRows[struct{ N int64 }](s, `SELECT count(*) FROM pg_stat_activity WHERE client_port > 0`)
		if err == nil && rows[0].N > 0 {
			err = fmt.Errorf("%d are left", rows[0].N)
		}
		return err
	})
	s.CaughtUp(t)
}

// Live is a row of pg_netstat_activity; what is null there is nil.
type Live struct {
	PID                            int32
	Datname, Usename, Application  string
	BackendType, Client            string
	ClientPort                     *int32
	Network                        string
	TLS                            bool
	ConnectedAt                    time.Time
	BytesIn                        *int64
	BytesOut                       int64
	SegmentsIn, SegmentsOut        *int64
	RetransmittedBytes             *int64
	RetransmittedSegs              *int64
	RTT, MinRTT, DeliveryRate      *float64
	Unacknowledged, Unsent         *int64
	WindowLimited, BufferLimited   *float64
	Busy                           *float64
	LastDataSent, LastDataReceived *time.Time
	Bottleneck                     string
}

// Live gives pg_netstat_activity, by process.
func (s *Server) Live(t testing.TB) map[int]Live {
	t.Helper()
	live := map[int]Live{}
	for _, l := range Rows[Live](t, s, `SELECT pid, coalesce(datname, ''), coalesce(usename, ''), coalesce(application_name, ''), backend_type,
		coalesce(host(client_addr), ''), client_port, coalesce(network, ''), tls, connected_at, bytes_in, bytes_out,
		segments_in, segments_out, retransmitted_bytes, retransmitted_segments, rtt, min_rtt, delivery_rate,
		unacknowledged_bytes, unsent_bytes, receive_window_limited, send_buffer_limited, busy,
		last_data_sent, last_data_received, coalesce(bottleneck, '') FROM pg_netstat_activity`) {
		live[int(l.PID)] = l
	}
	return live
}
