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
	// unanswered is how long a request must have waited.
	unanswered = 100 // ms
)

// Refresh is what one refresh knows of a session's connection.
type Refresh struct {
	Before, Now *sockdiag.Socket // of this refresh and the one before; the same connection
	Elapsed     time.Duration    // between them
	// LowestRTT is the lowest MinRTT that the session ever had, in µs, 0 for unknown:
	// the kernel forgets after five minutes, and a client that thinks before it asks
	// again acknowledges late.
	LowestRTT uint32
	// Walsender tells that what the client says needs no answer.
	Walsender bool
}

// Bottleneck says in a word what held the session up since the refresh before. The
// causes are looked for in this order: a client that does not read makes the rest
// wait, and so does the network the server.
func (r *Refresh) Bottleneck() string {
	switch {
	case r.Before == nil || r.Elapsed <= 0:
		return BottleneckNone
	case r.client():
		return BottleneckClient
	case r.network():
		return BottleneckNetwork
	case r.server():
		return BottleneckServer
	default:
		return BottleneckNone
	}
}

// client: the window that the client's system offers was full for most of the time
// that there was something to send, or is shut while something waits.
func (r *Refresh) client() bool {
	busy, limited := since(r.Before.BusyTime, r.Now.BusyTime), since(r.Before.RwndLimited, r.Now.RwndLimited)
	if r.large(limited) && float64(limited) >= share*float64(busy) {
		return true
	}
	return shut(r.Before) && shut(r.Now)
}

// shut tells that something waits for a client without any room for it.
func shut(s *sockdiag.Socket) bool {
	return s.WindowKnown() && s.SendWindow == 0 && s.NotsentBytes > 0
}

// network: packets are lost, or nothing comes back; or something waits to be sent that the client has room
// for; or most of the time went by in round trips, one for each answer to a request.
func (r *Refresh) network() bool {
	a, b := r.Before, r.Now
	sent, resent := b.DataSegsOut-a.DataSegsOut, b.TotalRetrans-a.TotalRetrans
	got, disordered := b.DataSegsIn-a.DataSegsIn, b.OutOfOrder-a.OutOfOrder
	if lost(resent, sent) || lost(disordered, got) || b.Retransmits > 0 {
		return true
	}
	busy := since(a.BusyTime, b.BusyTime)
	limited := since(a.RwndLimited, b.RwndLimited) + since(a.SndbufLimited, b.SndbufLimited)
	if b.NotsentBytes > 0 && busy > limited && r.large(busy-limited) {
		return true
	}
	return r.large(uint64(min(sent, got)) * uint64(r.LowestRTT))
}

// lost tells whether n of all segments are too many.
func lost(n, all uint32) bool { return n > 0 && float64(n) >= lossShare*float64(all) }

// server: it leaves unread what has come, or a request without an answer, or sends
// no faster for want of a larger buffer.
func (r *Refresh) server() bool {
	a, b := r.Before, r.Now
	if unread(a) && unread(b) || r.large(since(a.SndbufLimited, b.SndbufLimited)) {
		return true
	}
	return !r.Walsender && b.BytesReceived > 0 && b.WriteQueue == 0 && b.BytesSent == a.BytesSent &&
		b.LastDataRecv >= unanswered && b.LastDataRecv < b.LastDataSent
}

// unread tells whether the server has left something unread; a FIN is nothing.
func unread(s *sockdiag.Socket) bool {
	return uint64(s.ReadQueue) > s.BytesReceived-s.In()
}

// since gives how much a counter of time has grown; the kernel's wrap around after weeks.
func since(before, now uint64) uint64 { return now - min(now, before) }

// large tells whether a time, in µs, is most of the refresh.
func (r *Refresh) large(µs uint64) bool {
	return float64(µs) >= share*float64(r.Elapsed.Microseconds())
}
