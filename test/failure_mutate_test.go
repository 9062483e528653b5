package test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
)

// snapshot is one taken apart: the types of its columns, and its rows' fields,
// nil for NULL.
type snapshot struct {
	types []uint32
	rows  [][][]byte
}

const copyHeader = "PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000"

func (s snapshot) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(s.types)))
	for _, t := range s.types {
		b = binary.BigEndian.AppendUint32(b, t)
	}
	b = append(b, copyHeader...)
	for _, row := range s.rows {
		b = binary.BigEndian.AppendUint16(b, uint16(len(row)))
		for _, f := range row {
			if f == nil {
				b = append(b, 0xff, 0xff, 0xff, 0xff)
				continue
			}
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
		}
	}
	return append(b, 0xff, 0xff)
}

// parse takes a snapshot apart. It tells whether the module may let it pass.
func parse(b []byte) (s snapshot, ok bool) {
	take := func(n int) []byte {
		if n > len(b) {
			b, ok = nil, false
			return make([]byte, min(n, 8))
		}
		v := b[:n:n]
		b = b[n:]
		return v
	}
	ok = true
	n := int(binary.BigEndian.Uint16(take(2)))
	if !ok || n < 1 || n > 1600 {
		return s, false
	}
	for range n {
		s.types = append(s.types, binary.BigEndian.Uint32(take(4)))
	}
	if !ok || len(b) < len(copyHeader) || string(take(len(copyHeader))) != copyHeader {
		return s, false
	}
	for {
		fields := int(binary.BigEndian.Uint16(take(2)))
		if !ok || fields == 0xffff {
			return s, ok && len(b) == 0
		}
		if fields != n {
			return s, false
		}
		row := make([][]byte, n)
		for i := range row {
			size := int32(binary.BigEndian.Uint32(take(4)))
			if !ok || size < -1 {
				return s, false
			}
			if size >= 0 {
				row[i] = take(int(size))
			}
		}
		s.rows = append(s.rows, row)
	}
}

func (s snapshot) clone() snapshot {
	c := snapshot{types: slices.Clone(s.types)}
	for _, row := range s.rows {
		fields := make([][]byte, len(row))
		for i, f := range row {
			fields[i] = bytes.Clone(f)
		}
		c.rows = append(c.rows, fields)
	}
	return c
}

// of makes a snapshot of a table.
func of(t *link.Table, rows ...link.Row) snapshot {
	b, err := t.Encode(nil, slices.Values(rows))
	if err != nil {
		panic(err)
	}
	s, ok := parse(b)
	if !ok {
		panic("a snapshot of the agent's own is not well formed")
	}
	return s
}

// mutator changes snapshots, the same way in each run.
type mutator struct{ *rand.Rand }

func newMutator(seed uint64) mutator { return mutator{rand.New(rand.NewPCG(seed, seed))} }

// extremes are values that are at the edge of something, or beyond.
var extremes = [][]byte{
	{}, {0}, {0xff}, {0x80}, {0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0x7f, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0},
	{0, 0, 0, 0, 0, 0, 0, 0}, {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0, 0, 0, 0, 0},
	{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x7f, 0xf0, 0, 0, 0, 0, 0, 0}, {0x7f, 0xf8, 0, 0, 0, 0, 0, 1},
	{0xff, 0xf0, 0, 0, 0, 0, 0, 0}, {0x7f, 0xef, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	[]byte("a\x00b"), []byte("\xc3("), []byte("\xf0\x28\x8c\xbc"), []byte("\xed\xa0\x80"), []byte("\xf8\x88\x80\x80\x80"),
	[]byte("\x1b[31m\r\n\t\x7f"), []byte("'; DROP TABLE x; --"), bytes.Repeat([]byte("x"), 70000), bytes.Repeat([]byte{0xfe}, 3000),
}

// field gives something in place of a field.
func (m mutator) field(f []byte) []byte {
	f = bytes.Clone(f)
	switch m.IntN(6) {
	case 0:
		return nil
	case 1:
		return bytes.Clone(extremes[m.IntN(len(extremes))])
	case 2:
		f = make([]byte, m.IntN(40))
		for i := range f {
			f[i] = byte(m.Uint32())
		}
		return f
	case 3:
		return append(f, byte(m.Uint32()))
	case 4:
		return f[:m.IntN(len(f)+1)]
	default:
		for range 1 + m.IntN(3) {
			if len(f) > 0 {
				f[m.IntN(len(f))] ^= 1 << m.IntN(8)
			}
		}
		return f
	}
}

// fields changes what a snapshot holds and leaves its form right.
func (m mutator) fields(s snapshot) []byte {
	s = s.clone()
	for range 1 + m.IntN(4) {
		if len(s.rows) == 0 || len(s.types) == 0 {
			break
		}
		row, column := m.IntN(len(s.rows)), m.IntN(len(s.types))
		switch m.IntN(12) {
		case 0:
			s.types[column] = s.types[m.IntN(len(s.types))]
		case 1:
			s.types[column] = m.Uint32N(6000)
		case 2:
			s.rows = append(s.rows, s.clone().rows...)
		case 3:
			s.rows = slices.Delete(s.rows, row, row+1)
		case 4:
			if len(s.types) > 1 {
				s.types = slices.Delete(s.types, column, column+1)
				for i := range s.rows {
					s.rows[i] = slices.Delete(s.rows[i], column, column+1)
				}
			}
		default:
			s.rows[row][column] = m.field(s.rows[row][column])
		}
	}
	return s.bytes()
}

// raw changes bytes, whatever they are.
func (m mutator) raw(s snapshot) []byte {
	b := s.bytes()
	for range 1 + m.IntN(4) {
		if len(b) < 8 {
			break
		}
		at := m.IntN(len(b) - 4)
		switch m.IntN(6) {
		case 0:
			b = b[:at]
		case 1:
			b = slices.Insert(b, at, b[m.IntN(at+1):at]...)
		case 2:
			b = slices.Delete(b, at, at+m.IntN(4))
		case 3:
			copy(b[at:], extremes[m.IntN(len(extremes))])
		default:
			b[at] = byte(m.Uint32())
		}
	}
	return b
}

// mutate changes a snapshot one way or the other.
func (m mutator) mutate(s snapshot) []byte {
	if m.IntN(2) == 0 {
		return m.raw(s)
	}
	return m.fields(s)
}

// wellFormed gives a mutation that the module lets pass.
func (m mutator) wellFormed(s snapshot) []byte {
	for {
		b := m.mutate(s)
		if _, ok := parse(b); ok {
			return b
		}
	}
}

// malformed gives one that it does not.
func (m mutator) malformed(s snapshot) []byte {
	for {
		b := m.raw(s)
		if _, ok := parse(b); !ok {
			return b
		}
	}
}

// moment is some time, as pgtype takes it.
var moment = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
