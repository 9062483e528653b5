package ebpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherVLAN  = 0x8100
	etherQinQ  = 0x88a8
	protoTCP   = 6
	protoUDP   = 17
	linkHeader = 14 // bytes of an Ethernet header
)

// packet describes an IP packet of the tests. Its zero parts are the plain ones.
type packet struct {
	from, to   netip.AddrPort
	payload    int         // bytes
	tcpOptions int         // bytes, a multiple of 4
	ipOptions  int         // bytes, a multiple of 4; IPv4
	extensions []extension // between the IP header and TCP
	protocol   byte        // instead of TCP
	fragment   fragment
	cut        int // only this many bytes of the packet
}

// extension is an IPv6 header of body bytes after its first two, or AH.
type extension struct {
	protocol byte
	body     int
	data     []byte // what the body begins with
}

// fragment says which part of a datagram the packet is. The part of one that
// is not the first has no TCP header: all its bytes are payload.
type fragment struct {
	id     uint32
	offset int // bytes, a multiple of 8
	more   bool
}

func (f fragment) whole() bool { return f.offset == 0 && !f.more }

func flow(from, to string) packet {
	return packet{from: netip.MustParseAddrPort(from), to: netip.MustParseAddrPort(to)}
}

func (p packet) with(change func(*packet)) packet {
	change(&p)
	return p
}

// bytes is the packet from its IP header on.
func (p packet) bytes() []byte {
	b := p.ipv4
	if p.from.Addr().Is6() {
		b = p.ipv6
	}
	whole := b()
	if p.cut > 0 {
		whole = whole[:p.cut]
	}
	return whole
}

func (p packet) etherType() uint16 {
	if p.from.Addr().Is6() {
		return etherIPv6
	}
	return etherIPv4
}

func (p packet) upper() byte {
	if p.protocol != 0 {
		return p.protocol
	}
	return protoTCP
}

func (p packet) ipv4() []byte {
	first, chain := p.chain(p.upper())
	body := append(chain, p.transport()...)
	h := make([]byte, 20+p.ipOptions)
	h[0] = 4<<4 | byte(len(h)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(body)))
	binary.BigEndian.PutUint16(h[4:], uint16(p.fragment.id))
	place := uint16(p.fragment.offset / 8)
	if p.fragment.more {
		place |= 0x2000
	}
	binary.BigEndian.PutUint16(h[6:], place)
	h[8], h[9] = 64, first
	copy(h[12:], p.from.Addr().AsSlice())
	copy(h[16:], p.to.Addr().AsSlice())
	for i := 20; i < len(h); i++ {
		h[i] = 1 // no operation
	}
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, body...)
}

func (p packet) ipv6() []byte {
	upper, fragment := p.upper(), []byte(nil)
	if !p.fragment.whole() {
		fragment = make([]byte, 8)
		fragment[0] = upper
		place := uint16(p.fragment.offset)
		if p.fragment.more {
			place |= 1
		}
		binary.BigEndian.PutUint16(fragment[2:], place)
		binary.BigEndian.PutUint32(fragment[4:], p.fragment.id)
		upper = 44
	}
	first, chain := p.chain(upper)
	body := slices.Concat(chain, fragment, p.transport())
	h := make([]byte, 40)
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	h[6], h[7] = first, 64
	from, to := p.from.Addr().As16(), p.to.Addr().As16()
	copy(h[8:], from[:])
	copy(h[24:], to[:])
	return append(h, body...)
}

// chain gives the extension headers before the protocol last, and the protocol
// of the first of them.
func (p packet) chain(last byte) (first byte, all []byte) {
	first = last
	for i := len(p.extensions) - 1; i >= 0; i-- {
		e := p.extensions[i]
		h := make([]byte, 2+e.body)
		h[0], h[1] = first, byte(len(h)/8-1)
		if e.protocol == 51 {
			h[1] = byte(len(h)/4 - 2)
		}
		copy(h[2:], e.data)
		all = append(h, all...)
		first = e.protocol
	}
	return first, all
}

func (p packet) transport() []byte {
	if p.fragment.offset > 0 {
		return make([]byte, p.payload)
	}
	h := make([]byte, 20+p.tcpOptions, 20+p.tcpOptions+p.payload)
	binary.BigEndian.PutUint16(h, p.from.Port())
	binary.BigEndian.PutUint16(h[2:], p.to.Port())
	h[12] = byte(len(h)/4) << 4
	h[13] = 0x10 // ACK
	return append(h, make([]byte, p.payload)...)
}

// hardware addresses of frames: the device's own, and one that is not.
var (
	ownMAC   = []byte{0, 0, 0, 0, 0, 0}
	otherMAC = []byte{2, 0, 0, 0, 0, 9}
)

// frame puts an Ethernet header with tags in front of the packet.
func (p packet) frame(to, from []byte, tags ...uint16) []byte {
	f := slices.Concat(to, from)
	for i, tag := range tags {
		kind := uint16(etherVLAN)
		if i+1 < len(tags) {
			kind = etherQinQ
		}
		f = binary.BigEndian.AppendUint16(f, kind)
		f = binary.BigEndian.AppendUint16(f, tag)
	}
	f = binary.BigEndian.AppendUint16(f, p.etherType())
	return append(f, p.bytes()...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
