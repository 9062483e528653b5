package link

import "net/netip"

// Event is something that the backends counted and that no snapshot contains
// yet. The worker sends it again to the next agent until a publication says
// that it contains events up to its number.
type Event struct {
	Seq uint64
	Change
}

// Change is what an event says: an AccountChange, a StatementChange, a Ghost
// or a Folded.
type Change interface {
	kind() byte
	fields(frame) frame
}

// Kinds of events.
const (
	eventAccount   = 1
	eventStatement = 2
	eventGhost     = 3
	eventFolded    = 4
)

// Address is one end of a connection; the zero value is an unknown one.
type Address struct {
	Unix bool // it is a Unix-domain socket
	IP   netip.Addr
}

// Account is whom bytes belong to.
type Account struct {
	None  bool // no session: only the remote address may be known
	Other bool // nobody knows any more, as the backend had no room for it
	// Nameless: the application is not known, as the backend had no room for the name.
	Nameless bool

	DatabaseID, RoleID          uint32 // the role is the session's, whatever SET ROLE says
	Database, Role, Application string // raw, as the client sent them
	Remote, Local               Address
}

// Traffic is a connection's TCP payload and segments. Retransmitted bytes are
// not among the bytes out, retransmitted segments are among the segments out. A
// Unix-domain socket has bytes out alone, of the protocol.
type Traffic struct {
	BytesIn, BytesOut       uint64
	SegmentsIn, SegmentsOut uint64
	RetransmittedBytes      uint64
	RetransmittedSegments   uint64
}

// AccountChange adds to an account what sessions did that have ended or
// changed their name, and which began and ended.
type AccountChange struct {
	Account
	Opened, Closed, Failed uint64
	Traffic
}

// StatementClass says whether bytes belong to a statement.
type StatementClass byte

// Classes of statements' bytes.
const (
	ClassStatement StatementClass = iota
	ClassProtocol                 // of no statement: authentication, ready for query
	ClassNone                     // of no statement that is known
	ClassOther                    // nobody knows any more, as the backend had no room for it
)

// StatementKey is whom a statement's bytes belong to; all but the class is
// zero for ClassOther.
type StatementKey struct {
	Class      StatementClass
	UserID     uint32
	DatabaseID uint32
	QueryID    uint64
}

// StatementChange adds to a statement.
type StatementChange struct {
	StatementKey
	Calls, BytesOut, Messages, Rows, BytesIn uint64
	// MaxBytes is what the largest call sent of those that ended since the
	// last change of this statement; 0 if none did.
	MaxBytes uint64
}

// Ghost is a session that lived when the server last saved, before it
// crashed: what the saved activity says of it beyond Base was never added to
// its account.
type Ghost struct {
	Serial uint64
	Base   Traffic
	Account
}

// Folded counts calls and sessions of which only the sum is known.
type Folded struct{ Count uint64 }

func (b *body) address(what string) Address {
	family := b.u8(what)
	p := b.take(16, what)
	if b.err != nil {
		return Address{}
	}
	switch family {
	case 0:
		return Address{}
	case 1:
		return Address{Unix: true}
	case 4:
		return Address{IP: netip.AddrFrom4([4]byte(p[:4]))}
	case 6:
		return Address{IP: netip.AddrFrom16([16]byte(p)).Unmap()}
	}
	b.err = malformed("%s is of family %d", what, family)
	return Address{}
}

func (f frame) address(a Address) frame {
	var family byte
	var p [16]byte
	switch {
	case a.Unix:
		family = 1
	case a.IP.Is4():
		family = 4
		copy(p[:], a.IP.AsSlice())
	case a.IP.IsValid():
		family, p = 6, a.IP.As16()
	}
	return append(f.u8(family), p[:]...)
}

const (
	flagNone     = 1
	flagOther    = 2
	flagNameless = 4
)

