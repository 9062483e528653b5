package link

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// Writer makes a snapshot field by field. It costs a tenth of what Append does,
// which tables of thousands of rows need each second.
type Writer struct {
	table *Table
	buf   []byte
	col   int // of the next field
	err   error
}

// Write begins a snapshot of the table in buf, from its start.
func (t *Table) Write(buf []byte) *Writer {
	return &Writer{table: t, buf: t.Head(buf[:0]), col: len(t.Columns)}
}

// Row begins a row.
func (w *Writer) Row() {
	w.whole()
	w.col = 0
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(len(w.table.Columns)))
}

func (w *Writer) whole() {
	if w.col != len(w.table.Columns) && w.err == nil {
		w.err = fmt.Errorf("row of %s has %d fields, want %d", w.table.Name, w.col, len(w.table.Columns))
	}
}

// End ends the snapshot.
func (w *Writer) End() ([]byte, error) {
	w.whole()
	return w.table.Tail(w.buf), w.err
}

// Size is the snapshot's, as far as it was made.
func (w *Writer) Size() int { return len(w.buf) + 2 }

// field begins a field of size bytes, notes one that is not of the column's type, and
// gives the place of its bytes.
func (w *Writer) field(oid uint32, size int) []byte {
	if w.col >= len(w.table.Columns) || w.table.Columns[w.col].OID != oid {
		w.mismatch(oid)
	}
	w.col++
	n := len(w.buf)
	if cap(w.buf)-n < 4+size {
		w.buf = slices.Grow(w.buf, 4+size)
	}
	w.buf = w.buf[:n+4+size]
	binary.BigEndian.PutUint32(w.buf[n:], uint32(size))
	return w.buf[n+4:]
}

func (w *Writer) mismatch(oid uint32) {
	if w.err == nil {
		w.err = fmt.Errorf("field %d of %s is of type %d", w.col+1, w.table.Name, oid)
	}
}

// Null appends NULL, of any type.
func (w *Writer) Null() {
	w.col++
	w.buf = append(w.buf, 0xff, 0xff, 0xff, 0xff)
}

// Int4 appends a number.
func (w *Writer) Int4(v int32) {
	binary.BigEndian.PutUint32(w.field(pgtype.Int4OID, 4), uint32(v))
}

// OID appends an object's number.
func (w *Writer) OID(v uint32) {
	binary.BigEndian.PutUint32(w.field(pgtype.OIDOID, 4), v)
}

// Int8 appends numbers, each as a field.
func (w *Writer) Int8(v ...int64) {
	for _, n := range v {
		binary.BigEndian.PutUint64(w.field(pgtype.Int8OID, 8), uint64(n))
	}
}

// Float8 appends a number.
func (w *Writer) Float8(v float64) {
	binary.BigEndian.PutUint64(w.field(pgtype.Float8OID, 8), math.Float64bits(v))
}

// Bool appends a truth value.
func (w *Writer) Bool(v bool) {
	b := w.field(pgtype.BoolOID, 1)
	b[0] = 0
	if v {
		b[0] = 1
	}
}

// Text appends a text.
func (w *Writer) Text(v string) {
	copy(w.field(pgtype.TextOID, len(v)), v)
}

// Time appends a moment, NULL for the zero one.
func (w *Writer) Time(v time.Time) {
	if v.IsZero() {
		w.Null()
		return
	}
	binary.BigEndian.PutUint64(w.field(pgtype.TimestamptzOID, 8), uint64(toMicros(v)))
}

// Families of addresses, as inet_send has them.
const (
	inetFour = 2
	inetSix  = 3
)

// Addr appends the address of a host, NULL for none.
func (w *Writer) Addr(v netip.Addr) {
	switch {
	case v.Is4():
		p := v.As4()
		w.inet(inetFour, p[:])
	case v.IsValid():
		p := v.As16()
		w.inet(inetSix, p[:])
	default:
		w.Null()
	}
}

func (w *Writer) inet(family byte, p []byte) {
	b := w.field(pgtype.InetOID, 4+len(p))
	b[0], b[1], b[2], b[3] = family, byte(8*len(p)), 0, byte(len(p))
	copy(b[4:], p)
}

// SnapshotHead makes the beginning of a frame that carries the snapshot called
// name; its size bytes of data follow.
func SnapshotHead(name string, size int) []byte {
	f := newFrame(TypeSnapshot, 8+len(name)).str(name).u32(uint32(size))
	binary.BigEndian.PutUint32(f, uint32(len(f)-4+size))
	return f
}
