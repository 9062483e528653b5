package pcap

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"
)

// Frames are made byte by byte here, so that tests do not agree with the parser
// by making the same mistake in one library.

func be16(n int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func cat(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// ether puts a link header, with the tags of tpids, before a network packet.
func ether(network []byte, tpids ...int) []byte {
	frame := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for i, tpid := range tpids {
		frame = cat(frame, be16(tpid), be16(100+i))
	}
	return cat(frame, ethertype(network), network)
}

func ethertype(network []byte) []byte {
	if network[0]>>4 == 6 {
		return be16(0x86dd)
	}
	return be16(0x0800)
}

// cooked puts libpcap's first kind of pseudo header before a network packet.
func cooked(network []byte) []byte {
	return cat(make([]byte, 14), ethertype(network), network)
}

// cooked2 puts its second kind.
func cooked2(network []byte) []byte {
	return cat(ethertype(network), make([]byte, 18), network)
}

// tcp is a segment with n bytes of payload.
func tcp(src, dst, n int) []byte {
	return cat(be16(src), be16(dst), make([]byte, 8), []byte{5 << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0}, make([]byte, n))
}

// tcpStamped is one with the option that carries time stamps.
func tcpStamped(src, dst, n int) []byte {
	s := cat(tcp(src, dst, 0), make([]byte, 12+n))
	s[12] = 8 << 4
	return s
}

type four struct {
	src, dst string
	proto    int
	id       int
	more     bool
	offset   int // bytes
	options  int // bytes
}

func (h four) ip(payload []byte) []byte {
	fragment := h.offset / 8
	if h.more {
		fragment |= 0x2000
	}
	head := cat([]byte{0x40 | byte(5+h.options/4), 0}, be16(20+h.options+len(payload)), be16(h.id), be16(fragment),
		[]byte{64, byte(h.proto), 0, 0},
		netip.MustParseAddr(h.src).AsSlice(), netip.MustParseAddr(h.dst).AsSlice(), make([]byte, h.options))
	var sum uint32
	for i := 0; i < len(head); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(head[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	copy(head[10:], be16(int(^uint16(sum))))
	return cat(head, payload)
}

func six(src, dst string, next int, payload []byte) []byte {
	return cat([]byte{6 << 4, 0, 0, 0}, be16(len(payload)), []byte{byte(next), 64},
		netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice(), payload)
}

// extension is a header of size bytes, a multiple of 8. Its one option pads it.
func extension(next, size int, rest []byte) []byte {
	h := make([]byte, size)
	h[0], h[1], h[2], h[3] = byte(next), byte(size/8-1), 1, byte(size-4)
	return cat(h, rest)
}

// auth is an authentication header of 24 bytes.
func auth(next int, rest []byte) []byte {
	return cat([]byte{byte(next), 4, 0, 0}, make([]byte, 20), rest)
}

func fragmentHeader(next, offset int, more bool, id uint32, rest []byte) []byte {
	word := offset
	if more {
		word |= 1
	}
	return cat([]byte{byte(next), 0}, be16(word), be32(id), rest)
}

// captureFile is what tcpdump would write with a snaplen of 256 bytes.
func captureFile(link layers.LinkType, frames [][]byte) []byte {
	const snaplen = 256
	le := binary.LittleEndian
	f := le.AppendUint32(nil, 0xa1b2c3d4)
	f = le.AppendUint16(f, 2)
	f = le.AppendUint16(f, 4)
	f = cat(f, make([]byte, 8))
	f = le.AppendUint32(f, snaplen)
	f = le.AppendUint32(f, uint32(link))
	for i, frame := range frames {
		held := frame[:min(len(frame), snaplen)]
		f = le.AppendUint32(f, 1_700_000_000)
		f = le.AppendUint32(f, uint32(i))
		f = le.AppendUint32(f, uint32(len(held)))
		f = le.AppendUint32(f, uint32(len(frame)))
		f = cat(f, held)
	}
	return f
}
