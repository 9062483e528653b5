package engine

import "net/netip"

// Counted is what sessions carried, as their kernel and backends tell it. Payload is
// each byte once; segments are packets with all that were sent again. It is signed so
// that something may be taken back.
type Counted struct {
	Opened, Closed          int64 // connections, also those that failed
	PayloadIn, PayloadOut   int64
	SegmentsIn, SegmentsOut int64
	RetransmittedBytes      int64 // payload sent again
}

// Add adds o to c.
func (c *Counted) Add(o Counted) {
	c.Opened += o.Opened
	c.Closed += o.Closed
	c.PayloadIn += o.PayloadIn
	c.PayloadOut += o.PayloadOut
	c.SegmentsIn += o.SegmentsIn
	c.SegmentsOut += o.SegmentsOut
	c.RetransmittedBytes += o.RetransmittedBytes
}

// Sub gives c without o.
func (c Counted) Sub(o Counted) Counted {
	c.Add(Counted{
		-o.Opened, -o.Closed, -o.PayloadIn, -o.PayloadOut, -o.SegmentsIn, -o.SegmentsOut, -o.RetransmittedBytes,
	})
	return c
}

// Flow is what sessions between two addresses carried.
type Flow struct {
	Local  netip.Addr
	Client netip.Addr // the zero Addr for those that are not told apart
	Counted
}

// Traffic tells what the sessions carry. It is called on the goroutine that calls
// Source.Cut.
type Traffic interface {
	// Take gives what was carried since it was called last, each pair of addresses
	// once; the first time nothing.
	Take() []Flow
	// Stop says that nobody takes it any more, so that nothing need be kept.
	Stop()
}
