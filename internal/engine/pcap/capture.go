package pcap

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcap"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// capture is a libpcap handle that is read by one goroutine and asked for its
// statistics by others.
type capture struct {
	handle  *pcap.Handle
	pump    *pump
	link    int
	timeout time.Duration
	slots   int           // about how many packets the ring has room for
	lag     time.Duration // how long a packet may rest in it without being readable
	pause   time.Duration // the longest time that the pump does not look at it

	mu     sync.Mutex // guards what follows, and handle and pump against being closed
	closed bool
	final  stats // when it was closed
	known  bool  // final is
}

// stats are what pcap_stats says, each modulo 2^32.
type stats struct {
	received, dropped, missed uint32
}

func (c *capture) stats() (stats, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.final, c.known
	}
	return c.ask()
}

func (c *capture) ask() (stats, bool) {
	s, err := c.handle.Stats()
	if err != nil {
		return stats{}, false
	}
	return stats{uint32(s.PacketsReceived), uint32(s.PacketsDropped), uint32(s.PacketsIfDropped)}, true
}

func (c *capture) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.final, c.known = c.ask()
		c.closed = true
		c.pump.close()
		c.handle.Close()
	}
}

// flush asks for everything that is readable by now to be taken. It gives false
// if nothing is read any more.
func (c *capture) flush() (question uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, false
	}
	return c.pump.ask(), true
}

// interrupt has the reader look at what it is to do.
func (c *capture) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.pump.interrupt()
	}
}

// explain gives libpcap's own words for a failed read.
func (c *capture) explain() error {
	return fmt.Errorf("reading packets: %w", c.handle.Error())
}

// roomFor is how many packets a ring has to have room for. libpcap divides it
// into slots of one packet each if it is to hand out packets at once. Where that
// gives too few, it is filled in blocks of a quarter of a megabyte that become
// readable when they are full or the timeout has passed.
const roomFor = 512

// slot is about what a packet takes beside its captured bytes.
const slot = 80

// open begins to capture on a device, not promiscuously, and filters in the kernel.
// What arrives before the filter is in place is dropped by libpcap.
func open(s Settings, d engine.Device, port uint16, dir direction) (r *reader, err error) {
	r = &reader{dir: dir}
	r.timeout, r.slots = s.Timeout, s.BufferSize/(s.Snaplen+slot)
	immediate := r.slots >= roomFor
	if !immediate {
		// A block that was begun just after the timer ran out waits for it twice.
		r.lag = 2 * s.Timeout
		r.slots = s.BufferSize / (min(s.Snaplen, typical) + slot)
	}
	r.pause = longestPause(r.slots)
	err = capability.With([]capability.Cap{capability.NetRaw}, func() (err error) {
		r.handle, err = activate(s, d.Name, immediate)
		return err
	})
	if err != nil {
		return nil, unusable(err)
	}
	if err = r.filter(port); err == nil {
		r.pump, err = newPump(&r.capture, s.Snaplen)
	}
	if err != nil {
		r.handle.Close()
		return nil, err
	}
	return r, nil
}

// typical is what a packet takes of a block, where it is not cut off.
const typical = 1500

// longestPause gives the longest time to let a ring fill without being read. In
// it 150,000 packets a second do not overfill it.
func longestPause(slots int) time.Duration {
	full := time.Duration(slots) * time.Second / 150_000
	return min(max(full.Truncate(time.Millisecond), time.Millisecond), 32*time.Millisecond)
}

func activate(s Settings, device string, immediate bool) (*pcap.Handle, error) {
	h, err := pcap.NewInactiveHandle(device)
	if err != nil {
		return nil, err
	}
	defer h.CleanUp()
	if err := errors.Join(
		h.SetSnapLen(s.Snaplen),
		h.SetPromisc(false),
		h.SetTimeout(s.Timeout),
		h.SetBufferSize(s.BufferSize),
		h.SetImmediateMode(immediate),
	); err != nil {
		return nil, err
	}
	return h.Activate()
}

// filter has the kernel pass on what may be the server's, and libpcap one
// direction of it.
func (r *reader) filter(port uint16) error {
	r.link = int(r.handle.LinkType())
	switch r.link {
	case linkEthernet, linkRaw, linkCooked, linkCooked2, linkIPv4, linkIPv6:
	default:
		return fmt.Errorf("link type %s is not known", layers.LinkType(r.link))
	}
	core := expression(port, r.dir)
	if err := r.handle.SetBPFFilter(tagged(core)); err != nil {
		// Not every link type can have tags.
		if err := r.handle.SetBPFFilter(core); err != nil {
			return fmt.Errorf("setting the filter: %w", err)
		}
	}
	var err error
	switch r.dir {
	case inward:
		err = r.handle.SetDirection(pcap.DirectionIn)
	case outward:
		err = r.handle.SetDirection(pcap.DirectionOut)
	case both:
	}
	if err != nil {
		return fmt.Errorf("setting the direction: %w", err)
	}
	return nil
}

// expression is a filter for the packets of a port, and for those whose port is
// not where a filter finds it: later fragments, and behind extension headers.
func expression(port uint16, dir direction) string {
	end := map[direction]string{inward: "dst", outward: "src", both: ""}[dir]
	terms := []string{
		fmt.Sprintf("tcp %s port %d", end, port),
		"(ip proto 6 and ip[6:2] & 0x1fff != 0)",
		fmt.Sprintf("ip proto %d", protoAuth),
	}
	for _, next := range []int{
		protoHopByHop, protoRouting, protoFragment, protoAuth, protoDestination, protoMobility,
	} {
		terms = append(terms, fmt.Sprintf("ip6 proto %d", next))
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

// tagged gives a filter for what another one passes, with up to two VLAN tags.
func tagged(core string) string {
	return fmt.Sprintf("%s or (vlan and (%s or (vlan and %s)))", core, core, core)
}

// unusable says what is missing if libpcap was refused.
func unusable(err error) error {
	refused := len(capability.Missing(capability.NetRaw)) > 0 ||
		strings.Contains(err.Error(), "Permission") || strings.Contains(err.Error(), "permission")
	if !refused {
		return err
	}
	return missing(err)
}

func missing(err error) error {
	path, pathErr := os.Executable()
	if pathErr != nil {
		path = "pg_netstat-agent"
	}
	return &engine.Missing{
		What: "the capability " + capability.NetRaw.String(),
		Hint: "Run as root: setcap cap_net_raw,cap_bpf+p " + path,
		Err:  err,
	}
}

// probe tells whether packets may be captured at all, on whatever device.
func probe() error {
	return capability.With([]capability.Cap{capability.NetRaw}, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
			return missing(err)
		case err != nil:
			return &engine.Missing{What: "packet sockets", Hint: "The kernel needs CONFIG_PACKET.", Err: err}
		}
		return unix.Close(fd)
	})
}
