// Package link is the language that the worker in the server and the agent
// speak over their socketpair: frames, and in some of them snapshots.
//
// A frame is a 32-bit length that counts what follows it, one byte of type,
// and a body. Integers are big endian; a string is a 32-bit length and its
// bytes; a time is microseconds since 2000-01-01 00:00 UTC, PostgreSQL's own.
// The C side of it is extension/src/frame.h.
package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Protocol is the version of the frames. Each side names its own in its first
// frame and serves no other.
const Protocol = 2

// Types of frames from the worker.
const (
	TypeHello    = 'H'
	TypeConfig   = 'C'
	TypeRestore  = 'S'
	TypeRestored = 'T'
	TypeEvent    = 'E'
	TypeLive     = 'L'
	TypeEnded    = 'X'
	TypeTaken    = 'K'
	TypeReset    = 'Z'
	TypeQuit     = 'Q'
)

// Types of frames from the agent.
const (
	TypeAgentHello = 'h'
	TypeTake       = 't'
	TypeSnapshot   = 's'
	TypePublish    = 'p'
	TypeLog        = 'l'
	TypeBeat       = 'b'
)

// FrameRoom is what a frame may be longer than the largest set of snapshots.
const FrameRoom = 65536

// firstMax bounds the frames before the worker's hello says the real bound.
const firstMax = FrameRoom

// ErrFrame is in the chain of every error that means the other side broke the
// format, as opposed to an error of the socket.
var ErrFrame = errors.New("malformed frame")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFrame, fmt.Sprintf(format, args...))
}

// Reader reads frames.
type Reader struct {
	r   io.Reader
	max uint32
}

// NewReader reads frames from r. Until Limit is called they must be short.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, max: firstMax} }

// Limit sets the length of the longest frame to accept, FrameRoom more than a
// set of snapshots may have.
func (r *Reader) Limit(set uint64) {
	const most = 1<<31 - 1
	r.max = uint32(min(set, most-FrameRoom) + FrameRoom)
}

// Next returns the next frame's type and body. The error is io.EOF if the
// other side closed the socket between two frames.
func (r *Reader) Next() (byte, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r.r, head[:4]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:4])
	if n == 0 || n > r.max {
		return 0, nil, malformed("length %d, from 1 to %d allowed", n, r.max)
	}
	if _, err := io.ReadFull(r.r, head[4:]); err != nil {
		return 0, nil, noEOF(err)
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r.r, body); err != nil {
		return 0, nil, noEOF(err)
	}
	return head[4], body, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// frame builds one frame of type t in a buffer.
type frame []byte

func newFrame(t byte, room int) frame {
	return append(make(frame, 0, 5+room), 0, 0, 0, 0, t)
}

func (f frame) u8(v byte) frame    { return append(f, v) }
func (f frame) u32(v uint32) frame { return binary.BigEndian.AppendUint32(f, v) }
func (f frame) u64(v uint64) frame { return binary.BigEndian.AppendUint64(f, v) }

func (f frame) u64s(v ...uint64) frame {
	for _, n := range v {
		f = f.u64(n)
	}
	return f
}

func (f frame) str(s string) frame { return append(f.u32(uint32(len(s))), s...) }

// bytes sets the length and gives the frame as it goes out.
func (f frame) bytes() []byte {
	binary.BigEndian.PutUint32(f, uint32(len(f)-4))
	return f
}

// body takes a frame's body apart. After the first field that does not fit,
// every further one is zero and err says which it was.
type body struct {
	b   []byte
	err error
}

func (b *body) take(n uint64, what string) []byte {
	if b.err != nil {
		return nil
	}
	if n > uint64(len(b.b)) {
		b.err = malformed("%s needs %d bytes, %d left", what, n, len(b.b))
		return nil
	}
	v := b.b[:n]
	b.b = b.b[n:]
	return v
}

func (b *body) u8(what string) byte {
	if v := b.take(1, what); v != nil {
		return v[0]
	}
	return 0
}

func (b *body) u16(what string) uint16 {
	if v := b.take(2, what); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (b *body) u32(what string) uint32 {
	if v := b.take(4, what); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (b *body) u64(what string) uint64 {
	if v := b.take(8, what); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (b *body) u64s(what string, to ...*uint64) {
	for _, n := range to {
		*n = b.u64(what)
	}
}

func (b *body) str(what string) string {
	return string(b.take(uint64(b.u32(what)), what))
}

// end gives the first error, which may be that something is left.
func (b *body) end() error {
	if b.err == nil && len(b.b) > 0 {
		b.err = malformed("%d bytes too many", len(b.b))
	}
	return b.err
}

// epoch is where PostgreSQL's timestamps begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func toMicros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return (t.Unix()-epoch.Unix())*1e6 + int64(t.Nanosecond())/1e3
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.Unix(epoch.Unix()+us/1e6, us%1e6*1e3).UTC()
}
