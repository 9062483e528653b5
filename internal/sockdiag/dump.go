package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// readSize is as much as the kernel gives at once.
	readSize = 32768
	// tries bounds how often a dump is begun anew that the kernel says is not whole.
	tries = 4
	// patience is how long an answer may take that the kernel makes at once, in seconds.
	patience = 5
)

// states are those that are asked for: not LISTEN, and neither TIME_WAIT nor
// SYN_RECV, which have no counters and of which a flood makes many.
const states = 1<<Established | 1<<FinWait1 | 1<<FinWait2 | 1<<CloseWait | 1<<LastAck | 1<<Closing

// struct inet_diag_req_v2 behind the netlink header.
const (
	offReqFamily   = unix.SizeofNlMsghdr
	offReqProtocol = offReqFamily + 1
	offReqExt      = offReqFamily + 2
	offReqStates   = offReqFamily + 4
	offReqPort     = offReqFamily + 8
	sizeRequest    = unix.SizeofNlMsghdr + 56
)

// Dumper asks the kernel for the connections of the network namespace in which
// it was opened. It is for one goroutine at a time. After an error it is opened anew,
// by the thread that dumps then.
type Dumper struct {
	fd      int
	seq     uint32
	request [sizeRequest]byte
	buf     [readSize]byte
}

// New makes a Dumper that is opened at the first dump.
func New() *Dumper { return &Dumper{fd: -1} }

// Open makes a Dumper in the calling thread's network namespace.
func Open() (*Dumper, error) {
	d := New()
	var err error
	if d.fd, err = open(); err != nil {
		return nil, err
	}
	return d, nil
}

func open() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return -1, fmt.Errorf("opening a sock_diag socket: %w", err)
	}
	// Nobody but the kernel, whose number is 0, is heard on a connected one.
	if err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience})
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("setting up a sock_diag socket: %w", err)
	}
	return fd, nil
}

// Close frees the socket.
func (d *Dumper) Close() error {
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	return unix.Close(fd)
}

// Dump gives the connections whose local port is port, IPv4 and IPv6, in into
// from its start. A connection that opens, closes or moves in the kernel's
// tables meanwhile may be missing or, very seldom, be there twice. After an error
// what is returned is not whole, and Dump may be called again.
func (d *Dumper) Dump(port uint16, into []Socket) ([]Socket, error) {
	into = into[:0]
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		var err error
		if into, err = d.family(family, port, into); err != nil {
			return into, fmt.Errorf("dumping the connections of port %d: %w", port, err)
		}
	}
	return into, nil
}

// family adds one family's connections.
func (d *Dumper) family(family uint8, port uint16, into []Socket) ([]Socket, error) {
	start := len(into)
	for try := 1; ; try++ {
		var interrupted bool
		var err error
		into, interrupted, err = d.once(family, port, into[:start])
		switch {
		case err == nil && (!interrupted || try == tries):
			return into, nil // what is missing after that will be in the next one
		case err == nil:
		case family == unix.AF_INET6 && errors.Is(err, unix.ENOENT):
			return into[:start], nil // a kernel without IPv6
		case !errors.Is(err, unix.ENOBUFS) || try == tries:
			return into[:start], err
		}
	}
}

// once asks once. What is left of a dump that failed ends with its socket.
func (d *Dumper) once(family uint8, port uint16, into []Socket) (_ []Socket, interrupted bool, err error) {
	if d.fd < 0 {
		if d.fd, err = open(); err != nil {
			return into, false, err
		}
	}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	d.seq++
	if err := d.ask(family, port); err != nil {
		return into, false, fmt.Errorf("asking sock_diag: %w", err)
	}
	for {
		b, err := d.read()
		if err != nil {
			return into, false, err
		}
		var a answer
		into, a, err = decode(b, d.seq, into)
		interrupted = interrupted || a.interrupted
		if err != nil || a.done {
			return into, interrupted, err
		}
	}
}

// ask begins a dump. The kernel itself passes over sockets of other ports, so
// a filter (INET_DIAG_REQ_BYTECODE) would only repeat that.
func (d *Dumper) ask(family uint8, port uint16) error {
	r := d.request[:]
	binary.NativeEndian.PutUint32(r, sizeRequest)
	binary.NativeEndian.PutUint16(r[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(r[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(r[8:], d.seq)
	r[offReqFamily], r[offReqProtocol] = family, unix.IPPROTO_TCP
	r[offReqExt] = 1 << (attrInfo - 1)
	binary.NativeEndian.PutUint32(r[offReqStates:], states)
	binary.BigEndian.PutUint16(r[offReqPort:], port)
	_, err := unix.Write(d.fd, r)
	return err
}

// read gives the messages that the kernel has ready.
func (d *Dumper) read() ([]byte, error) {
	for {
		// With MSG_TRUNC the length is the answer's, also if the buffer is smaller.
		n, _, err := unix.Recvfrom(d.fd, d.buf[:], unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("reading from sock_diag: %w", err)
		case n > len(d.buf):
			return nil, fmt.Errorf("%w: %d bytes at once", ErrMalformed, n)
		case n == 0:
			return nil, fmt.Errorf("%w: it is empty", ErrMalformed)
		}
		return d.buf[:n], nil
	}
}
