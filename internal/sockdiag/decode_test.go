package sockdiag

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	local4, remote4 = netip.MustParseAddrPort("10.0.0.1:5432"), netip.MustParseAddrPort("10.0.0.2:40001")
	local6, remote6 = netip.MustParseAddrPort("[fd00::1]:5432"), netip.MustParseAddrPort("[fd00::2]:40002")
	mapped          = netip.MustParseAddrPort("[::ffff:10.0.0.2]:40001")
)

func TestDecode(t *testing.T) {
	b := slices.Concat(
		message(sockDiagByFamily, unix.NLM_F_MULTI, body(CloseWait, 0x1122334455667788, local4, remote4,
			attr(8, []byte{3}), attr(attrInfo, info()), attr(21, make([]byte, 8)))),
		message(sockDiagByFamily, unix.NLM_F_MULTI, body(Established, 2, local6, remote6, attr(attrInfo, info()))),
	)
	sockets, a, err := decode(b, testSeq, nil)
	if err != nil || a.done || a.interrupted || len(sockets) != 2 {
		t.Fatalf("%d sockets, %+v, %v", len(sockets), a, err)
	}
	// Each figure is the offset of its field in struct tcp_info: see info.
	long := func(at uint64) uint64 {
		var b [8]byte
		binary.NativeEndian.PutUint32(b[:], uint32(at))
		binary.NativeEndian.PutUint32(b[4:], uint32(at+4))
		return binary.NativeEndian.Uint64(b[:])
	}
	want := Socket{
		Cookie: 0x1122334455667788, Local: local4, Remote: remote4, State: CloseWait, Options: info()[5], known: 232,
		Retransmits: info()[2],
		ReadQueue:   11, WriteQueue: 1022, BytesReceived: long(128), BytesSent: long(200), BytesRetrans: long(208),
		SegsIn: 140, SegsOut: 136, DataSegsIn: 152, DataSegsOut: 156, OutOfOrder: 224, TotalRetrans: 100, Unacked: 24, NotsentBytes: 144, SendWindow: 228,
		DeliveryRate: long(160), RTT: 68, MinRTT: 148, BusyTime: long(168), RwndLimited: long(176),
		SndbufLimited: long(184), LastDataSent: 44, LastDataRecv: 52,
	}
	if sockets[0] != want {
		t.Errorf("got  %+v\nwant %+v", sockets[0], want)
	}
	if s := sockets[1]; s.Local != local6 || s.Remote != remote6 || s.Cookie != 2 || s.State != Established {
		t.Errorf("IPv6: %+v", s)
	}
}

func TestDecodeUnmaps(t *testing.T) {
	b := message(sockDiagByFamily, 0, body(Established, 1, local6, mapped, attr(attrInfo, info())))
	sockets, _, err := decode(b, testSeq, nil)
	if err != nil || len(sockets) != 1 || sockets[0].Remote != remote4 {
		t.Errorf("%+v, %v", sockets, err)
	}
}

// TestShortInfo has what older kernels tell: 4.1, 4.10, 4.19 and 5.4 each added fields.
func TestShortInfo(t *testing.T) {
	whole, _, _ := decode(message(sockDiagByFamily, 0, body(Established, 1, local4, remote4, attr(attrInfo, info()))), testSeq, nil)
	for _, c := range []struct {
		size                    int
		complete, window        bool
		received, sent, retrans uint64
		segsIn                  uint32
	}{
		{104, false, false, 0, 0, 0, 0},
		{136, false, false, whole[0].BytesReceived, 0, 0, 0},
		{192, false, false, whole[0].BytesReceived, 0, 0, 140},
		{216, true, false, whole[0].BytesReceived, whole[0].BytesSent, whole[0].BytesRetrans, 140},
		{232, true, true, whole[0].BytesReceived, whole[0].BytesSent, whole[0].BytesRetrans, 140},
	} {
		b := message(sockDiagByFamily, 0, body(Established, 1, local4, remote4, attr(attrInfo, info()[:c.size])))
		sockets, _, err := decode(b, testSeq, nil)
		if err != nil || len(sockets) != 1 {
			t.Fatalf("%d bytes: %d sockets, %v", c.size, len(sockets), err)
		}
		s := sockets[0]
		if s.Complete() != c.complete || s.WindowKnown() != c.window || s.BytesReceived != c.received ||
			s.BytesSent != c.sent || s.BytesRetrans != c.retrans || s.SegsIn != c.segsIn || s.RTT != 68 {
			t.Errorf("%d bytes: %+v", c.size, s)
		}
	}
}

