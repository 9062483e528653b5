package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// drainer empties the quiet half. Its buffers are kept between readings.
type drainer struct {
	grace              grace
	sizes              sizes
	devices            table
	clients4, clients6 [2]table
	pieces             *pieces
	lost, zeroes       []uint64
	homes4, homes6     uint32 // for the next period
}

// newDrainer gives what is to be closed also with an error.
func newDrainer(m *shared) (d drainer, err error) {
	d = drainer{
		sizes:  m.sizes,
		pieces: newPieces(m.all[programMapFragments]),
		lost:   make([]uint64, m.cpus),
		zeroes: make([]uint64, m.cpus),
		homes4: homesFor(m.v4, 0),
		homes6: homesFor(m.v6, 0),
	}
	for name, t := range map[string]*table{
		devicesSection:      &d.devices,
		clients4EvenSection: &d.clients4[0],
		clients4OddSection:  &d.clients4[1],
		clients6EvenSection: &d.clients6[0],
		clients6OddSection:  &d.clients6[1],
	} {
		if *t, err = mapTable(m.all[name]); err != nil {
			return d, err
		}
	}
	return d, nil
}

// Close frees what the drainer itself has made.
func (d *drainer) Close() error {
	d.grace.Close()
	return errors.Join(d.devices.unmap(), d.clients4[0].unmap(), d.clients4[1].unmap(),
		d.clients6[0].unmap(), d.clients6[1].unmap())
}

// read waits until nothing counts into the quiet half any more, and takes out
// what is in it.
func (s *Source) read(quiet half, period []seen) (engine.Reading, error) {
	if err := s.grace.wait(); err != nil {
		return engine.Reading{}, err
	}
	b := newBuilder(period)
	for _, one := range period {
		b.device(one.slot, s.devices.takeDevice(s.drainer.sizes, one.slot, quiet))
	}
	if b.counted {
		s.takeClients(b, quiet)
	}
	if err := s.takeFragments(b, quiet); err != nil {
		return engine.Reading{}, err
	}
	return b.reading(), nil
}

func (d *drainer) takeClients(b *builder, quiet half) {
	other4, used4 := d.clients4[quiet].takeClients(d.sizes.v4, key4Size, func(key []byte, c engine.Counts) {
		remote := uint32(binary.NativeEndian.Uint64(key))
		b.client(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, remote))), c)
	})
	other6, used6 := d.clients6[quiet].takeClients(d.sizes.v6, key6Size, func(key []byte, c engine.Counts) {
		b.client(netip.AddrFrom16([16]byte(key[16:])), c)
	})
	b.other.Add(other4)
	b.other.Add(other6)
	d.homes4, d.homes6 = homesFor(d.sizes.v4, used4), homesFor(d.sizes.v6, used6)
}

func (s *Source) takeFragments(b *builder, quiet half) error {
	lost := s.shared.all[programMapLostFragments]
	if err := lost.Lookup(uint32(quiet), s.lost); err != nil {
		return fmt.Errorf("reading the number of lost fragments: %w", err)
	}
	for _, n := range s.lost {
		b.lost += n
	}
	if b.lost > 0 {
		if err := lost.Put(uint32(quiet), s.zeroes); err != nil {
			return fmt.Errorf("resetting the number of lost fragments: %w", err)
		}
	}
	if err := s.pieces.collect(b, quiet); err != nil {
		return fmt.Errorf("reading the fragments: %w", err)
	}
	return nil
}
