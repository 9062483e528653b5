package sockdiag

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The messages that tests and benchmarks make are laid out as the kernel's are.

const testSeq = 7

// message makes a netlink message.
func message(kind, flags uint16, body []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, align(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags)
	binary.NativeEndian.PutUint32(b[8:], testSeq)
	b = append(b, body...)
	return b[:cap(b)]
}

// attr makes an attribute, padded.
func attr(kind uint16, value []byte) []byte {
	b := make([]byte, unix.SizeofNlAttr, align(unix.SizeofNlAttr+len(value)))
	binary.NativeEndian.PutUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	b = append(b, value...)
	return b[:cap(b)]
}

// info makes a struct tcp_info of 248 bytes in which each 32-bit word is its own offset.
func info() []byte {
	b := make([]byte, 248)
	for at := 0; at < len(b); at += 4 {
		binary.NativeEndian.PutUint32(b[at:], uint32(at))
	}
	return b
}

// body makes struct inet_diag_msg and its attributes.
func body(state State, cookie uint64, local, remote netip.AddrPort, attributes ...[]byte) []byte {
	b := make([]byte, sizeMessage)
	b[offFamily], b[offState] = unix.AF_INET, byte(state)
	if local.Addr().Is6() {
		b[offFamily] = unix.AF_INET6
	}
	binary.BigEndian.PutUint16(b[offLocalPort:], local.Port())
	binary.BigEndian.PutUint16(b[offRemotePort:], remote.Port())
	copy(b[offLocal:], local.Addr().AsSlice())
	copy(b[offRemote:], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[offCookie:], uint32(cookie))
	binary.NativeEndian.PutUint32(b[offCookie+4:], uint32(cookie>>32))
	binary.NativeEndian.PutUint32(b[offReadQueue:], 11)
	binary.NativeEndian.PutUint32(b[offWriteQueue:], 1022)
	for _, a := range attributes {
		b = append(b, a...)
	}
	return b
}

// madeDump makes the reads of a dump of n sockets, each as large as the kernel's.
func madeDump(n int) (reads [][]byte) {
	local := netip.MustParseAddrPort("10.0.0.1:5432")
	extras := [][]byte{attr(8, []byte{0}), attr(attrInfo, info()), attr(21, make([]byte, 8)), attr(22, make([]byte, 2))}
	var read []byte
	for i := range n {
		remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000)
		m := message(sockDiagByFamily, unix.NLM_F_MULTI, body(Established, 1<<32|uint64(i), local, remote, extras...))
		if len(read)+len(m) > readSize {
			reads, read = append(reads, read), nil
		}
		read = append(read, m...)
	}
	return append(reads, read, message(unix.NLMSG_DONE, unix.NLM_F_MULTI, make([]byte, 4)))
}
