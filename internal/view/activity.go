package view

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// Activity is the snapshot behind pg_netstat_activity. Hidden: which session
// of the server's life it is, and what of its connection belongs to others.
var Activity = link.Table{Name: "pg_netstat_activity", Columns: columns(
	`pid int4, datid oid, datname text, usesysid oid, usename text, application_name text, backend_type text,
	client_addr inet, client_port int4, network text, tls bool, connected_at timestamptz,
	bytes_in int8, bytes_out int8, bytes_in_speed float8, bytes_out_speed float8,
	segments_in int8, segments_out int8, retransmitted_bytes int8, retransmitted_segments int8,
	rtt float8, min_rtt float8, delivery_rate float8, unacknowledged_bytes int8, unsent_bytes int8,
	receive_window_limited float8, send_buffer_limited float8, busy float8,
	last_data_sent timestamptz, last_data_received timestamptz, bottleneck text,
	serial int8, folded int4,
	base_bytes_in int8, base_bytes_out int8, base_segments_in int8, base_segments_out int8,
	base_retransmitted_bytes int8, base_retransmitted_segments int8`)}

// EncodeActivity makes the snapshot of the live sessions in buf, of as many as
// fit into limit bytes, and tells how many are left out.
func EncodeActivity(buf []byte, r *session.Register, limit int) (data []byte, left int, err error) {
	w := Activity.Write(buf)
	largest := 0
	for s := range r.All() {
		if w.Size()+largest > limit {
			left++
			continue
		}
		before := w.Size()
		activityRow(w, s, r.DumpedAt())
		largest = max(largest, w.Size()-before)
	}
	data, err = w.End()
	return data, left, err
}

func activityRow(w *link.Writer, s *session.Session, dumped time.Time) {
	w.Row()
	w.Int4(int32(s.PID))
	who(w, s.DatabaseID, s.Database)
	who(w, s.RoleID, s.Role)
	w.Text(s.Application)
	w.Text(s.Kind.String())
	w.Addr(s.Remote.IP)
	if s.Unix {
		w.Null()
	} else {
		w.Int4(int32(s.RemotePort))
	}
	w.Text(s.Network())
	w.Bool(s.TLS)
	w.Time(s.ConnectedAt)
	counters(w, s)
	health(w, s.Socket(), dumped)
	textOr(w, s.Bottleneck())
	b := s.Base
	w.Int8(int64(s.Serial))
	w.Int4(int32(s.Folded()))
	w.Int8(int64(b.BytesIn), int64(b.BytesOut), int64(b.SegmentsIn), int64(b.SegmentsOut),
		int64(b.RetransmittedBytes), int64(b.RetransmittedSegments))
}

// who appends the number and name of a database or a role, if it has one.
func who(w *link.Writer, oid uint32, name string) {
	if oid == 0 {
		w.Null()
	} else {
		w.OID(oid)
	}
	textOr(w, name)
}

func textOr(w *link.Writer, s string) {
	if s == "" {
		w.Null()
	} else {
		w.Text(s)
	}
}

func nulls(w *link.Writer, n int) {
	for range n {
		w.Null()
	}
}

// counters appends what the connection has counted: of a Unix-domain socket
// only what the server has sent is known.
func counters(w *link.Writer, s *session.Session) {
	t, known := s.Seen()
	speed, measured := s.Speed()
	if !known {
		nulls(w, 8)
		return
	}
	if s.Unix {
		w.Null()
	} else {
		w.Int8(int64(t.BytesIn))
	}
	w.Int8(int64(t.BytesOut))
	if s.Unix || !measured {
		w.Null()
	} else {
		w.Float8(speed.In)
	}
	if measured {
		w.Float8(speed.Out)
	} else {
		w.Null()
	}
	if s.Unix {
		nulls(w, 4)
		return
	}
	w.Int8(int64(t.SegmentsIn), int64(t.SegmentsOut), int64(t.RetransmittedBytes), int64(t.RetransmittedSegments))
}

// health appends how the TCP connection is.
func health(w *link.Writer, k *sockdiag.Socket, dumped time.Time) {
	if k == nil {
		nulls(w, 10)
		return
	}
	µs := func(n uint64) { w.Float8(float64(n) / 1000) }
	µs(uint64(k.RTT))
	µs(uint64(k.MinRTT))
	w.Float8(float64(k.DeliveryRate))
	w.Int8(int64(k.UnacknowledgedBytes()), int64(k.NotsentBytes))
	µs(k.RwndLimited)
	µs(k.SndbufLimited)
	µs(k.BusyTime)
	ago := func(ms uint32, any bool) {
		if any {
			w.Time(dumped.Add(-time.Duration(ms) * time.Millisecond))
		} else {
			w.Null()
		}
	}
	ago(k.LastDataSent, k.BytesSent > 0)
	ago(k.LastDataRecv, k.BytesReceived > 0)
}

func restoreActivity(r *session.Register, each eachRow) {
	var sessions []session.Saved
	each(&Activity, func(f fields) {
		s := session.Saved{
			Serial: uint64(get[int64](f, "serial")), Connected: get[time.Time](f, "connected_at"),
			Network: get[string](f, "network"), Folded: uint8(get[int32](f, "folded")),
			Seen: f.traffic(""), Base: f.traffic("base_"),
			Account: link.Account{
				DatabaseID: get[uint32](f, "datid"), RoleID: get[uint32](f, "usesysid"),
				Database: get[string](f, "datname"), Role: get[string](f, "usename"),
				Application: get[string](f, "application_name"),
				Remote:      link.Address{IP: f.addr("client_addr")},
			},
		}
		_, s.Known = f.value("bytes_out").(int64)
		_, port := f.value("client_port").(int32)
		s.Account.Remote.Unix = !port
		sessions = append(sessions, s)
	})
	r.Restore(sessions)
}

func (f fields) traffic(prefix string) link.Traffic {
	n := func(name string) uint64 { return uint64(max(get[int64](f, prefix+name), 0)) }
	return link.Traffic{
		BytesIn: n("bytes_in"), BytesOut: n("bytes_out"),
		SegmentsIn: n("segments_in"), SegmentsOut: n("segments_out"),
		RetransmittedBytes: n("retransmitted_bytes"), RetransmittedSegments: n("retransmitted_segments"),
	}
}