func (b *body) account() Account {
	flags := b.u8("flags of an account")
	return Account{
		None: flags&flagNone != 0, Other: flags&flagOther != 0, Nameless: flags&flagNameless != 0,
		DatabaseID: b.u32("database"), RoleID: b.u32("role"),
		Database: b.str("name of a database"), Role: b.str("name of a role"), Application: b.str("application name"),
		Remote: b.address("remote address"), Local: b.address("local address"),
	}
}

func (f frame) account(a Account) frame {
	var flags byte
	if a.None {
		flags |= flagNone
	}
	if a.Other {
		flags |= flagOther
	}
	if a.Nameless {
		flags |= flagNameless
	}
	f = f.u8(flags).u32(a.DatabaseID).u32(a.RoleID).str(a.Database).str(a.Role).str(a.Application)
	return f.address(a.Remote).address(a.Local)
}

func (b *body) traffic() (t Traffic) {
	b.u64s("traffic", &t.BytesIn, &t.BytesOut, &t.SegmentsIn, &t.SegmentsOut,
		&t.RetransmittedBytes, &t.RetransmittedSegments)
	return t
}

func (f frame) traffic(t Traffic) frame {
	return f.u64s(t.BytesIn, t.BytesOut, t.SegmentsIn, t.SegmentsOut,
		t.RetransmittedBytes, t.RetransmittedSegments)
}

func (AccountChange) kind() byte { return eventAccount }

func (c AccountChange) fields(f frame) frame {
	return f.account(c.Account).u64s(c.Opened, c.Closed, c.Failed).traffic(c.Traffic)
}

func (b *body) accountChange() AccountChange {
	c := AccountChange{Account: b.account()}
	b.u64s("sessions", &c.Opened, &c.Closed, &c.Failed)
	c.Traffic = b.traffic()
	return c
}

func (StatementChange) kind() byte { return eventStatement }

func (c StatementChange) fields(f frame) frame {
	return f.u8(byte(c.Class)).u32(c.UserID).u32(c.DatabaseID).
		u64s(c.QueryID, c.Calls, c.BytesOut, c.Messages, c.Rows, c.BytesIn, c.MaxBytes)
}

func (b *body) statementChange() StatementChange {
	c := StatementChange{StatementKey: StatementKey{
		Class: StatementClass(b.u8("class of a statement")), UserID: b.u32("user"), DatabaseID: b.u32("database"),
	}}
	b.u64s("statement", &c.QueryID, &c.Calls, &c.BytesOut, &c.Messages, &c.Rows, &c.BytesIn, &c.MaxBytes)
	if b.err == nil && c.Class > ClassOther {
		b.err = malformed("class %d of a statement", c.Class)
	}
	return c
}

func (Ghost) kind() byte { return eventGhost }

func (g Ghost) fields(f frame) frame { return f.u64(g.Serial).traffic(g.Base).account(g.Account) }

func (Folded) kind() byte { return eventFolded }

func (d Folded) fields(f frame) frame { return f.u64(d.Count) }

// DecodeEvent reads the body of a TypeEvent frame.
func DecodeEvent(p []byte) (Event, error) {
	b := body{b: p}
	e := Event{Seq: b.u64("event number")}
	switch kind := b.u8("kind of an event"); kind {
	case eventAccount:
		e.Change = b.accountChange()
	case eventStatement:
		e.Change = b.statementChange()
	case eventGhost:
		e.Change = Ghost{Serial: b.u64("session"), Base: b.traffic(), Account: b.account()}
	case eventFolded:
		e.Change = Folded{Count: b.u64("number of the folded")}
	default:
		if b.err == nil {
			b.err = malformed("event of kind %d", kind)
		}
	}
	if err := b.end(); err != nil {
		return Event{}, err
	}
	return e, nil
}

// Encode makes a TypeEvent frame of it.
func (e Event) Encode() []byte {
	return e.fields(newFrame(TypeEvent, 400).u64(e.Seq).u8(e.kind())).bytes()
}
