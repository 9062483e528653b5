package session

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// The words for what holds a session up.
const (
	BottleneckNone    = "none"
	BottleneckClient  = "client"
	BottleneckNetwork = "network"
	BottleneckServer  = "server"
)

// The thresholds of the rule, as docs/views.md has them.
const (
	// share of the refresh that one cause must have had.
	share = 0.5
	// lossShare of the segments with payload, sent again or come out of order.
	lossShare = 0.02
	// unanswered is how long a request must have waited, in ms: longer than a client's
	// system may take to acknowledge an answer (200).
	unanswered = 250
	// backlog is how much must be unread if some is being read, in bytes.
	backlog = 65536
)

// Health is what is remembered of a connection, beside its last two sockets, to tell
// what holds its session up. The zero Health knows nothing.
type Health struct {
	// lowest is the lowest round trip that there ever was, in µs, 0 for unknown. The
	// kernel forgets its own after five minutes, and the acknowledgments of a client
	// that thinks before it asks again are late.
	lowest  uint32
	request request
}

// request is whether the server has a request of the client's that it has not answered.
type request uint8

const (
	noRequest request = iota
	maybeRequest
	openRequest
)

// Refresh takes what the kernel says of the connection now and said at the refresh
// before, nil if there was none, and gives a word for what held the session up in
// between. The causes are looked for in this order: a client that does not read makes
// the rest wait, and so does the network the server. A walsender's client may say
// things that need no answer.
func (h *Health) Refresh(before, now *sockdiag.Socket, elapsed time.Duration, walsender bool) string {
	if before == nil || before.Cookie != now.Cookie {
		*h = Health{request: atFirst(now)}
	}
	if now.MinRTT > 0 && (h.lowest == 0 || now.MinRTT < h.lowest) {
		h.lowest = now.MinRTT
	}
	if before == nil || before.Cookie != now.Cookie || elapsed <= 0 {
		return BottleneckNone
	}
	p := period{before, now, elapsed}
	h.request = p.request(h.request)
	switch {
	case p.client():
		return BottleneckClient
	case p.network(h.lowest):
		return BottleneckNetwork
	case p.server(), !walsender && h.waits(now):
		return BottleneckServer
	default:
		return BottleneckNone
	}
}

// waits tells whether a request has waited too long, which makes it certain that it
// is one: by then an answer would have been acknowledged.
func (h *Health) waits(now *sockdiag.Socket) bool {
	if h.request == noRequest || now.WriteQueue > 0 || now.LastDataRecv < unanswered {
		return false
	}
	h.request = openRequest
	return true
}

// period is the time between two refreshes.
type period struct {
	before, now *sockdiag.Socket
	elapsed     time.Duration
}

// client: the window that the client's system offers was full for most of the time,
// or is shut while something waits.
func (p *period) client() bool {
	return p.large(since(p.before.RwndLimited, p.now.RwndLimited)) || shut(p.before) && shut(p.now)
}

// shut tells that something waits for a client without any room for it.
func shut(s *sockdiag.Socket) bool {
	return s.WindowKnown() && s.SendWindow == 0 && s.NotsentBytes > 0
}

// network: packets are lost, or nothing comes back; or something waits to be sent
// that the client has room for; or most of the time went by in round trips, one for
// each request and its answer.
func (p *period) network(lowest uint32) bool {
	a, b := p.before, p.now
	sent, got := b.DataSegsOut-a.DataSegsOut, b.DataSegsIn-a.DataSegsIn
	if lost(b.TotalRetrans-a.TotalRetrans, sent) || lost(b.OutOfOrder-a.OutOfOrder, got) || b.Retransmits > 0 {
		return true
	}
	busy := since(a.BusyTime, b.BusyTime)
	limited := since(a.RwndLimited, b.RwndLimited) + since(a.SndbufLimited, b.SndbufLimited)
	if b.NotsentBytes > 0 && p.large(since(limited, busy)) {
		return true
	}
	return p.large(uint64(min(sent, got)) * uint64(lowest))
}

// lost tells whether n of all segments are too many.
func lost(n, all uint32) bool { return n > 0 && float64(n) >= lossShare*float64(all) }

// server: it leaves unread what has come, or could send more if its send buffer were
// larger.
func (p *period) server() bool {
	a, b := unread(p.before), unread(p.now)
	read := since(p.before.In()-a, p.now.In()-b)
	if a > 0 && b > 0 && (read == 0 || a >= backlog && b >= backlog) {
		return true
	}
	return p.large(since(p.before.SndbufLimited, p.now.SndbufLimited))
}

// unread gives the payload that the server has not read.
func unread(s *sockdiag.Socket) uint64 {
	fin := s.BytesReceived - s.In()
	return min(uint64(s.ReadQueue)-min(uint64(s.ReadQueue), fin), s.In())
}

// request says whether a request is open. The clock of the kernel's times may be too
// coarse to tell whether a request or an answer came last. Then an answer is known by
// what must follow: the client acknowledges it, and in a segment without payload, as
// it has nothing to say.
func (p *period) request(was request) request {
	a, b := p.before, p.now
	got, sent := b.BytesReceived != a.BytesReceived, b.BytesSent != a.BytesSent
	acknowledged := b.SegsIn-b.DataSegsIn != a.SegsIn-a.DataSegsIn
	switch {
	case !got && !sent:
		if was == maybeRequest && acknowledged {
			return noRequest
		}
		return was
	case b.LastDataRecv != b.LastDataSent:
		if b.LastDataRecv < b.LastDataSent {
			return openRequest
		}
		return noRequest
	case !sent:
		return openRequest
	case got && !acknowledged:
		return maybeRequest
	default:
		return noRequest
	}
}

// atFirst says whether a connection that is seen for the first time has an open
// request, as far as that can be told.
func atFirst(s *sockdiag.Socket) request {
	if s.BytesReceived > 0 && (s.BytesSent == 0 || s.LastDataRecv < s.LastDataSent) {
		return openRequest
	}
	return noRequest
}

// since gives how much a counter has grown; the kernel's of time wrap around after weeks.
func since(before, now uint64) uint64 { return now - min(now, before) }

// large tells whether a time, in µs, is most of the period.
func (p *period) large(micros uint64) bool {
	return float64(micros) >= share*float64(p.elapsed.Microseconds())
}