func TestNoMinimumYet(t *testing.T) {
	i := info()
	binary.NativeEndian.PutUint32(i[offMinRTT:], ^uint32(0))
	sockets, _, err := decode(message(sockDiagByFamily, 0, body(Established, 1, local4, remote4, attr(attrInfo, i))), testSeq, nil)
	if err != nil || sockets[0].MinRTT != 0 {
		t.Errorf("%+v, %v", sockets, err)
	}
}

// TestRest has a socket of which the kernel keeps no counters: it is left out.
func TestRest(t *testing.T) {
	sockets, _, err := decode(message(sockDiagByFamily, 0, body(FinWait2, 1, local4, remote4)), testSeq, nil)
	if err != nil || len(sockets) != 0 {
		t.Errorf("%+v, %v", sockets, err)
	}
}

func TestDecodeEnds(t *testing.T) {
	socket := message(sockDiagByFamily, unix.NLM_F_MULTI, body(Established, 1, local4, remote4, attr(attrInfo, info())))
	number := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
	other := slices.Clone(socket)
	binary.NativeEndian.PutUint32(other[8:], testSeq+1)
	for name, c := range map[string]struct {
		b       []byte
		sockets int
		answer  answer
		err     error
	}{
		"not yet":            {socket, 1, answer{}, nil},
		"done":               {slices.Concat(socket, message(unix.NLMSG_DONE, 0, number(0))), 1, answer{done: true}, nil},
		"done with error":    {message(unix.NLMSG_DONE, 0, number(-int32(unix.ENOENT))), 0, answer{done: true}, unix.ENOENT},
		"refused":            {message(unix.NLMSG_ERROR, 0, number(-int32(unix.EPERM))), 0, answer{done: true}, unix.EPERM},
		"no status":          {message(unix.NLMSG_DONE, 0, nil), 0, answer{done: true}, ErrMalformed},
		"interrupted":        {message(sockDiagByFamily, unix.NLM_F_DUMP_INTR, body(Established, 1, local4, remote4)), 0, answer{interrupted: true}, nil},
		"interrupted at end": {message(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, number(0)), 0, answer{done: true, interrupted: true}, nil},
		"overrun":            {message(unix.NLMSG_OVERRUN, 0, nil), 0, answer{}, unix.ENOBUFS},
		"nothing":            {message(unix.NLMSG_NOOP, 0, nil), 0, answer{}, nil},
		"another's":          {slices.Concat(other, socket), 1, answer{}, nil},
	} {
		sockets, a, err := decode(c.b, testSeq, nil)
		if len(sockets) != c.sockets || a != c.answer || !errors.Is(err, c.err) {
			t.Errorf("%s: %d sockets, %+v, %v", name, len(sockets), a, err)
		}
	}
}

// TestTruncated cuts a dump anywhere: what is left is a prefix of its sockets, with an
// error unless it was cut between two messages.
func TestTruncated(t *testing.T) {
	one := message(sockDiagByFamily, unix.NLM_F_MULTI, body(Established, 1, local4, remote4, attr(attrInfo, info())))
	both := slices.Concat(one, one)
	for n := range both {
		sockets, _, err := decode(both[:n], testSeq, nil)
		if between := n%len(one) == 0; between != (err == nil) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if len(sockets) != n/len(one) {
			t.Fatalf("%d bytes: %d sockets", n, len(sockets))
		}
	}
}

