// Package pcap counts packets by capturing their headers with libpcap. It needs
// CAP_NET_RAW alone.
//
// A device has a capture for each direction, which are drained all the time by a
// thread of their own and counted by a goroutine of their own. Packets count in the
// period that their own times are in, so a period is read a little after it ended.
package pcap

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Settings are libpcap's settings.
type Settings struct {
	BufferSize int // bytes of each direction's buffer
	Snaplen    int // bytes captured of a packet
	Timeout    time.Duration
	Wait       time.Duration // for packets of a period that has ended, at most
}

// Source is a source of packet counts by libpcap.
type Source struct {
	log      *slog.Logger
	settings Settings
	target   engine.Target
	// readers has those that read, and those that ended and were not yet cut.
	readers []*reader
	// present has the reader of each device, by its index.
	present map[int]*reader
	names   map[string]bool // of the devices that were targets in this period
}

var _ engine.Source = (*Source)(nil)

// Open begins to count. Devices that cannot be counted on are no reason for it
// to fail: Retarget names them.
func Open(log *slog.Logger, s Settings, t engine.Target) (*Source, error) {
	if err := probe(); err != nil {
		return nil, err
	}
	source := &Source{
		log:      log,
		settings: s,
		present:  make(map[int]*reader),
		names:    make(map[string]bool),
	}
	if err := source.Retarget(t); err != nil {
		log.Debug("some devices cannot be captured on", "err", err)
	}
	return source, nil
}

// Retarget changes what is counted.
func (s *Source) Retarget(t engine.Target) error {
	samePort := t.Port == s.target.Port
	s.target = t
	local := newLocals(t.Local)
	wanted := make(map[int]bool)
	var failed []error
	for _, d := range t.Devices {
		s.names[d.Name] = true
		wanted[d.Index] = true
		v := &view{device: d, port: t.Port, local: local}
		if err := s.aim(v, samePort); err != nil {
			failed = append(failed, fmt.Errorf("device %q: %w", d.Name, err))
		}
	}
	for index, r := range s.present {
		if !wanted[index] {
			r.finish()
			delete(s.present, index)
		}
	}
	return errors.Join(failed...)
}

// aim makes a device's reader count what v says, or begins one that does.
func (s *Source) aim(v *view, samePort bool) error {
	former := s.present[v.device.Index]
	alive := former != nil && former.alive() == nil
	if alive && samePort {
		former.look(v)
		return nil
	}
	r, err := s.begin(v)
	switch {
	case err == nil:
		if alive {
			former.finish() // with the former port
		}
		go r.read()
	case former != nil && !alive:
		delete(s.present, v.device.Index)
		err = errors.Join(err, former.alive())
	}
	return err
}

// begin makes a new reader the one of its device.
func (s *Source) begin(v *view) (*reader, error) {
	c, err := open(s.settings, v.device, v.port)
	if err != nil {
		return nil, err
	}
	r := &reader{captures: c, view: v, ledger: newLedger(v.device.Name)}
	s.readers = append(s.readers, r)
	s.present[v.device.Index] = r
	return r, nil
}

// Configure applies changed settings, without losing or doubling a packet. If a
// device's captures cannot be opened anew, its former ones read on.
func (s *Source) Configure(settings Settings) error {
	former := s.settings
	s.settings = settings
	former.Wait = settings.Wait
	if former == settings {
		return nil
	}
	var failed []error
	var hands []handing
	for _, former := range s.present {
		if former.alive() != nil {
			continue // Retarget's to mend
		}
		former.mu.Lock()
		v := former.view
		former.mu.Unlock()
		if r, err := s.begin(v); err != nil {
			failed = append(failed, fmt.Errorf("device %q: %w", v.device.Name, err))
		} else {
			hands = append(hands, handing{former, r})
		}
	}
	if len(hands) > 0 {
		handOver(hands)
	}
	return errors.Join(failed...)
}

// Overlap is true: a period is complete when late packets have been waited for.
func (s *Source) Overlap() bool { return true }

// Inexact says on which devices packets are merged before libpcap sees them.
func (s *Source) Inexact() string {
	names := make(map[string]bool)
	for _, d := range s.target.Devices {
		if d.Offload && !d.Loopback {
			names[d.Name] = true
		}
	}
	for _, r := range s.present {
		if r.big.Load() {
			r.mu.Lock()
			names[r.view.device.Name] = true
			r.mu.Unlock()
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "packets are estimated from their sizes where segments are merged before libpcap sees them (offload): " +
		strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

// Close ends all readers. Each frees what it has in a moment.
func (s *Source) Close() error {
	for _, r := range s.readers {
		r.abandon()
	}
	s.readers = nil
	clear(s.present)
	return nil
}
