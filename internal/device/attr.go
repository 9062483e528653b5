package device

import (
	"encoding/binary"
	"errors"
	"iter"

	"golang.org/x/sys/unix"
)

var errShort = errors.New("a netlink message is shorter than it says")

// attributes gives the type and value of each netlink attribute in b, and an
// error in place of one that b does not hold whole.
func attributes(b []byte) iter.Seq2[attribute, error] {
	return func(yield func(attribute, error) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				yield(attribute{}, errShort)
				return
			}
			a := attribute{
				kind:  binary.NativeEndian.Uint16(b[2:]) &^ unix.NLA_F_NESTED,
				value: b[unix.SizeofRtAttr:size],
			}
			if !yield(a, nil) {
				return
			}
			b = b[min(len(b), (size+3)&^3):] // the last may lack its padding
		}
	}
}

type attribute struct {
	kind  uint16
	value []byte
}
