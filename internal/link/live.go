package link

import (
	"fmt"
	"time"
)

// SessionKind is what kind of backend serves a session.
type SessionKind byte

// Kinds of sessions.
const (
	ClientBackend SessionKind = iota
	WALSender
)

// Live is a session that is open, as it is now.
type Live struct {
	Serial    uint64 // never 0
	PID       uint32
	Kind      SessionKind
	TLS, Unix bool
	Account
	RemotePort  uint32
	Cookie      uint64 // of the socket; 0 for a Unix socket
	ConnectedAt time.Time
	// Base is what the connection had counted when it came to this account:
	// that much belongs to others.
	Base                      Traffic
	ProtocolOut, ProtocolBase uint64 // the same for bytes of the protocol
}

// Taken ends a batch of events and of changes of live sessions, which belong
// together.
type Taken struct {
	Request uint32 // that was answered; 0 if the worker did so of itself
	Seq     uint64 // of the last event
}

const (
	flagTLS  = 1
	flagUnix = 2
)

// DecodeLive reads the body of a TypeLive frame.
func DecodeLive(p []byte) (Live, error) {
	b := body{b: p}
	l := Live{Serial: b.u64("session"), PID: b.u32("process"), Kind: SessionKind(b.u8("kind of a session"))}
	flags := b.u8("flags of a session")
	l.TLS, l.Unix = flags&flagTLS != 0, flags&flagUnix != 0
	l.Account = b.account()
	l.RemotePort = b.u32("remote port")
	l.Cookie = b.u64("cookie")
	l.ConnectedAt = fromMicros(int64(b.u64("time of the connection")))
	l.Base = b.traffic()
	b.u64s("bytes of the protocol", &l.ProtocolOut, &l.ProtocolBase)
	if b.err == nil && (l.Kind > WALSender || l.Serial == 0 || l.RemotePort > 65535) {
		b.err = malformed("session %d of kind %d at port %d", l.Serial, l.Kind, l.RemotePort)
	}
	return l, b.end()
}

// Encode makes a TypeLive frame of it.
func (l Live) Encode() []byte {
	var flags byte
	if l.TLS {
		flags |= flagTLS
	}
	if l.Unix {
		flags |= flagUnix
	}
	f := newFrame(TypeLive, 500).u64(l.Serial).u32(l.PID).u8(byte(l.Kind)).u8(flags).account(l.Account)
	f = f.u32(l.RemotePort).u64s(l.Cookie, uint64(toMicros(l.ConnectedAt))).traffic(l.Base)
	return f.u64s(l.ProtocolOut, l.ProtocolBase).bytes()
}

// DecodeEnded reads the body of a TypeEnded frame: the session's serial.
func DecodeEnded(p []byte) (uint64, error) {
	b := body{b: p}
	serial := b.u64("session")
	return serial, b.end()
}

// Ended makes the frame that says that a session is no more.
func Ended(serial uint64) []byte { return newFrame(TypeEnded, 8).u64(serial).bytes() }

// DecodeTaken reads the body of a TypeTaken frame.
func DecodeTaken(p []byte) (Taken, error) {
	b := body{b: p}
	t := Taken{Request: b.u32("request"), Seq: b.u64("event number")}
	return t, b.end()
}

// Encode makes a TypeTaken frame of it.
func (t Taken) Encode() []byte { return newFrame(TypeTaken, 12).u32(t.Request).u64(t.Seq).bytes() }

// Take makes the frame that asks the worker to read what the backends count
// now, and to end that batch with the request's number.
func Take(request uint32) []byte { return newFrame(TypeTake, 4).u32(request).bytes() }

// String names the kind as pg_stat_activity does.
func (k SessionKind) String() string {
	switch k {
	case ClientBackend:
		return "client backend"
	case WALSender:
		return "walsender"
	}
	return fmt.Sprintf("kind %d", byte(k))
}