func TestMalformed(t *testing.T) {
	good := body(Established, 1, local4, remote4, attr(attrInfo, info()))
	change := func(at int, value byte) []byte {
		b := slices.Clone(good)
		b[at] = value
		return b
	}
	for name, b := range map[string][]byte{
		"family":          change(offFamily, unix.AF_UNIX),
		"attribute large": change(sizeMessage+1, 0xff),
		"attribute small": change(sizeMessage, 3)[:sizeMessage+4],
		"half attribute":  slices.Concat(good, []byte{4, 0}),
		"short":           good[:sizeMessage-1],
	} {
		if name == "attribute small" {
			b[sizeMessage+1] = 0
		}
		sockets, _, err := decode(message(sockDiagByFamily, 0, b), testSeq, nil)
		if !errors.Is(err, ErrMalformed) || len(sockets) != 0 {
			t.Errorf("%s: %d sockets, %v", name, len(sockets), err)
		}
	}
}

func TestPayload(t *testing.T) {
	for _, c := range []struct {
		s       Socket
		in, out uint64
		unacked uint32
	}{
		{Socket{State: Established, BytesReceived: 10, BytesSent: 30, BytesRetrans: 5, WriteQueue: 9, NotsentBytes: 4}, 10, 25, 5},
		{Socket{State: CloseWait, BytesReceived: 10}, 9, 0, 0},
		{Socket{State: LastAck, BytesReceived: 10}, 9, 0, 0},
		{Socket{State: Closing, BytesReceived: 10}, 9, 0, 0},
		{Socket{State: FinWait1, BytesReceived: 10}, 10, 0, 0},
		{Socket{State: FinWait2, BytesReceived: 10}, 10, 0, 0},
		{Socket{State: CloseWait}, 0, 0, 0},
		{Socket{BytesSent: 1, BytesRetrans: 2, WriteQueue: 1, NotsentBytes: 2}, 0, 0, 0},
	} {
		if c.s.In() != c.in || c.s.Out() != c.out || c.s.UnacknowledgedBytes() != c.unacked {
			t.Errorf("%+v: in %d, out %d, unacknowledged %d", c.s, c.s.In(), c.s.Out(), c.s.UnacknowledgedBytes())
		}
	}
}

// FuzzDecode: whatever comes, nothing is read beyond it, and what is taken for a
// socket has a family, and figures that are in it.
func FuzzDecode(f *testing.F) {
	one := message(sockDiagByFamily, unix.NLM_F_MULTI, body(Established, 1, local4, remote4, attr(8, []byte{1}), attr(attrInfo, info())))
	f.Add(one)
	f.Add(slices.Concat(one, message(unix.NLMSG_DONE, 0, make([]byte, 4))))
	f.Add(message(sockDiagByFamily, 0, body(CloseWait, 2, local6, remote6, attr(attrInfo, info()[:104]))))
	f.Add(message(unix.NLMSG_ERROR, 0, []byte{255, 255, 255, 255}))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := []Socket{{Cookie: 42}}
		sockets, a, err := decode(b, testSeq, before)
		if len(sockets) < 1 || sockets[0] != before[0] {
			t.Fatal("what was there is gone")
		}
		if len(sockets)-1 > len(b)/(unix.SizeofNlMsghdr+sizeMessage) {
			t.Fatalf("%d sockets from %d bytes", len(sockets)-1, len(b))
		}
		for _, s := range sockets[1:] {
			if !s.Local.IsValid() || !s.Remote.IsValid() || s.known == 0 || s.known > sizeInfo || s.Out() > s.BytesSent {
				t.Fatalf("%+v", s)
			}
		}
		if err == nil && !a.done && len(b) > 0 && len(b) < unix.SizeofNlMsghdr {
			t.Fatal("half a header is no error")
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	const n = 10000
	reads := madeDump(n)
	var sockets []Socket
	b.ReportAllocs()
	for b.Loop() {
		sockets = sockets[:0]
		for _, r := range reads {
			var err error
			if sockets, _, err = decode(r, testSeq, sockets); err != nil {
				b.Fatal(err)
			}
		}
		if len(sockets) != n {
			b.Fatalf("%d sockets", len(sockets))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/socket")
}
