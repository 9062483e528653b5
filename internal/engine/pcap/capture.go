package pcap

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcap"

	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// direction is which packets of a device a capture sees.
type direction uint8

const (
	inward  direction = iota // coming in, so toward the server
	outward                  // going out, so from it
	both                     // loopback, where libpcap shows each packet once
)

// directions gives the captures that a device needs: libpcap does not tell which
// way a packet went on an Ethernet device, but it can leave out one way.
func directions(d engine.Device) []direction {
	if d.Loopback {
		return []direction{both}
	}
	return []direction{inward, outward}
}

// captures are the libpcap handles of a device, which a pump reads and others ask
// for statistics.
type captures struct {
	link int
	dirs []direction
	ring ring

	mu      sync.Mutex // guards what follows, and pump against being closed
	handles []*pcap.Handle
	pump    *pump
	closed  bool
	final   losses
}

// ring is how the buffer of a capture is used.
type ring struct {
	immediate bool          // packets can be read at once
	slots     int           // about how many packets it has room for
	lag       time.Duration // how long one may rest in it without being readable
	pause     time.Duration // the longest time not to look at it
	timeout   time.Duration // the longest time to wait for a packet
}

const (
	// roomFor is how many packets a ring has to have room for. libpcap divides it
	// into slots of one packet each if it is to hand out packets at once. Where
	// that gives too few, it is filled in blocks of a quarter of a megabyte that
	// become readable when they are full or the timeout has passed.
	roomFor = 512
	// slot is about what a packet takes beside its captured bytes.
	slot = 80
	// typical is what a packet takes of a block, where it is not cut off.
	typical = 1500
)

func newRing(s Settings) ring {
	r := ring{slots: s.BufferSize / (s.Snaplen + slot), timeout: s.Timeout}
	r.immediate = r.slots >= roomFor
	if !r.immediate {
		// A block that was begun just after the timer ran out waits for it twice.
		r.lag = 2 * s.Timeout
		r.slots = s.BufferSize / (min(s.Snaplen, typical) + slot)
	}
	// In the longest pause 800,000 packets a second do not overfill it.
	full := time.Duration(r.slots) * time.Second / 800_000
	r.pause = min(max(full.Truncate(time.Millisecond), time.Millisecond), 10*time.Millisecond)
	return r
}

// open begins to capture on a device, not promiscuously, and filters in the kernel.
// What arrives before the filter is in place is dropped by libpcap.
func open(s Settings, d engine.Device, port uint16) (*captures, error) {
	c := &captures{dirs: directions(d), ring: newRing(s)}
	for _, dir := range c.dirs {
		var h *pcap.Handle
		err := capability.With([]capability.Cap{capability.NetRaw}, func() (err error) {
			h, err = activate(s, d.Name, c.ring.immediate)
			return err
		})
		if err != nil {
			c.closeHandles()
			return nil, unusable(err)
		}
		c.handles = append(c.handles, h)
		if err := c.filter(h, port, dir); err != nil {
			c.closeHandles()
			return nil, err
		}
	}
	var err error
	if c.pump, err = newPump(c.handles, s.Snaplen, c.ring); err != nil {
		c.closeHandles()
		return nil, err
	}
	return c, nil
}

func (c *captures) closeHandles() {
	for _, h := range c.handles {
		h.Close()
	}
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
func (c *captures) filter(h *pcap.Handle, port uint16, dir direction) error {
	c.link = int(h.LinkType())
	switch c.link {
	case linkEthernet, linkRaw, linkCooked, linkCooked2, linkIPv4, linkIPv6:
	default:
		return fmt.Errorf("link type %s is not known", layers.LinkType(c.link))
	}
	core := expression(port, dir)
	if err := h.SetBPFFilter(tagged(core)); err != nil {
		// Not every link type can have tags.
		if err := h.SetBPFFilter(core); err != nil {
			return fmt.Errorf("setting the filter: %w", err)
		}
	}
	var err error
	switch dir {
	case inward:
		err = h.SetDirection(pcap.DirectionIn)
	case outward:
		err = h.SetDirection(pcap.DirectionOut)
	case both:
	}
	if err != nil {
		return fmt.Errorf("setting the direction: %w", err)
	}
	return nil
}

// losses are the packets that pcap_stats says were dropped, modulo 2^32.
type losses struct {
	dropped [2]uint32 // for want of room in each capture's buffer; of both directions, copies
	missed  uint32    // by the device
}

// losses gives those up to now.
func (c *captures) losses() losses {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.final
	}
	return c.ask()
}

func (c *captures) ask() losses {
	l := c.final
	for i, h := range c.handles {
		s, err := h.Stats()
		if err != nil {
			continue
		}
		l.dropped[i] = uint32(s.PacketsDropped)
		if i == 0 {
			l.missed = uint32(s.PacketsIfDropped)
		}
	}
	c.final = l
	return l
}

func (c *captures) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.ask()
		c.closed = true
		c.pump.close()
		c.closeHandles()
	}
}

// flush asks for everything that is readable by now to be taken. It gives false
// if nothing is read any more.
func (c *captures) flush() (question uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, false
	}
	return c.pump.ask(), true
}

// interrupt has the reader look at what it is to do.
func (c *captures) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.pump.interrupt()
	}
}

// explain gives libpcap's own words for why a capture failed.
func (c *captures) explain(capture int) error {
	return fmt.Errorf("reading packets: %w", c.handles[capture].Error())
}
