// Package sockdiag is the engine for an agent without any capability: it sees no
// packet, but computes from what the kernel and the backends tell of each session what
// packets carried it.
package sockdiag

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// Source derives packets from sessions.
type Source struct {
	traffic engine.Traffic
	stamps  bool // the host's TCP has time stamps
	target  engine.Target
	period  period
}

var _ engine.Source = (*Source)(nil)

// period is what has been counted since the last cut.
type period struct {
	devices map[string]*engine.Counts // each that was a target
	clients map[netip.Addr]*engine.Counts
	other   engine.Counts
}

// Open makes a source that counts what traffic tells from now on.
func Open(traffic engine.Traffic, t engine.Target) (*Source, error) {
	if traffic == nil {
		return nil, &engine.Missing{What: "sessions to derive packets from"}
	}
	if err := probe(t.Port); err != nil {
		return nil, &engine.Missing{
			What: "sock_diag", Err: err,
			Hint: "The kernel needs CONFIG_INET_DIAG and CONFIG_INET_TCP_DIAG (modules inet_diag and tcp_diag).",
		}
	}
	s := &Source{traffic: traffic, stamps: timestampsOn()}
	traffic.Take() // what was carried before belongs to nobody here
	s.begin()
	return s, s.Retarget(t)
}

// probe tells whether the kernel lists connections here, with their counters.
func probe(port uint16) error {
	d, err := sockdiag.Open()
	if err != nil {
		return err
	}
	defer d.Close()
	sockets, err := d.Dump(port, nil)
	if err != nil {
		return err
	}
	for i := range sockets {
		if !sockets[i].Complete() {
			return fmt.Errorf("this kernel does not tell the bytes that a connection has sent (Linux 4.19 does)")
		}
	}
	return nil
}

// timestampsOn tells whether connections have time stamps, if the client's system
// agrees, which every usual one does.
func timestampsOn() bool {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_timestamps")
	return err != nil || strings.TrimSpace(string(b)) != "0"
}

func (s *Source) begin() {
	s.period = period{devices: map[string]*engine.Counts{}, clients: map[netip.Addr]*engine.Counts{}}
	for _, d := range s.target.Devices {
		s.period.devices[d.Name] = &engine.Counts{}
	}
}

// Retarget changes where traffic is counted. What was carried until now counts where
// it did.
func (s *Source) Retarget(t engine.Target) error {
	s.collect()
	s.target = t
	for _, d := range t.Devices {
		if s.period.devices[d.Name] == nil {
			s.period.devices[d.Name] = &engine.Counts{}
		}
	}
	return nil
}

// collect counts what was carried since the last time.
func (s *Source) collect() {
	for _, f := range s.traffic.Take() {
		d := s.device(f)
		if d == nil {
			continue
		}
		c := wire(f.Counted, f.Client, f.Local, d.LinkHeader, s.stamps)
		s.period.devices[d.Name].Add(c)
		if !f.Client.IsValid() {
			s.period.other.Add(c)
			continue
		}
		client := s.period.clients[f.Client]
		if client == nil {
			client = &engine.Counts{}
			s.period.clients[f.Client] = client
		}
		client.Add(c)
	}
}

// device gives the device that a flow's packets pass, nil if it is none that is counted
// on: loopback for clients on this host, else the one that bears the server's address.
// If none does, packets may come by any; then they count on the first.
func (s *Source) device(f engine.Flow) *engine.Device {
	if s.onThisHost(f.Client) {
		return s.find(func(d engine.Device) bool { return d.Loopback })
	}
	index, borne := s.target.Bearers[f.Local]
	return s.find(func(d engine.Device) bool { return borne && d.Index == index || !borne && !d.Loopback })
}

func (s *Source) onThisHost(client netip.Addr) bool {
	if !client.IsValid() {
		return false
	}
	_, ours := s.target.Bearers[client]
	return ours || client.IsLoopback() ||
		slices.ContainsFunc(s.target.Local, func(p netip.Prefix) bool { return p.Contains(client) })
}

func (s *Source) find(fits func(engine.Device) bool) *engine.Device {
	i := slices.IndexFunc(s.target.Devices, fits)
	if i < 0 {
		return nil
	}
	return &s.target.Devices[i]
}

// Cut ends a period with what the sessions are known to have carried now.
func (s *Source) Cut(time.Time) func() (engine.Reading, error) {
	s.collect()
	p := s.period
	s.begin()
	return func() (engine.Reading, error) { return p.reading(), nil }
}

func (p *period) reading() engine.Reading {
	r := engine.Reading{Other: p.other}
	for _, name := range slices.Sorted(maps.Keys(p.devices)) {
		r.Devices = append(r.Devices, engine.DeviceCounts{Device: name, Counts: *p.devices[name]})
	}
	for client, c := range p.clients {
		if !c.Zero() {
			r.Clients = append(r.Clients, engine.ClientCounts{Client: client, Counts: *c})
		}
	}
	return r
}

// Overlap is true: a period's reading is made when it is cut.
func (s *Source) Overlap() bool { return true }

// Inexact says what derived counts lack.
func (s *Source) Inexact() string {
	return "packets and their bytes are derived from the sessions' payload and segments, with headers of the usual length; " +
		"connections that never reached a backend (refused ones, scans) are not seen, and a session's last packets are assumed"
}

// Close ends the taking.
func (s *Source) Close() error {
	s.traffic.Stop()
	return nil
}
