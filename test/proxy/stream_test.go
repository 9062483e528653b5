package proxy

import (
	"encoding/binary"
	"maps"
	"testing"
)

func message(kind byte, body int) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+body))
	return append(m, make([]byte, body)...)
}

// TestStream cuts a stream at every place: it is always the same messages.
func TestStream(t *testing.T) {
	var all []byte
	for _, m := range [][]byte{message('T', 20), message('D', 0), message('D', 7), message('C', 3), message('Z', 1)} {
		all = append(all, m...)
	}
	want := map[byte]Tally{'T': {1, 25}, 'D': {2, 17}, 'C': {1, 8}, 'Z': {1, 6}}
	for i := range all {
		for j := i; j <= len(all); j++ {
			s := newStream()
			s.pass(all[:i])
			s.pass(all[i:j])
			s.pass(all[j:])
			if got := s.copy(); !maps.Equal(got, want) {
				t.Fatalf("cut at %d and %d: %v, want %v", i, j, got, want)
			}
			if sum := Sum(s.copy()); sum.Bytes != int64(len(all)) || sum.Messages != 5 {
				t.Fatalf("the sum is %+v of %d bytes", sum, len(all))
			}
		}
	}
}

func TestStreamCountsWhatHasBegun(t *testing.T) {
	s := newStream()
	s.pass(message('D', 100)[:50])
	if got := s.copy(); got['D'] != (Tally{1, 105}) {
		t.Errorf("%v", got)
	}
	s.pass(message('D', 100)[50:])
	s.pass(message('E', 1)[:4])
	if got := s.copy(); len(got) != 1 || got['D'] != (Tally{1, 105}) {
		t.Errorf("a header that is not whole: %v", got)
	}
}

func TestParameters(t *testing.T) {
	got := parameters([]byte("user\x00a\x00database\x00b\x00options\x00\x00\x00"))
	if want := map[string]string{"user": "a", "database": "b", "options": ""}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
