package ebpf

import (
	"errors"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// What the first fragment of a datagram told: enum verdict of the program.
const (
	unknown = iota
	datagramIn
	datagramOut
	foreign
)

const (
	// A receiver gives up a datagram after 30 s (IPv4) or 60 s (IPv6).
	unknownAge = 60 * time.Second
	// Fragments that come later than this after the others are rare.
	knownAge = 5 * time.Second
)

// pieces adds the fragments that do not say their ports to the readings, as
// soon as the first fragment of their datagram has told.
type pieces struct {
	m    *ebpf.Map
	now  func() time.Time
	have map[programDatagram]*piece
}

// piece is what was taken of a datagram until now.
type piece struct {
	held    programHeld
	taken   [2]engine.Counts // by half, in PacketsIn and BytesIn
	changed time.Time
}

func newPieces(m *ebpf.Map) *pieces {
	return &pieces{m: m, now: time.Now, have: map[programDatagram]*piece{}}
}

// collect takes what the quiet half has of the datagrams that are known, and
// forgets those that have not changed for long.
func (p *pieces) collect(b *builder, quiet half) error {
	now := p.now()
	var key programDatagram
	var held programHeld
	entries := p.m.Iterate()
	for entries.Next(&key, &held) {
		one := p.have[key]
		if one == nil {
			one = &piece{changed: now}
			p.have[key] = one
		}
		if one.held != held {
			one.held, one.changed = held, now
		}
		one.take(b, &key, quiet)
	}
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	return p.forget(b, now)
}

// take adds to the reading what this half has more than was taken.
func (one *piece) take(b *builder, key *programDatagram, quiet half) {
	verdict := one.held.Verdict
	if verdict != datagramIn && verdict != datagramOut {
		return
	}
	taken := &one.taken[quiet]
	packets := one.held.Packets[quiet] - taken.PacketsIn
	bytes := one.held.Bytes[quiet] - taken.BytesIn
	taken.PacketsIn += packets
	taken.BytesIn += bytes
	if packets == 0 {
		return
	}
	c, client := engine.Counts{PacketsIn: packets, BytesIn: bytes}, address(key.Source, key.Version)
	if verdict == datagramOut {
		c = engine.Counts{PacketsOut: packets, BytesOut: bytes}
		client = address(key.Destination, key.Version)
	}
	if !b.device(int(key.Slot), c) {
		b.lost += packets // the device went before they were known
		return
	}
	b.client(client, c)
}

// forget removes what is old. Fragments whose first never passed are lost: they
// may have been the server's.
func (p *pieces) forget(b *builder, now time.Time) error {
	for key, one := range p.have {
		age := now.Sub(one.changed)
		if age < knownAge || one.held.Verdict == unknown && age < unknownAge {
			continue
		}
		if one.held.Verdict == unknown {
			b.lost += one.held.Packets[0] + one.held.Packets[1]
		}
		if err := p.m.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		delete(p.have, key)
	}
	return nil
}

func address(a [16]byte, version uint8) netip.Addr {
	if version == 4 {
		return netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrFrom16(a)
}
