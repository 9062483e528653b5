package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// sample has a column of every type that snapshots use.
var sample = Table{Name: "sample", Columns: []Column{
	{"i4", pgtype.Int4OID},
	{"i8", pgtype.Int8OID},
	{"f8", pgtype.Float8OID},
	{"t", pgtype.TextOID},
	{"b", pgtype.BoolOID},
	{"at", pgtype.TimestamptzOID},
	{"who", pgtype.OIDOID},
	{"addr", pgtype.InetOID},
}}

var sampleRows = []Row{
	{int32(-5), int64(1) << 40, 2.5, "eth0", true, time.Date(2026, 3, 1, 12, 0, 0, 123000, time.UTC), uint32(16384), netip.MustParsePrefix("192.0.2.1/32")},
	{nil, nil, nil, nil, nil, nil, nil, nil},
	{int32(0), int64(0), 0.0, "", false, epoch, uint32(0), netip.MustParsePrefix("2001:db8::/32")},
	{int32(1), int64(1), 1.0, "no UTF-8: \xff\x00", false, epoch, uint32(1), netip.MustParsePrefix("::1/128")},
}

func encoded(t testing.TB) []byte {
	t.Helper()
	data, err := sample.Encode(nil, slices.Values(sampleRows))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSnapshotComesBack(t *testing.T) {
	rows, err := sample.Decode(encoded(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		for j, v := range row {
			if at, ok := v.(time.Time); ok {
				row[j] = at.UTC()
			}
		}
		if !reflect.DeepEqual(row, sampleRows[i]) {
			t.Errorf("row %d\n got %#v\nwant %#v", i, row, sampleRows[i])
		}
	}
	if len(rows) != len(sampleRows) {
		t.Errorf("%d rows, want %d", len(rows), len(sampleRows))
	}
}

func TestSnapshotOfAnotherVersion(t *testing.T) {
	older := Table{Name: "sample", Columns: sample.Columns[:3]}
	rows, err := older.Decode(encoded(t))
	if err != nil || rows[0][1] != int64(1)<<40 {
		t.Errorf("an older agent reads %v, %v", rows, err)
	}
	data, err := older.Encode(nil, slices.Values([]Row{{int32(1), int64(2), 3.0}}))
	if err != nil {
		t.Fatal(err)
	}
	rows, err = sample.Decode(data)
	if err != nil || rows[0][2] != 3.0 || rows[0][3] != nil {
		t.Errorf("a newer agent reads %v, %v", rows, err)
	}
	other := Table{Name: "sample", Columns: []Column{{"i4", pgtype.TextOID}}}
	if _, err := other.Decode(encoded(t)); !errors.Is(err, ErrFrame) {
		t.Errorf("a column of another type gives %v", err)
	}
}

func TestSnapshotCutAnywhereIsAnError(t *testing.T) {
	data := encoded(t)
	for n := range data {
		if _, err := sample.Decode(data[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are accepted", n, len(data))
		}
	}
	if _, err := sample.Decode(append(data, 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
}

func TestEncodeRefusesWhatDoesNotFit(t *testing.T) {
	if _, err := sample.Append(nil, Row{1}); err == nil || !strings.Contains(err.Error(), "columns") {
		t.Errorf("a short row gives %v", err)
	}
	row := slices.Clone(sampleRows[0])
	row[0] = "x"
	if _, err := sample.Append(nil, row); err == nil || !strings.Contains(err.Error(), "i4") {
		t.Errorf("a wrong type gives %v", err)
	}
}

func TestFramesComeBack(t *testing.T) {
	var wire bytes.Buffer
	wire.Write(AgentHello("1.2"))
	wire.Write(Snapshot("pg_netstat", []byte("data")))
	wire.Write(Publish(7, 8))
	wire.Write(Log(LevelWarning, "message", "detail", ""))
	wire.Write(Beat())
	want := []struct {
		kind byte
		body string
	}{
		{'h', "\x00\x00\x00\x02\x00\x00\x00\x031.2"},
		{'s', "\x00\x00\x00\x0apg_netstat\x00\x00\x00\x04data"},
		{'p', "\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x08"},
		{'l', "\x02\x00\x00\x00\x07message\x00\x00\x00\x06detail\x00\x00\x00\x00"},
		{'b', ""},
	}
	r := NewReader(&wire)
	for _, w := range want {
		kind, body, err := r.Next()
		if err != nil || kind != w.kind || string(body) != w.body {
			t.Errorf("got %q %q %v, want %q %q", kind, body, err, w.kind, w.body)
		}
	}
	if _, _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestFrameBounds(t *testing.T) {
	for name, c := range map[string]struct {
		wire string
		want error
	}{
		"no length":    {"\x00\x00\x00\x00", ErrFrame},
		"too long":     {"\x00\x01\x00\x01x", ErrFrame},
		"huge":         {"\xff\xff\xff\xffx", ErrFrame},
		"cut in head":  {"\x00\x00", io.ErrUnexpectedEOF},
		"cut in type":  {"\x00\x00\x00\x02", io.ErrUnexpectedEOF},
		"cut in body":  {"\x00\x00\x00\x03xy", io.ErrUnexpectedEOF},
		"nothing more": {"", io.EOF},
	} {
		if _, _, err := NewReader(strings.NewReader(c.wire)).Next(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	r := NewReader(nil)
	if r.Limit(1 << 40); r.max != 1<<31-1 {
		t.Errorf("limit of a huge set: %d", r.max)
	}
}

func TestLongLogLinesAreCut(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	if n := len(Log(LevelLog, long, long, long)); n > 8192 {
		t.Errorf("a log frame of %d bytes", n)
	}
}

// fromWorker are bodies as the worker makes them.
func helloBody(protocol uint32) []byte {
	return newFrame('H', 0).u32(protocol).u32(150018).str("1.0").u64(1 << 24)[5:]
}

func TestMessagesFromTheWorker(t *testing.T) {
	h, err := DecodeHello(helloBody(Protocol))
	if want := (Hello{Protocol, 150018, "1.0", 1 << 24}); err != nil || h != want {
		t.Errorf("hello: %+v %v", h, err)
	}
	if h, err := DecodeHello(helloBody(9)[:6]); err != nil || h.Protocol != 9 {
		t.Errorf("hello of another protocol: %+v %v", h, err)
	}
	m, err := DecodeConfig(newFrame('C', 0).u32(2).str("port").str("5432").str("x").str("")[5:])
	if err != nil || len(m) != 2 || m["port"] != "5432" {
		t.Errorf("config: %v %v", m, err)
	}
	name, data, err := DecodeRestore(newFrame('S', 0).str("n").str("data")[5:])
	if err != nil || name != "n" || string(data) != "data" {
		t.Errorf("restore: %q %q %v", name, data, err)
	}
	r, err := DecodeRestored(newFrame('T', 0).u8(2).u64(1_500_000).u64(3).u64(4)[5:])
	if want := (Restored{OriginFile, epoch.Add(1500 * time.Millisecond), 3, 4}); err != nil || r != want {
		t.Errorf("restored: %+v %v", r, err)
	}
	if _, err := DecodeRestored(newFrame('T', 0).u8(3).u64(0).u64(0).u64(0)[5:]); !errors.Is(err, ErrFrame) {
		t.Errorf("an unknown origin: %v", err)
	}
	if seq, err := DecodeReset(newFrame('Z', 0).u64(5)[5:]); err != nil || seq != 5 {
		t.Errorf("reset: %d %v", seq, err)
	}
	if _, err := DecodeReset([]byte("123456789")); !errors.Is(err, ErrFrame) {
		t.Errorf("a byte too many: %v", err)
	}
}

// FuzzMessages gives every decoder of the worker's frames any bytes: each
// must end in a value or in ErrFrame, never in a panic or in a wait.
func FuzzMessages(f *testing.F) {
	f.Add(newFrame('H', 0).bytes())
	f.Add(append(newFrame('H', 0), helloBody(Protocol)...).bytes())
	f.Add(newFrame('C', 0).u32(1).str("port").str("5432").bytes())
	f.Add(newFrame('C', 0).u32(0xffffffff).bytes())
	f.Add(newFrame('S', 0).str("pg_netstat").str(string(encoded(f))).bytes())
	f.Add(newFrame('T', 0).u8(1).u64(1).u64(2).u64(3).bytes())
	f.Add(newFrame('Z', 0).u64(5).bytes())
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := NewReader(bytes.NewReader(wire))
		for {
			kind, p, err := r.Next()
			if err != nil {
				return
			}
			switch kind {
			case TypeHello:
				_, err = DecodeHello(p)
			case TypeConfig:
				_, err = DecodeConfig(p)
			case TypeRestore:
				_, _, err = DecodeRestore(p)
			case TypeRestored:
				_, err = DecodeRestored(p)
			case TypeReset:
				_, err = DecodeReset(p)
			}
			if err != nil && !errors.Is(err, ErrFrame) {
				t.Errorf("type %q: %v", kind, err)
			}
		}
	})
}

// FuzzSnapshot decodes any bytes. What is accepted must encode again.
func FuzzSnapshot(f *testing.F) {
	f.Add(encoded(f))
	f.Add(binary.BigEndian.AppendUint16(nil, 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := sample.Decode(data)
		if err != nil {
			return
		}
		if _, err := sample.Encode(nil, slices.Values(rows)); err != nil {
			t.Errorf("decoded rows do not encode: %v", err)
		}
	})
}
