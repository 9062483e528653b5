// Package session brings together what the backends say of their sessions and
// what the kernel says of their sockets: it knows who is connected now, and makes the
// accounts of everybody's traffic exact at every moment. It is pure: what the
// worker says and what was dumped come in from outside.
package session

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// Session is a session that lives.
type Session struct {
	link.Live
	share   *account.Share
	carried engine.Counted // what the register's Flows have of it

	// seen is what the connection has counted since it began, as last heard of;
	// its segments go on beyond 32 bits, and so does Base.
	seen     link.Traffic
	known    bool         // seen has been heard of
	before   account.Flow // of seen, at the last refresh
	counted  bool         // known then
	speed    account.Speed
	measured bool // speed is known

	socket     *sockdiag.Socket // at the last refresh; nil if the dump lacked it
	refreshes  uint64           // the register's, when the session was part of one last
	place      int              // in the register's order
	health     Health
	bottleneck string
}

// Seen is what the connection has counted since it began; false if nobody
// knows. A Unix-domain socket has bytes out alone.
func (s *Session) Seen() (link.Traffic, bool) { return s.seen, s.known }

// Speed is that of the payload over the last refresh; false if it was not there before.
func (s *Session) Speed() (account.Speed, bool) { return s.speed, s.measured }

// Socket is the state of the TCP connection in the last dump, nil if that lacked it.
func (s *Session) Socket() *sockdiag.Socket { return s.socket }

// Bottleneck says who makes the others wait; empty if that is not known.
func (s *Session) Bottleneck() string { return s.bottleneck }

// Network names the network of the session's client.
func (s *Session) Network() string { return s.share.Network() }

// Folded is as account.Share's.
func (s *Session) Folded() uint8 { return s.share.Folded() }

// heard takes the connection's counters from what the worker says of a live session.
func (s *Session) heard(l link.Live) {
	if l.Unix {
		l.Base = link.Traffic{BytesOut: l.ProtocolBase}
		s.seen, s.known = link.Traffic{BytesOut: max(s.seen.BytesOut, l.ProtocolOut)}, true
	} else if sameBase(s.Base, l.Base) {
		l.Base = s.Base
	} else {
		l.Base.SegmentsIn = widen(s.seen.SegmentsIn, l.Base.SegmentsIn)
		l.Base.SegmentsOut = widen(s.seen.SegmentsOut, l.Base.SegmentsOut)
		l.Base.RetransmittedSegments = widen(s.seen.RetransmittedSegments, l.Base.RetransmittedSegments)
		s.seen = larger(s.seen, l.Base)
	}
	s.Live = l
}

// sameBase tells whether a session's base is the one that the worker says, which
// has segments in 32 bits.
func sameBase(wide, said link.Traffic) bool {
	return wide.BytesIn == said.BytesIn && wide.BytesOut == said.BytesOut &&
		uint32(wide.SegmentsIn) == uint32(said.SegmentsIn) && uint32(wide.SegmentsOut) == uint32(said.SegmentsOut) &&
		uint32(wide.RetransmittedSegments) == uint32(said.RetransmittedSegments) &&
		wide.RetransmittedBytes == said.RetransmittedBytes
}

// dumped takes the connection's counters from a dump.
func (s *Session) dumped(k *sockdiag.Socket) {
	if !k.Complete() {
		return
	}
	s.seen = larger(s.seen, link.Traffic{
		BytesIn: k.In(), BytesOut: k.Out(), RetransmittedBytes: k.BytesRetrans,
		SegmentsIn:            widen(s.seen.SegmentsIn, uint64(k.SegsIn)),
		SegmentsOut:           widen(s.seen.SegmentsOut, uint64(k.SegsOut)),
		RetransmittedSegments: widen(s.seen.RetransmittedSegments, uint64(k.TotalRetrans)),
	})
	s.known = true
}

// widen gives the number nearest to near that has the lower 32 bits of n: the
// kernel counts segments in 32 bits, which wrap around.
func widen(near, n uint64) uint64 {
	wide := near + uint64(int64(int32(uint32(n)-uint32(near))))
	if int64(wide) < 0 {
		return uint64(uint32(n))
	}
	return wide
}

// larger takes each counter from where it is larger: none goes back.
func larger(a, b link.Traffic) link.Traffic {
	return link.Traffic{
		BytesIn: max(a.BytesIn, b.BytesIn), BytesOut: max(a.BytesOut, b.BytesOut),
		SegmentsIn: max(a.SegmentsIn, b.SegmentsIn), SegmentsOut: max(a.SegmentsOut, b.SegmentsOut),
		RetransmittedBytes:    max(a.RetransmittedBytes, b.RetransmittedBytes),
		RetransmittedSegments: max(a.RetransmittedSegments, b.RetransmittedSegments),
	}
}

// beyond gives what of now is beyond base: nothing where now is older.
func beyond(now, base link.Traffic) link.Traffic {
	over := func(now, base uint64) uint64 { return now - min(now, base) }
	return link.Traffic{
		BytesIn: over(now.BytesIn, base.BytesIn), BytesOut: over(now.BytesOut, base.BytesOut),
		SegmentsIn: over(now.SegmentsIn, base.SegmentsIn), SegmentsOut: over(now.SegmentsOut, base.SegmentsOut),
		RetransmittedBytes:    over(now.RetransmittedBytes, base.RetransmittedBytes),
		RetransmittedSegments: over(now.RetransmittedSegments, base.RetransmittedSegments),
	}
}

// enter makes the accounts agree with what is known of the session, and tells
// whether they did not.
func (s *Session) enter() bool { return s.share.Set(beyond(s.seen, s.Base)) }

// refreshed takes the session's socket as it is at a refresh, covered after the one
// before, and tells whether more is known of the session than the accounts have.
func (s *Session) refreshed(k *sockdiag.Socket, covered time.Duration) bool {
	s.bottleneck = ""
	if k != nil {
		s.dumped(k)
		s.bottleneck = s.health.Refresh(s.socket, k, covered, s.Kind == link.WALSender)
	}
	s.socket = k
	now := account.Flow{In: int64(s.seen.BytesIn), Out: int64(s.seen.BytesOut)}
	seconds := covered.Seconds()
	s.measured = s.counted && seconds > 0
	if s.measured {
		s.speed = account.Speed{In: float64(now.In-s.before.In) / seconds, Out: float64(now.Out-s.before.Out) / seconds}
	}
	s.before, s.counted = now, s.known
	return s.enter()
}
