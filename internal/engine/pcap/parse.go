package pcap

import "encoding/binary"

// Link types as libpcap numbers them in a capture handle.
const (
	linkEthernet = 1
	linkRaw      = 12
	linkCooked   = 113
	linkIPv4     = 228
	linkIPv6     = 229
	linkCooked2  = 276
)

const (
	protoHopByHop    = 0
	protoTCP         = 6
	protoRouting     = 43
	protoFragment    = 44
	protoAuth        = 51
	protoDestination = 60
	protoMobility    = 135
)

const (
	maxTags       = 4 // VLAN tags, one in the other
	maxExtensions = 8 // IPv6 extension headers
)

// address is an IP address; IPv4 is mapped into IPv6.
type address [16]byte

// part is what a packet is of an IP datagram.
type part uint8

const (
	whole part = iota
	first      // fragment, with the ports
	later      // fragment, without
)

// packet is what the headers of a TCP/IP packet say.
type packet struct {
	src, dst         address
	srcPort, dstPort uint16 // none in a later fragment
	part             part
	v6               bool
	id               uint32 // of the datagram that this is a fragment of
	tags             int    // bytes of VLAN tags
	ip               int    // offset of the IP header
	size             int    // bytes from the IP header on, on the wire
	headers          int    // bytes of IP, extension and TCP headers
}

// parse reads the headers of a captured frame that has wire bytes on the wire.
// It gives false for what is no TCP over IP, and for what was cut too short.
func (p *packet) parse(link int, data []byte, wire int) bool {
	var ok bool
	p.tags = 0
	if p.ip, ok = p.network(link, data); !ok || p.ip >= len(data) {
		return false
	}
	p.size = wire - p.ip
	switch data[p.ip] >> 4 {
	case 4:
		return p.ipv4(data[p.ip:])
	case 6:
		return p.ipv6(data[p.ip:])
	}
	return false
}

// network gives the offset of the network header, and false if that is not IP.
func (p *packet) network(link int, data []byte) (int, bool) {
	var typeAt, at int
	switch link {
	case linkEthernet:
		typeAt, at = 12, 14
	case linkCooked:
		typeAt, at = 14, 16
	case linkCooked2:
		typeAt, at = 0, 20
	case linkRaw, linkIPv4, linkIPv6:
		return 0, true
	default:
		return 0, false
	}
	for range maxTags + 1 {
		if len(data) < at || len(data) < typeAt+2 {
			return 0, false
		}
		switch binary.BigEndian.Uint16(data[typeAt:]) {
		case 0x0800, 0x86dd:
			return at, true
		case 0x8100, 0x88a8, 0x9100:
			p.tags += 4
			typeAt, at = at+2, at+4
		default:
			return 0, false
		}
	}
	return 0, false
}

func (p *packet) ipv4(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	length := int(b[0]&15) * 4
	if length < 20 {
		return false
	}
	p.v6 = false
	p.src = address{10: 0xff, 11: 0xff, 12: b[12], 13: b[13], 14: b[14], 15: b[15]}
	p.dst = address{10: 0xff, 11: 0xff, 12: b[16], 13: b[17], 14: b[18], 15: b[19]}
	fragment := binary.BigEndian.Uint16(b[6:])
	p.part = whole
	if fragment&0x3fff != 0 {
		p.id = uint32(binary.BigEndian.Uint16(b[4:]))
		p.part = first
		if fragment&0x1fff != 0 {
			p.part = later
		}
	}
	next := b[9]
	if next == protoAuth && p.part != later && len(b) >= length+2 {
		next = b[length]
		length += (int(b[length+1]) + 2) * 4
	}
	return next == protoTCP && p.tcp(b, length)
}

func (p *packet) ipv6(b []byte) bool {
	if len(b) < 40 {
		return false
	}
	p.v6, p.part = true, whole
	p.src, p.dst = address(b[8:24]), address(b[24:40])
	next, at := b[6], 40
	for range maxExtensions {
		if next == protoTCP {
			return p.tcp(b, at)
		}
		if p.part == later || len(b) < at+8 {
			return false // what follows are the insides of the datagram
		}
		h := b[at:]
		switch next {
		case protoHopByHop, protoRouting, protoDestination, protoMobility:
			at += (int(h[1]) + 1) * 8
		case protoAuth:
			at += (int(h[1]) + 2) * 4
		case protoFragment:
			fragment := binary.BigEndian.Uint16(h[2:])
			p.id = binary.BigEndian.Uint32(h[4:])
			if fragment&^7 != 0 {
				p.part = later
			} else if fragment&1 != 0 {
				p.part = first
			}
			at += 8
		default:
			return false
		}
		next = h[0]
	}
	return false
}

// tcp reads the TCP header that begins at the offset at of the IP header.
func (p *packet) tcp(b []byte, at int) bool {
	p.headers = at
	if p.part == later {
		p.srcPort, p.dstPort = 0, 0
		return true
	}
	if len(b) < at+4 {
		return false
	}
	p.srcPort = binary.BigEndian.Uint16(b[at:])
	p.dstPort = binary.BigEndian.Uint16(b[at+2:])
	length := 32 // with time stamps, as nearly all have, if it was cut off
	if len(b) > at+12 {
		length = int(b[at+12]>>4) * 4
	}
	p.headers += max(20, length)
	return true
}

// segments estimates how many packets of at most mtu bytes this one is or will
// be on the wire, where a device or driver merges or cuts them.
func (p *packet) segments(mtu int) int {
	if p.size <= mtu || p.part != whole {
		return 1
	}
	room := mtu - p.headers
	if room <= 0 {
		return 1
	}
	return max(1, (p.size-p.headers+room-1)/room)
}
