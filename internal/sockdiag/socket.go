// Package sockdiag reads the state of the server's TCP connections from the
// kernel, all of them by one netlink dump for each address family. It needs no
// privilege. The decoder is its own, over the raw messages: there may be ten
// thousand connections each second.
package sockdiag

import (
	"fmt"
	"net/netip"
)

// State is a connection's, as in net/tcp_states.h.
type State uint8

// The states of a socket that has been a connection.
const (
	Established State = 1
	FinWait1    State = 4
	FinWait2    State = 5
	CloseWait   State = 8
	LastAck     State = 9
	Closing     State = 11
)

// String gives the name that ss has for the state.
func (s State) String() string {
	switch s {
	case Established:
		return "ESTAB"
	case FinWait1:
		return "FIN-WAIT-1"
	case FinWait2:
		return "FIN-WAIT-2"
	case CloseWait:
		return "CLOSE-WAIT"
	case LastAck:
		return "LAST-ACK"
	case Closing:
		return "CLOSING"
	default:
		return fmt.Sprintf("state %d", uint8(s))
	}
}

// Bits of Socket.Options, from linux/tcp.h.
const (
	OptionTimestamps = 1 << 0
	OptionSACK       = 1 << 1
	OptionWindow     = 1 << 2
)

// Socket is one connection at the moment of the dump. Figures that an older
// kernel does not tell are 0; see Complete.
type Socket struct {
	Cookie  uint64 // what SO_COOKIE gives for the socket
	Local   netip.AddrPort
	Remote  netip.AddrPort
	State   State
	Options uint8  // OptionTimestamps …
	known   uint16 // bytes of struct tcp_info that the kernel told

	// ReadQueue are bytes that the server has not read, WriteQueue those that it
	// wrote and that are not acknowledged. A FIN in a queue counts as one.
	ReadQueue  uint32
	WriteQueue uint32

	// BytesReceived counts a FIN as one; BytesSent has what was sent again.
	BytesReceived uint64
	BytesSent     uint64
	BytesRetrans  uint64
	SegsIn        uint32 // wrap around
	SegsOut       uint32
	DataSegsIn    uint32 // of SegsIn, those with payload
	DataSegsOut   uint32
	OutOfOrder    uint32 // of DataSegsIn, those that came before one they follow
	TotalRetrans  uint32 // segments
	Retransmits   uint8  // how often in a row something was sent again without an answer

	Unacked      uint32 // segments
	NotsentBytes uint32
	SendWindow   uint32 // bytes that the client has room for; since Linux 5.4
	DeliveryRate uint64 // bytes per second

	RTT           uint32 // µs
	MinRTT        uint32 // µs; the kernel's ^0 for "none yet" is 0 here
	BusyTime      uint64 // µs with data to send
	RwndLimited   uint64 // µs of it that the client's receive window was full
	SndbufLimited uint64 // µs of it that the send buffer was full
	LastDataSent  uint32 // ms ago
	LastDataRecv  uint32 // ms ago
}

// Complete tells whether the kernel told everything that In and Out are made of
// (Linux 4.19 does).
func (s *Socket) Complete() bool { return s.known >= endBytesRetrans }

// WindowKnown tells whether SendWindow is the kernel's (Linux 5.4).
func (s *Socket) WindowKnown() bool { return s.known >= endSendWindow }

// In gives the payload received, without the FIN that BytesReceived has.
func (s *Socket) In() uint64 {
	switch s.State {
	case CloseWait, LastAck, Closing:
		return s.BytesReceived - min(s.BytesReceived, 1)
	default:
		return s.BytesReceived
	}
}

// Out gives the payload sent, each byte once.
func (s *Socket) Out() uint64 { return s.BytesSent - min(s.BytesSent, s.BytesRetrans) }

// UnacknowledgedBytes gives what was sent and is not acknowledged.
func (s *Socket) UnacknowledgedBytes() uint32 {
	return s.WriteQueue - min(s.WriteQueue, s.NotsentBytes)
}

// Known gives s as a kernel tells it that knows every figure, for those who make
// sockets themselves.
func Known(s Socket) Socket {
	s.known = sizeInfo
	return s
}
