package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ErrMalformed is the error of an answer that is not what the kernel sends.
var ErrMalformed = errors.New("malformed answer of sock_diag")

// sockDiagByFamily is the type of requests and answers, from linux/sock_diag.h.
const sockDiagByFamily = 20

// struct inet_diag_msg of linux/inet_diag.h.
const (
	offFamily     = 0
	offState      = 1
	offLocalPort  = 4
	offRemotePort = 6
	offLocal      = 8
	offRemote     = 24
	offCookie     = 44
	offReadQueue  = 56
	offWriteQueue = 60
	sizeMessage   = 72
)

// attrInfo is INET_DIAG_INFO: the attribute that holds struct tcp_info.
const attrInfo = 2

// struct tcp_info of linux/tcp.h. It only ever grows at its end.
const (
	offRetransmits   = 2
	offOptions       = 5
	offUnacked       = 24
	offLastDataSent  = 44
	offLastDataRecv  = 52
	offRTT           = 68
	offTotalRetrans  = 100
	offBytesReceived = 128
	offSegsOut       = 136
	offSegsIn        = 140
	offNotsent       = 144
	offMinRTT        = 148
	offDataSegsIn    = 152
	offDataSegsOut   = 156
	offDeliveryRate  = 160
	offBusyTime      = 168
	offRwndLimited   = 176
	offSndbufLimited = 184
	offBytesSent     = 200
	offBytesRetrans  = 208
	endBytesRetrans  = 216
	offOutOfOrder    = 224
	offSendWindow    = 228
	endSendWindow    = 232
	sizeInfo         = endSendWindow // as much as is read of it
)

// answer is what one read from the netlink socket said beside the sockets.
type answer struct {
	done        bool // nothing comes after it
	interrupted bool // the kernel's tables changed so that some may be missing
}

// decode adds the sockets in b, one read's messages, to those in into. Messages
// of another request than seq are passed over.
func decode(b []byte, seq uint32, into []Socket) ([]Socket, answer, error) {
	var a answer
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return into, a, fmt.Errorf("%w: %d bytes where a header should be", ErrMalformed, len(b))
		}
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return into, a, fmt.Errorf("%w: a message of %d bytes in %d", ErrMalformed, size, len(b))
		}
		kind, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
		body := b[unix.SizeofNlMsghdr:size]
		if binary.NativeEndian.Uint32(b[8:]) == seq {
			a.interrupted = a.interrupted || flags&unix.NLM_F_DUMP_INTR != 0
			switch kind {
			case sockDiagByFamily:
				var err error
				if into, err = add(into, body); err != nil {
					return into, a, err
				}
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				a.done = true
				return into, a, status(body)
			case unix.NLMSG_OVERRUN:
				return into, a, unix.ENOBUFS
			}
		}
		b = b[min(len(b), align(size)):]
	}
	return into, a, nil
}

// add adds the socket in a message's body. One without struct tcp_info has no counters:
// it is what is left of a connection (FIN_WAIT2 is a kind of TIME_WAIT, too).
func add(into []Socket, body []byte) ([]Socket, error) {
	n := len(into)
	into = append(into, Socket{})
	err := into[n].decode(body)
	if err != nil || into[n].known == 0 {
		into = into[:n]
	}
	return into, err
}

// align rounds up to where the next message or attribute begins.
func align(size int) int { return (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// status reads how a dump ended: both kinds of message that end one begin with
// a negative error number, or 0.
func status(body []byte) error {
	if len(body) < 4 {
		return fmt.Errorf("%w: %d bytes where a status should be", ErrMalformed, len(body))
	}
	if n := int32(binary.NativeEndian.Uint32(body)); n < 0 {
		return unix.Errno(-n)
	}
	return nil
}

// decode reads struct inet_diag_msg and the attributes behind it.
func (s *Socket) decode(b []byte) error {
	if len(b) < sizeMessage {
		return fmt.Errorf("%w: a socket of %d bytes", ErrMalformed, len(b))
	}
	var local, remote netip.Addr
	switch b[offFamily] {
	case unix.AF_INET:
		local, remote = netip.AddrFrom4([4]byte(b[offLocal:])), netip.AddrFrom4([4]byte(b[offRemote:]))
	case unix.AF_INET6:
		local = netip.AddrFrom16([16]byte(b[offLocal:])).Unmap()
		remote = netip.AddrFrom16([16]byte(b[offRemote:])).Unmap()
	default:
		return fmt.Errorf("%w: address family %d", ErrMalformed, b[offFamily])
	}
	s.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[offLocalPort:]))
	s.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[offRemotePort:]))
	s.State = State(b[offState])
	// Two words, the lower one first on every machine.
	s.Cookie = uint64(binary.NativeEndian.Uint32(b[offCookie:])) |
		uint64(binary.NativeEndian.Uint32(b[offCookie+4:]))<<32
	s.ReadQueue = binary.NativeEndian.Uint32(b[offReadQueue:])
	s.WriteQueue = binary.NativeEndian.Uint32(b[offWriteQueue:])
	return s.decodeAttributes(b[sizeMessage:])
}

func (s *Socket) decodeAttributes(b []byte) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlAttr {
			return fmt.Errorf("%w: %d bytes where an attribute should be", ErrMalformed, len(b))
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return fmt.Errorf("%w: an attribute of %d bytes in %d", ErrMalformed, size, len(b))
		}
		if binary.NativeEndian.Uint16(b[2:]) == attrInfo {
			s.decodeInfo(b[unix.SizeofNlAttr:size])
		}
		b = b[min(len(b), align(size)):] // the last may lack its padding
	}
	return nil
}

// decodeInfo reads struct tcp_info. An older kernel's is shorter: what it lacks
// is 0.
func (s *Socket) decodeInfo(b []byte) {
	s.known = uint16(min(len(b), sizeInfo))
	if len(b) < sizeInfo {
		var whole [sizeInfo]byte
		copy(whole[:], b)
		b = whole[:]
	}
	word := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	long := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	s.Retransmits, s.Options = b[offRetransmits], b[offOptions]
	s.Unacked = word(offUnacked)
	s.LastDataSent, s.LastDataRecv = word(offLastDataSent), word(offLastDataRecv)
	s.RTT = word(offRTT)
	s.TotalRetrans = word(offTotalRetrans)
	s.BytesReceived = long(offBytesReceived)
	s.SegsOut, s.SegsIn = word(offSegsOut), word(offSegsIn)
	s.DataSegsIn, s.DataSegsOut = word(offDataSegsIn), word(offDataSegsOut)
	s.OutOfOrder = word(offOutOfOrder)
	s.NotsentBytes = word(offNotsent)
	if s.MinRTT = word(offMinRTT); s.MinRTT == ^uint32(0) {
		s.MinRTT = 0
	}
	s.DeliveryRate = long(offDeliveryRate)
	s.BusyTime, s.RwndLimited, s.SndbufLimited = long(offBusyTime), long(offRwndLimited), long(offSndbufLimited)
	s.BytesSent, s.BytesRetrans = long(offBytesSent), long(offBytesRetrans)
	s.SendWindow = word(offSendWindow)
}
