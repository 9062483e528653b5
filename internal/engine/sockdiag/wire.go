package sockdiag

import (
	"net/netip"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Bytes of headers. Options of TCP other than time stamps are in the first packet of
// each side (MSS, window scale, selective acknowledgments: 8 more than time stamps
// alone), and where something is acknowledged selectively, which is not known.
const (
	headerIPv4     = 20
	headerIPv6     = 40
	headerTCP      = 20
	timestamps     = 12
	handshake      = 8  // more in a SYN with time stamps
	handshakePlain = 12 // more in one without: MSS, window scale, selective acknowledgments
)

// wire computes the packets that carried what sessions did, and their bytes.
//
// The kernel counts a session's segments from its SYN on, but not its own answer to
// that; and the counts are read while the session's end is still to come: at least
// the server's FIN and the client's acknowledgment of it.
func wire(c engine.Counted, client netip.Addr, local netip.Addr, linkHeader int, stamps bool) engine.Counts {
	header := int64(linkHeader + headerTCP)
	if local.Is6() || client.Is6() {
		header += headerIPv6
	} else {
		header += headerIPv4
	}
	first := int64(handshakePlain)
	if stamps {
		header += timestamps
		first = handshake
	}
	in := c.SegmentsIn + c.Closed
	out := c.SegmentsOut + c.Opened + c.Closed
	return engine.Counts{
		PacketsIn:  positive(in),
		PacketsOut: positive(out),
		BytesIn:    positive(c.PayloadIn + in*header + c.Opened*first),
		BytesOut:   positive(c.PayloadOut + c.RetransmittedBytes + out*header + c.Opened*first),
	}
}

// positive gives n, or 0 if it is below: a part of what was taken back may belong to
// another flow, if the flows had no room for all clients.
func positive(n int64) uint64 { return uint64(max(n, 0)) }
