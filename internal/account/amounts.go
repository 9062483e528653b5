package account

import "github.com/pg-netstat/pg_netstat/internal/link"

// Usage is what sessions did, and what the engine saw on the wire. The numbers
// are signed, since a part of a sum may be negative.
type Usage struct {
	Sessions, Failed                          int64
	BytesIn, BytesOut                         int64 // payload
	SegmentsIn, SegmentsOut                   int64
	RetransmittedBytes, RetransmittedSegments int64
	PacketsIn, PacketsOut, WireIn, WireOut    int64 // of the wire, link headers included
}

// Plus adds up.
func (u Usage) Plus(o Usage) Usage {
	u.Sessions += o.Sessions
	u.Failed += o.Failed
	u.BytesIn += o.BytesIn
	u.BytesOut += o.BytesOut
	u.SegmentsIn += o.SegmentsIn
	u.SegmentsOut += o.SegmentsOut
	u.RetransmittedBytes += o.RetransmittedBytes
	u.RetransmittedSegments += o.RetransmittedSegments
	u.PacketsIn += o.PacketsIn
	u.PacketsOut += o.PacketsOut
	u.WireIn += o.WireIn
	u.WireOut += o.WireOut
	return u
}

// Minus takes away.
func (u Usage) Minus(o Usage) Usage {
	u.Sessions -= o.Sessions
	u.Failed -= o.Failed
	u.BytesIn -= o.BytesIn
	u.BytesOut -= o.BytesOut
	u.SegmentsIn -= o.SegmentsIn
	u.SegmentsOut -= o.SegmentsOut
	u.RetransmittedBytes -= o.RetransmittedBytes
	u.RetransmittedSegments -= o.RetransmittedSegments
	u.PacketsIn -= o.PacketsIn
	u.PacketsOut -= o.PacketsOut
	u.WireIn -= o.WireIn
	u.WireOut -= o.WireOut
	return u
}

func (u Usage) flow() Flow { return Flow{u.BytesIn, u.BytesOut} }

// weight decides which rows are the least useful: bytes first, and connections
// where there are none.
func (u Usage) weight() int64 {
	return u.BytesIn + u.BytesOut + u.WireIn + u.WireOut + u.Sessions + u.Failed
}

// UsageOf gives the payload of a connection.
func UsageOf(t link.Traffic) Usage {
	return Usage{
		BytesIn: int64(t.BytesIn), BytesOut: int64(t.BytesOut),
		SegmentsIn: int64(t.SegmentsIn), SegmentsOut: int64(t.SegmentsOut),
		RetransmittedBytes: int64(t.RetransmittedBytes), RetransmittedSegments: int64(t.RetransmittedSegments),
	}
}

// Calls is what statements sent and took.
type Calls struct {
	Calls, BytesOut, Messages, Rows, BytesIn int64
	MaxBytes                                 int64 // of one call; the larger one where two are added
}

// Plus adds up.
func (c Calls) Plus(o Calls) Calls {
	c.Calls += o.Calls
	c.BytesOut += o.BytesOut
	c.Messages += o.Messages
	c.Rows += o.Rows
	c.BytesIn += o.BytesIn
	c.MaxBytes = max(c.MaxBytes, o.MaxBytes)
	return c
}

// Minus takes away, but of a maximum nothing.
func (c Calls) Minus(o Calls) Calls {
	c.Calls -= o.Calls
	c.BytesOut -= o.BytesOut
	c.Messages -= o.Messages
	c.Rows -= o.Rows
	c.BytesIn -= o.BytesIn
	return c
}

func (c Calls) flow() Flow    { return Flow{c.BytesIn, c.BytesOut} }
func (c Calls) weight() int64 { return c.BytesOut + c.BytesIn + c.Calls }
