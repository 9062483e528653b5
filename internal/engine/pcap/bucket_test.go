package pcap

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

func remote(n int) address {
	a := address{0: 0xfd}
	binary.BigEndian.PutUint32(a[12:], uint32(n))
	return a
}

var single = engine.Counts{PacketsIn: 1, BytesIn: 100}

// agree fails unless the clients of b and the rest are its sum.
func agree(t *testing.T, b *bucket) {
	t.Helper()
	sum := b.other
	for _, c := range b.clients {
		sum.Add(*c)
		if c.Zero() {
			t.Error("a client with nothing")
		}
	}
	if sum != b.counts {
		t.Errorf("clients have %+v, the bucket %+v", sum, b.counts)
	}
}

func TestPeriodsByTime(t *testing.T) {
	l := newLedger("eth0")
	l.count(10, remote(1), single)
	l.count(20, remote(1), single)
	one := l.cut(20, "eth0")
	l.count(15, remote(2), single) // late, and still in its period
	two := l.cut(30, "eth0")
	l.count(29, remote(1), single)
	l.count(30, remote(1), single)
	l.take(one)
	l.count(19, remote(3), single) // too late: it counts in the next
	for i, c := range []struct {
		b    *bucket
		want uint64
	}{{one, 3}, {two, 2}, {l.open[len(l.open)-1], 1}} {
		if c.b.counts.PacketsIn != c.want {
			t.Errorf("period %d has %d packets, want %d", i, c.b.counts.PacketsIn, c.want)
		}
		agree(t, c.b)
	}
}

// Whatever clocks do, each packet counts once.
func TestClockSteps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := newLedger("eth0")
	var taken []*bucket
	var cuts []*bucket
	now, sent := int64(1_000_000), uint64(0)
	for range 20_000 {
		switch r.IntN(50) {
		case 0:
			now += int64(r.IntN(2_000_000)) - 1_000_000 // an hour, as it were
		case 1:
			cuts = append(cuts, l.cut(now-int64(r.IntN(20)), "eth0"))
		case 2:
			if len(cuts) > 0 {
				l.take(cuts[0])
				taken, cuts = append(taken, cuts[0]), cuts[1:]
			}
		default:
			now++
			sent++
			l.count(now-int64(r.IntN(30)), remote(r.IntN(40)), single)
		}
	}
	var sum engine.Counts
	for _, b := range append(taken, l.open...) {
		sum.Add(b.counts)
		agree(t, b)
	}
	if sum.PacketsIn != sent || sum.BytesIn != 100*sent {
		t.Errorf("%+v counted of %d packets", sum, sent)
	}
}

func TestClientsAreBounded(t *testing.T) {
	l := newLedger("eth0")
	const n = maxClients + 1000
	for i := range n {
		l.count(int64(i), remote(i), single)
	}
	b := l.open[0]
	if len(b.clients) != maxClients || b.other.PacketsIn != 1000 || b.counts.PacketsIn != n {
		t.Errorf("%d clients, other %+v, all %+v", len(b.clients), b.other, b.counts)
	}
	agree(t, b)
	// And over all devices of a reading.
	p := &period{}
	for range 2 {
		l := newLedger("eth0")
		for i := range maxClients {
			l.count(0, remote(len(p.parts)*1000+i), single)
		}
		p.parts = append(p.parts, partOf{bucket: l.open[0]})
	}
	sum, clients, other := map[string]*engine.Counts{}, map[address]*engine.Counts{}, engine.Counts{}
	for _, part := range p.parts {
		part.add(sum, clients, &other)
	}
	if len(clients) != maxClients || other.PacketsIn != 1000 || sum["eth0"].PacketsIn != 2*maxClients {
		t.Errorf("%d clients, other %+v, all %+v", len(clients), other, sum["eth0"])
	}
}

// Fragments that never find their first are given up, and the tables stay small.
func TestFragmentsAreBounded(t *testing.T) {
	var f fragments
	for i := range 10 * maxDatagrams {
		fate := f.fate(datagram{id: uint32(i)}, int64(i))
		f.wait(fate, early{})
		f.wait(fate, early{})
	}
	if len(f.fates) > maxDatagrams || len(f.order) != len(f.fates) || f.early > maxEarly+2 {
		t.Errorf("%d datagrams, %d in order, %d fragments", len(f.fates), len(f.order), f.early)
	}
	f.fate(datagram{id: 1}, forgetAfter+20*maxDatagrams)
	if len(f.fates) != 1 || f.early != 0 {
		t.Errorf("later %d datagrams, %d fragments", len(f.fates), f.early)
	}
	f.fate(datagram{id: 2}, -forgetAfter) // the clock was set back
	if len(f.fates) != 1 {
		t.Errorf("then %d datagrams", len(f.fates))
	}
}
