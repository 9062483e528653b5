package ebpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// drainer empties the quiet half. Its buffers are kept between readings.
type drainer struct {
	grace     grace
	clients4  [2]*table[[8]byte]
	clients6  [2]*table[[32]byte]
	pieces    *pieces
	perCPU    []programCounters
	zeroes    []programCounters
	lost      []uint64
	lostZeros []uint64
}

func newDrainer(m *shared) drainer {
	return drainer{
		clients4: [2]*table[[8]byte]{
			newTable[[8]byte](m.all[programMapClients4Even], m.cpus),
			newTable[[8]byte](m.all[programMapClients4Odd], m.cpus),
		},
		clients6: [2]*table[[32]byte]{
			newTable[[32]byte](m.all[programMapClients6Even], m.cpus),
			newTable[[32]byte](m.all[programMapClients6Odd], m.cpus),
		},
		pieces:    newPieces(m.all[programMapFragments]),
		perCPU:    make([]programCounters, m.cpus),
		zeroes:    make([]programCounters, m.cpus),
		lost:      make([]uint64, m.cpus),
		lostZeros: make([]uint64, m.cpus),
	}
}

// Close frees what the drainer itself has made.
func (d *drainer) Close() { d.grace.Close() }

// read waits until nothing counts into the quiet half any more, and takes out
// what is in it.
func (s *Source) read(quiet half, period []seen) (engine.Reading, error) {
	if err := s.grace.wait(); err != nil {
		return engine.Reading{}, err
	}
	b := newBuilder(period)
	if err := s.takeDevices(b, quiet, period); err != nil {
		return engine.Reading{}, err
	}
	if b.counted {
		if err := s.takeClients(b, quiet); err != nil {
			return engine.Reading{}, err
		}
	}
	if err := s.takeFragments(b, quiet); err != nil {
		return engine.Reading{}, err
	}
	return b.reading(), nil
}

func (s *Source) takeDevices(b *builder, quiet half, period []seen) error {
	counters := s.shared.all[programMapDeviceCounters]
	for _, one := range period {
		key := uint32(2*one.slot) + uint32(quiet)
		c, err := s.take(counters, key)
		if err != nil {
			return fmt.Errorf("reading the counters of device %s: %w", one.device, err)
		}
		b.device(one.slot, c)
	}
	return nil
}

// take gives the sum of a per-processor counter and sets it to zero.
func (s *Source) take(m *ebpf.Map, key uint32) (engine.Counts, error) {
	if err := m.Lookup(key, s.perCPU); err != nil {
		return engine.Counts{}, err
	}
	c := sum(s.perCPU)
	if c.Zero() {
		return c, nil
	}
	return c, m.Put(key, s.zeroes)
}

func (s *Source) takeClients(b *builder, quiet half) error {
	err := s.clients4[quiet].drain(func(key *[8]byte, c engine.Counts) {
		b.client(netip.AddrFrom4([4]byte(key[4:])), c)
	})
	if err != nil {
		return fmt.Errorf("reading the IPv4 clients: %w", err)
	}
	err = s.clients6[quiet].drain(func(key *[32]byte, c engine.Counts) {
		b.client(netip.AddrFrom16([16]byte(key[16:])), c)
	})
	if err != nil {
		return fmt.Errorf("reading the IPv6 clients: %w", err)
	}
	other, err := s.take(s.shared.all[programMapOtherCounters], uint32(quiet))
	if err != nil {
		return fmt.Errorf("reading the counters of other clients: %w", err)
	}
	b.other.Add(other)
	return nil
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
		if err := lost.Put(uint32(quiet), s.lostZeros); err != nil {
			return fmt.Errorf("resetting the number of lost fragments: %w", err)
		}
	}
	if err := s.pieces.collect(b, quiet); err != nil {
		return fmt.Errorf("reading the fragments: %w", err)
	}
	return nil
}

func sum(perCPU []programCounters) (c engine.Counts) {
	for i := range perCPU {
		c.PacketsIn += perCPU[i].PacketsIn
		c.PacketsOut += perCPU[i].PacketsOut
		c.BytesIn += perCPU[i].BytesIn
		c.BytesOut += perCPU[i].BytesOut
	}
	return c
}

// table is one half of the clients of one family.
type table[K any] struct {
	m       *ebpf.Map
	cpus    int
	keys    []K
	values  []programCounters
	noBatch bool
}

const (
	batchValues = 8192 // per-processor values that are taken at once
	batchLeast  = 64   // entries; more than any bucket of the kernel's should have
)

func newTable[K any](m *ebpf.Map, cpus int) *table[K] {
	t := &table[K]{m: m, cpus: cpus}
	t.grow(max(batchLeast, batchValues/cpus))
	return t
}

func (t *table[K]) grow(entries int) {
	t.keys = make([]K, entries)
	t.values = make([]programCounters, entries*t.cpus)
}

// drain takes everything out of the table.
func (t *table[K]) drain(each func(*K, engine.Counts)) error {
	if t.noBatch {
		return t.drainSingly(each)
	}
	var cursor ebpf.MapBatchCursor
	for {
		n, err := t.m.BatchLookupAndDelete(&cursor, t.keys, t.values, nil)
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		switch {
		case errors.Is(err, ebpf.ErrNotSupported):
			t.noBatch = true
			return t.drainSingly(each)
		case errors.Is(err, unix.ENOSPC): // a bucket with more entries than the batch
			t.grow(2 * len(t.keys))
			continue
		case err != nil && !end:
			return err
		}
		for i := range n {
			each(&t.keys[i], sum(t.values[i*t.cpus:(i+1)*t.cpus]))
		}
		if end {
			return nil
		}
	}
}

// drainSingly does the same on kernels that cannot take several at once.
func (t *table[K]) drainSingly(each func(*K, engine.Counts)) error {
	values := t.values[:t.cpus]
	for {
		var key K
		err := t.m.NextKey(nil, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := t.m.Lookup(&key, values); err != nil {
			return err
		}
		each(&key, sum(values))
		if err := t.m.Delete(&key); err != nil {
			return err
		}
	}
}
