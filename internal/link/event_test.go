package link

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

var (
	sampleAccount = Account{
		DatabaseID: 5, RoleID: 10, Database: "shop", Role: "alice", Application: "no UTF-8: \xff",
		Remote: Address{IP: netip.MustParseAddr("192.0.2.7")}, Local: Address{IP: netip.MustParseAddr("2001:db8::1")},
	}
	sampleTraffic = Traffic{1, 2, 3, 4, 5, 6}
	sampleEvents  = []Event{
		{1, AccountChange{sampleAccount, 7, 8, 9, sampleTraffic}},
		{2, AccountChange{Account: Account{None: true, Remote: Address{IP: netip.MustParseAddr("::1")}}, Failed: 1}},
		{3, AccountChange{Account: Account{Other: true, Remote: Address{Unix: true}}}},
		{4, StatementChange{StatementKey{ClassStatement, 10, 5, 1<<63 + 1}, 1, 2, 3, 4, 5, 6}},
		{5, StatementChange{StatementKey: StatementKey{Class: ClassOther}, Calls: 1}},
		{6, Ghost{99, sampleTraffic, sampleAccount}},
		{7, Folded{3}},
		{8, AccountChange{Account: Account{Nameless: true, RoleID: 10, Role: "alice"}}},
	}
	sampleLive = Live{
		Serial: 77, PID: 4242, Kind: WALSender, TLS: true, Account: sampleAccount, RemotePort: 65535, Cookie: 1 << 40,
		ConnectedAt: time.Date(2026, 3, 1, 12, 0, 0, 123000, time.UTC), Base: sampleTraffic, ProtocolOut: 8, ProtocolBase: 9,
	}
)

// contents gives the type and body of a whole frame.
func contents(t testing.TB, f []byte) (byte, []byte) {
	t.Helper()
	kind, body, err := NewReader(bytes.NewReader(f)).Next()
	if err != nil {
		t.Fatal(err)
	}
	return kind, body
}

func TestEventsComeBack(t *testing.T) {
	for _, want := range sampleEvents {
		kind, body := contents(t, want.Encode())
		got, err := DecodeEvent(body)
		if err != nil || kind != TypeEvent || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
}

func TestSessionsComeBack(t *testing.T) {
	unix := Live{Serial: 1, Unix: true, Account: Account{Remote: Address{Unix: true}}, ProtocolOut: 5}
	for _, want := range []Live{sampleLive, unix} {
		kind, body := contents(t, want.Encode())
		got, err := DecodeLive(body)
		if err != nil || kind != TypeLive || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
	kind, body := contents(t, Ended(77))
	if serial, err := DecodeEnded(body); err != nil || kind != TypeEnded || serial != 77 {
		t.Errorf("ended: %q, %d, %v", kind, serial, err)
	}
	kind, body = contents(t, Taken{5, 1 << 40}.Encode())
	if got, err := DecodeTaken(body); err != nil || kind != TypeTaken || got != (Taken{5, 1 << 40}) {
		t.Errorf("taken: %q, %v, %v", kind, got, err)
	}
	if kind, body = contents(t, Take(258)); kind != TypeTake || string(body) != "\x00\x00\x01\x02" {
		t.Errorf("take: %q %q", kind, body)
	}
}

// The bytes are what the module writes, not only what Encode does.
func TestEventOnTheWire(t *testing.T) {
	zeros := func(n int) string { return string(make([]byte, n)) }
	number := func(n byte) string { return zeros(7) + string(n) }
	wire := number(9) + "\x01" + "\x00" + zeros(3) + "\x05" + zeros(3) + "\x0a" +
		zeros(3) + "\x01d" + zeros(3) + "\x01r" + zeros(4) +
		"\x04\xc0\x00\x02\x07" + zeros(12) + "\x01" + zeros(16) +
		number(1) + number(2) + number(3) + number(4) + number(5) + number(6) + number(7) + number(8) + number(11)
	want := Event{9, AccountChange{
		Account: Account{
			DatabaseID: 5, RoleID: 10, Database: "d", Role: "r",
			Remote: Address{IP: netip.MustParseAddr("192.0.2.7")}, Local: Address{Unix: true},
		},
		Opened: 1, Closed: 2, Failed: 3, Traffic: Traffic{4, 5, 6, 7, 8, 11},
	}}
	if got, err := DecodeEvent([]byte(wire)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}

func TestEventsCutAnywhereAreErrors(t *testing.T) {
	decode := func(kind byte, body []byte) (err error) {
		if kind == TypeLive {
			_, err = DecodeLive(body)
		} else {
			_, err = DecodeEvent(body)
		}
		return err
	}
	frames := [][]byte{sampleLive.Encode()}
	for _, e := range sampleEvents {
		frames = append(frames, e.Encode())
	}
	for _, f := range frames {
		kind, body := contents(t, f)
		for n := range body {
			if decode(kind, body[:n]) == nil {
				t.Fatalf("the first %d of %d bytes are accepted", n, len(body))
			}
		}
		if decode(kind, append(body, 0)) == nil {
			t.Error("a byte too many is accepted")
		}
	}
}

func TestEventsOfNoKindAreErrors(t *testing.T) {
	_, event := contents(t, Event{1, Folded{1}}.Encode())
	event[8] = 5
	if _, err := DecodeEvent(event); err == nil {
		t.Error("an event of kind 5 is accepted")
	}
	_, statement := contents(t, sampleEvents[3].Encode())
	statement[9] = 4
	if _, err := DecodeEvent(statement); err == nil {
		t.Error("a statement of class 4 is accepted")
	}
	for name, broken := range map[string]Live{
		"kind 2":     {Serial: 1, Kind: 2},
		"serial 0":   {},
		"port 65536": {Serial: 1, RemotePort: 65536},
	} {
		_, body := contents(t, broken.Encode())
		if _, err := DecodeLive(body); err == nil {
			t.Errorf("a session of %s is accepted", name)
		}
	}
}

// What can be read is written as it was read, and nothing else.
func FuzzEvent(f *testing.F) {
	for _, e := range sampleEvents {
		f.Add(e.Encode()[5:])
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := DecodeEvent(p)
		if err != nil {
			return
		}
		again, err := DecodeEvent(e.Encode()[5:])
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%+v becomes %+v, %v", e, again, err)
		}
	})
}

func FuzzLive(f *testing.F) {
	f.Add(sampleLive.Encode()[5:])
	f.Fuzz(func(t *testing.T, p []byte) {
		l, err := DecodeLive(p)
		if err != nil {
			return
		}
		again, err := DecodeLive(l.Encode()[5:])
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%+v becomes %+v, %v", l, again, err)
		}
	})
}
