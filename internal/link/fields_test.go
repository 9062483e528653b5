package link

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// What is written field by field is what pgtype makes of the same values.
func TestWriterAgreesWithAppend(t *testing.T) {
	rows := slices.Concat(sampleRows, []Row{
		{int32(-1), int64(-1), -1.5, "x", true, time.Date(1969, 1, 1, 0, 0, 0, 1000, time.UTC), uint32(1<<32 - 1), netip.MustParsePrefix("0.0.0.0/32")},
	})
	rows[2][5], rows[2][7] = time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC), netip.MustParsePrefix("2001:db8::7/128")
	want, err := sample.Encode(nil, slices.Values(rows))
	if err != nil {
		t.Fatal(err)
	}
	w := sample.Write([]byte("garbage"))
	for _, row := range rows {
		w.Row()
		for _, v := range row {
			switch v := v.(type) {
			case nil:
				w.Null()
			case int32:
				w.Int4(v)
			case int64:
				w.Int8(v)
			case float64:
				w.Float8(v)
			case string:
				w.Text(v)
			case bool:
				w.Bool(v)
			case time.Time:
				w.Time(v)
			case uint32:
				w.OID(v)
			case netip.Prefix:
				w.Addr(v.Addr())
			}
		}
	}
	if size := w.Size(); size != len(want) {
		t.Errorf("size %d, want %d", size, len(want))
	}
	if got, err := w.End(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n got %q\nwant %q", err, got, want)
	}
}

func TestWriterNotesWhatDoesNotFit(t *testing.T) {
	for name, write := range map[string]func(*Writer){
		"another type": func(w *Writer) { w.Row(); w.Int8(1) },
		"a short row":  func(w *Writer) { w.Row(); w.Int4(1) },
		"a long row": func(w *Writer) {
			w.Row()
			for range sample.Columns {
				w.Null()
			}
			w.Int4(1)
		},
		"no row": func(w *Writer) { w.Int4(1) },
	} {
		w := sample.Write(nil)
		write(w)
		if _, err := w.End(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestSnapshotInTwoParts(t *testing.T) {
	data := []byte("data")
	if got := append(SnapshotHead("x", len(data)), data...); !bytes.Equal(got, Snapshot("x", data)) {
		t.Errorf("%q", got)
	}
}
