package link

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5/pgtype"
)

// Column is a column of a snapshot.
type Column struct {
	Name string
	OID  uint32 // of a type that every PostgreSQL has under the same number
}

// Table is the form of a snapshot. A view may show the first columns only;
// the rest is the agent's own, which it reads when the snapshot is restored.
type Table struct {
	Name    string
	Columns []Column
}

// Row is the values of a row, as pgtype takes and gives them; nil is NULL.
type Row []any

// signature begins PostgreSQL's binary COPY format; flags and the length of a
// header extension follow, both 0 here.
// https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"
const signature = "PGCOPY\n\377\r\n\000"

// types is shared: a Map is safe for concurrent use once it is filled.
var types = pgtype.NewMap()

// Head appends the form of t and what begins the rows to buf.
func (t *Table) Head(buf []byte) []byte {
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(t.Columns)))
	for _, c := range t.Columns {
		buf = binary.BigEndian.AppendUint32(buf, c.OID)
	}
	buf = append(buf, signature...)
	return append(buf, 0, 0, 0, 0, 0, 0, 0, 0)
}

// Append appends one row to buf.
func (t *Table) Append(buf []byte, row Row) ([]byte, error) {
	if len(row) != len(t.Columns) {
		return nil, fmt.Errorf("row of %s has %d columns, want %d", t.Name, len(row), len(t.Columns))
	}
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(row)))
	for i, v := range row {
		at := len(buf)
		buf = binary.BigEndian.AppendUint32(buf, 0xffffffff)
		if v == nil {
			continue
		}
		next, err := types.Encode(t.Columns[i].OID, pgtype.BinaryFormatCode, v, buf)
		if err != nil {
			return nil, fmt.Errorf("encoding column %s of %s: %w", t.Columns[i].Name, t.Name, err)
		}
		if next == nil {
			continue
		}
		buf = next
		binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
	}
	return buf, nil
}

// Tail appends what ends the rows to buf.
func (t *Table) Tail(buf []byte) []byte { return append(buf, 0xff, 0xff) }

// Encode appends the snapshot with the rows to buf.
func (t *Table) Encode(buf []byte, rows iter.Seq[Row]) ([]byte, error) {
	buf = t.Head(buf)
	for row := range rows {
		var err error
		if buf, err = t.Append(buf, row); err != nil {
			return nil, err
		}
	}
	return t.Tail(buf), nil
}

// Decode gives the rows of a snapshot of the table, which an older or newer
// version may have written: columns it lacks are nil, further ones are left
// out. A column of another type is an error.
func (t *Table) Decode(data []byte) ([]Row, error) {
	b := body{b: data}
	n := int(b.u16("number of columns"))
	if b.err == nil && n == 0 {
		return nil, malformed("no columns")
	}
	for i := 0; i < n && b.err == nil; i++ {
		if oid := b.u32("type of a column"); b.err == nil && i < len(t.Columns) && oid != t.Columns[i].OID {
			return nil, malformed("column %s of %s has type %d, want %d", t.Columns[i].Name, t.Name, oid, t.Columns[i].OID)
		}
	}
	if s := b.take(uint64(len(signature)), "signature"); b.err == nil && string(s) != signature {
		return nil, malformed("no signature of binary COPY")
	}
	b.u32("flags")
	b.take(uint64(b.u32("header extension")), "header extension")

	var rows []Row
	for b.err == nil {
		fields := b.u16("number of fields")
		if fields == 0xffff {
			break
		}
		if b.err == nil && int(fields) != n {
			return nil, malformed("row of %d fields in %d columns", fields, n)
		}
		row, err := t.decodeRow(&b, n)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, b.end()
}

func (t *Table) decodeRow(b *body, n int) (Row, error) {
	row := make(Row, len(t.Columns))
	for i := range n {
		size := b.u32("length of a field")
		if b.err != nil || size == 0xffffffff {
			continue
		}
		p := b.take(uint64(size), "field")
		if b.err != nil || i >= len(t.Columns) {
			continue
		}
		typ, ok := types.TypeForOID(t.Columns[i].OID)
		if !ok {
			return nil, fmt.Errorf("column %s of %s: type %d is not known", t.Columns[i].Name, t.Name, t.Columns[i].OID)
		}
		v, err := typ.Codec.DecodeValue(types, typ.OID, pgtype.BinaryFormatCode, p)
		if err != nil {
			return nil, malformed("column %s of %s: %v", t.Columns[i].Name, t.Name, err)
		}
		row[i] = v
	}
	return row, b.err
}
