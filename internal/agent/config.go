package agent

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/device"
)

// Config is what the server's settings say, in the units of Go.
type Config struct {
	Port            uint16
	PostmasterPID   int
	ListenAddresses string

	Engine      string // auto, ebpf, pcap or sockdiag
	Devices     device.Wish
	Interval    time.Duration
	History     int // complete intervals kept per device
	Refresh     time.Duration
	MaxEntries  int
	Networks    string // name=CIDR, separated by commas
	PacketWait  time.Duration
	PcapBuffer  int // bytes
	PcapSnaplen int // bytes
	PcapTimeout time.Duration
}

// parser takes values out of the worker's configuration and gathers what is
// wrong with them.
type parser struct {
	values map[string]string
	errs   []error
}

func (p *parser) text(name string) string {
	v, ok := p.values[name]
	if !ok {
		p.errs = append(p.errs, fmt.Errorf("the server does not say %s", name))
	}
	return v
}

func (p *parser) number(name string, low, high int) int {
	v := p.text(name)
	n, err := strconv.Atoi(v)
	if err == nil && (n < low || n > high) {
		err = fmt.Errorf("out of range %d to %d", low, high)
	}
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s = %q: %w", name, v, err))
		return low
	}
	return n
}

func (p *parser) flag(name string) bool {
	v := p.text(name)
	if v != "on" && v != "off" {
		p.errs = append(p.errs, fmt.Errorf("%s = %q is neither on nor off", name, v))
	}
	return v == "on"
}

// ParseConfig reads the worker's configuration. Its errors mean that module
// and agent do not fit together: the module has checked ranges already.
func ParseConfig(values map[string]string) (Config, error) {
	p := parser{values: values}
	c := Config{
		Port:            uint16(p.number("port", 1, 65535)),
		PostmasterPID:   p.number("postmaster_pid", 1, 1<<31-1),
		ListenAddresses: p.text("listen_addresses"),
		Engine:          p.text("pg_netstat.engine"),
		Interval:        time.Duration(p.number("pg_netstat.interval", 1, 900000)) * time.Second,
		History:         p.number("pg_netstat.history", 1, 86400),
		Refresh:         time.Duration(p.number("pg_netstat.refresh_interval", 1, 3600)) * time.Second,
		Networks:        p.text("pg_netstat.networks"),
		MaxEntries:      p.number("pg_netstat.max_entries", 100, 1000000),
		PacketWait:      time.Duration(p.number("pg_netstat.packet_wait_time", 0, 10)) * time.Second,
		PcapBuffer:      p.number("pg_netstat.pcap_buffer_size", 131070, 90000000),
		PcapSnaplen:     p.number("pg_netstat.pcap_snaplen", 96, 65535),
		PcapTimeout:     time.Duration(p.number("pg_netstat.pcap_timeout", 1, 30000)) * time.Millisecond,
	}
	wish := p.text("pg_netstat.device")
	if older := p.text("pg_netstat.devices"); strings.TrimSpace(older) != "" {
		wish = older
	}
	c.Devices = device.ParseWish(wish, p.flag("pg_netstat.capture_loopback"))
	return c, errors.Join(p.errs...)
}

// CheckDevices says what is wrong with a wish for devices that no device that
// may yet come could fulfil.
func CheckDevices(names []string) error {
	for _, name := range names {
		switch {
		case (name == device.Auto || name == device.All) && len(names) > 1:
			return fmt.Errorf("%q stands for a list of devices and cannot be part of one", name)
		case len(name) >= unix.IFNAMSIZ:
			return fmt.Errorf("%q is longer than the %d bytes that a device's name can have", name, unix.IFNAMSIZ-1)
		case name == "." || name == ".." || strings.ContainsAny(name, "/:\" \t\n\v\f\r"):
			return fmt.Errorf("%q cannot be the name of a device", name)
		}
	}
	return nil
}
