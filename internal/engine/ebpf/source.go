// Package ebpf counts packets in the kernel, by a socket filter on a packet
// socket for each device. It reads counters, never a packet.
//
// The tables have two halves. The program counts into one; a cut makes it count
// into the other by one store to a page that both see, waits until no run of it
// can still use the former half, and empties that at leisure. So each packet is
// in exactly one reading, with its device and with its client.
//
// Locks: state guards what Retarget and a reading share; drain is held while a
// half is emptied, so that Close waits for it.
package ebpf

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// half is one of the two halves of the tables.
type half uint8

func (h half) other() half { return 1 - h }

// Source is the engine. It implements engine.Source.
type Source struct {
	log     *slog.Logger
	shared  *shared
	control control
	locals  *locals
	live    half

	state sync.Mutex
	slots slots

	drain  sync.Mutex
	closed bool
	drainer
}

// Open begins to count. Its error is an engine.Missing if this machine or this
// user may not. A device that cannot be used is only logged: Retarget, which
// may be called again with the same target, tells of each.
func Open(log *slog.Logger, target engine.Target) (*Source, error) {
	var s *Source
	err := capability.With(needed, func() (err error) {
		s, err = open(log)
		return err
	})
	if err != nil {
		return nil, missing(err)
	}
	if err := s.Retarget(target); err != nil {
		log.Warn("not all devices can be counted on", "error", err)
	}
	return s, nil
}

func open(log *slog.Logger) (_ *Source, err error) {
	m, err := newShared()
	if errors.Is(err, unix.EPERM) && lockedMemory() {
		m, err = newShared()
	}
	if err != nil {
		return nil, missingMemory(err)
	}
	s := &Source{log: log, shared: m, locals: newLocals(m), slots: newSlots(m.devices)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.control, err = newControl(m); err != nil {
		return nil, err
	}
	if s.drainer, err = newDrainer(m); err != nil {
		return nil, err
	}
	s.control.setLive(s.live, s.homes4, s.homes6)
	return s, s.probe()
}

// probe attaches the program to a socket that hears nothing, so that what this
// kernel refuses is known at once.
func (s *Source) probe() error {
	program, err := s.shared.instance(constants{})
	if err != nil {
		return err
	}
	defer program.Close()
	socket, err := openFilter(program, false)
	if err != nil {
		return err
	}
	return unix.Close(socket)
}

// Retarget implements engine.Source. Clients of an address that is no longer
// local are counted on until the end of the period if they were seen in it.
func (s *Source) Retarget(target engine.Target) error {
	return capability.With(needed, func() error {
		s.control.setPort(target.Port)
		return errors.Join(s.locals.set(target.Local), s.attach(target.Devices))
	})
}

// attach opens a tap for each new device and closes those of devices that are
// no longer wanted. What those counted is in the next reading.
func (s *Source) attach(devices []engine.Device) error {
	s.state.Lock()
	defer s.state.Unlock()
	var all []error
	wanted := map[*tap]bool{}
	var fresh []engine.Device
	listed := map[int]bool{}
	for _, d := range devices {
		if listed[d.Index] {
			continue // twice would count twice
		}
		listed[d.Index] = true
		if t := s.slots.tapOf(d.Index); t != nil && t.serves(d) {
			t.Device = d // it may have another name
			wanted[t] = true
			continue
		}
		fresh = append(fresh, d)
	}
	for _, t := range s.slots.taps() {
		if wanted[t] {
			continue
		}
		if err := t.Close(); err != nil {
			all = append(all, fmt.Errorf("device %s: %w", t.Name, err))
		}
		s.slots.retire(t)
	}
	for _, d := range fresh {
		if err := s.add(d); err != nil {
			all = append(all, fmt.Errorf("device %s: %w", d.Name, err))
		}
	}
	return errors.Join(all...)
}

func (s *Source) add(d engine.Device) error {
	slot, err := s.slots.free()
	if err != nil {
		return err
	}
	t, err := openTap(s.shared, d, slot)
	if err != nil {
		return err
	}
	s.slots.use(t)
	return nil
}

// flip makes the program count into the other half, and gives the former.
func (s *Source) flip() half {
	quiet := s.live
	s.live = quiet.other()
	s.control.setLive(s.live, s.homes4, s.homes6)
	return quiet
}

// Cut implements engine.Source.
func (s *Source) Cut(time.Time) func() (engine.Reading, error) {
	quiet := s.flip()
	s.state.Lock()
	period := s.slots.period()
	s.state.Unlock()
	return func() (r engine.Reading, err error) {
		s.drain.Lock()
		defer s.drain.Unlock()
		if s.closed {
			return r, errors.New("the eBPF engine is closed")
		}
		err = capability.With(needed, func() (err error) {
			r, err = s.read(quiet, period)
			return err
		})
		if err != nil {
			return r, err // the slots keep what was not read
		}
		s.state.Lock()
		defer s.state.Unlock()
		s.slots.reuse(period)
		return r, nil
	}
}

// Overlap implements engine.Source: there are two halves, no third.
func (*Source) Overlap() bool { return false }

// Inexact implements engine.Source.
func (*Source) Inexact() string { return "" }

// Close implements engine.Source. It waits for a reading that is being taken.
func (s *Source) Close() error {
	s.drain.Lock()
	defer s.drain.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.state.Lock()
	defer s.state.Unlock()
	var all []error
	for _, t := range s.slots.taps() {
		all = append(all, t.Close())
	}
	return errors.Join(append(all, s.drainer.Close(), s.control.Close(), s.shared.Close())...)
}
