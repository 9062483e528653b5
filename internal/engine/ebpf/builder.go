package ebpf

import (
	"net/netip"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// builder makes a reading. What it is told of clients and other adds up to what
// it is told of devices.
type builder struct {
	devices []engine.DeviceCounts
	bySlot  map[int]int // slot → index in devices
	clients map[netip.Addr]engine.Counts
	other   engine.Counts
	lost    uint64
	counted bool // a device counted something
}

func newBuilder(period []seen) *builder {
	b := &builder{bySlot: map[int]int{}, clients: map[netip.Addr]engine.Counts{}}
	byName := map[string]int{}
	for _, one := range period {
		i, ok := byName[one.device]
		if !ok {
			i = len(b.devices)
			byName[one.device] = i
			b.devices = append(b.devices, engine.DeviceCounts{Device: one.device})
		}
		b.bySlot[one.slot] = i
	}
	return b
}

// device adds to the device in a slot, and tells whether there is one.
func (b *builder) device(slot int, c engine.Counts) bool {
	i, ok := b.bySlot[slot]
	if ok && !c.Zero() {
		b.devices[i].Add(c)
		b.counted = true
	}
	return ok
}

func (b *builder) client(address netip.Addr, c engine.Counts) {
	have := b.clients[address]
	have.Add(c)
	b.clients[address] = have
}

func (b *builder) reading() engine.Reading {
	r := engine.Reading{Devices: b.devices, Other: b.other, Lost: b.lost}
	if len(b.clients) > 0 {
		r.Clients = make([]engine.ClientCounts, 0, len(b.clients))
	}
	for address, c := range b.clients {
		r.Clients = append(r.Clients, engine.ClientCounts{Client: address, Counts: c})
	}
	return r
}
