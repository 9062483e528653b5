package pcap

import (
	"net/netip"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// period is what was counted between two cuts.
type period struct {
	ended time.Time
	wait  time.Duration
	names map[string]bool
	parts []partOf
}

// partOf is one reader's part of a period.
type partOf struct {
	reader *reader
	bucket *bucket
}

// Cut ends a period. The function it returns waits for late packets, and for
// Settings.Wait at most.
func (s *Source) Cut(at time.Time) func() (engine.Reading, error) {
	now := time.Now()
	p := &period{ended: now, wait: s.settings.Wait, names: s.names}
	var remain []*reader
	for _, r := range s.readers {
		b, open := r.cut(at.UnixNano())
		p.parts = append(p.parts, partOf{r, b})
		if open {
			remain = append(remain, r)
		}
	}
	s.readers = remain
	s.names = make(map[string]bool)
	for _, d := range s.target.Devices {
		s.names[d.Name] = true
	}
	return p.read
}

// read gives the period's counts.
func (p *period) read() (engine.Reading, error) {
	end := time.NewTimer(time.Until(p.ended.Add(p.wait)))
	defer end.Stop()
	over := false
	for _, part := range p.parts {
		if !over {
			over = part.await(p.ended, end.C)
		}
	}
	var r engine.Reading
	sum := make(map[string]*engine.Counts)
	for name := range p.names {
		sum[name] = new(engine.Counts)
	}
	clients := make(map[address]*engine.Counts)
	for _, part := range p.parts {
		part.reader.take(part.bucket)
		r.Lost += part.reader.lost()
		part.add(sum, clients, &r.Other)
	}
	for name, c := range sum {
		r.Devices = append(r.Devices, engine.DeviceCounts{Device: name, Counts: *c})
	}
	r.Clients = make([]engine.ClientCounts, 0, len(clients))
	for a, c := range clients {
		r.Clients = append(r.Clients, engine.ClientCounts{Client: netip.AddrFrom16(a).Unmap(), Counts: *c})
	}
	return r, nil
}

// await waits until the part is complete, and tells whether the time is over.
func (p partOf) await(ended time.Time, over <-chan time.Time) bool {
	settled := time.NewTimer(time.Until(ended.Add(slack + p.reader.ring.lag)))
	defer settled.Stop()
	for {
		select {
		case <-p.bucket.done:
			return false
		case <-over:
			return true
		case <-settled.C:
			p.reader.settle(p.bucket)
		}
	}
}

// add adds the part's counts to those of its device and clients.
func (p partOf) add(sum map[string]*engine.Counts, clients map[address]*engine.Counts, other *engine.Counts) {
	b := p.bucket
	c := sum[b.device]
	if c == nil {
		// It is no target any more, and had something to be read all the same.
		if b.counts.Zero() {
			return
		}
		c = new(engine.Counts)
		sum[b.device] = c
	}
	c.Add(b.counts)
	other.Add(b.other)
	for a, n := range b.clients {
		if known := clients[a]; known != nil {
			known.Add(*n)
		} else if len(clients) < maxClients {
			clients[a] = n
		} else {
			other.Add(*n)
		}
	}
}
