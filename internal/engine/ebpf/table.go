package ebpf

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// table is memory of the program that this process has mapped. The program
// writes only to the other half while this one is drained.
type table []byte

func mapTable(m *ebpf.Map) (table, error) {
	all, err := unix.Mmap(m.FD(), 0, int(m.ValueSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a table of the eBPF program: %w", os.NewSyscallError("mmap", err))
	}
	return all, nil
}

func (t table) unmap() error {
	if t == nil {
		return nil
	}
	return unix.Munmap(t)
}

// Where struct head of the program has its fields.
const (
	headUsed  = 0
	headOther = headSize - countersSize
)

// take decodes a struct counters of the program and sets it to zero.
func take(b []byte) engine.Counts {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	c := engine.Counts{PacketsIn: word(0), BytesIn: word(1), PacketsOut: word(2), BytesOut: word(3)}
	clear(b[:countersSize])
	return c
}

// takeDevice gives what all processors counted of a device in a half.
func (t table) takeDevice(s sizes, slot int, h half) (sum engine.Counts) {
	for cpu := range s.cpus {
		sum.Add(take(t[cpu*s.devicesPart()+(2*slot+int(h))*countersSize:]))
	}
	return sum
}

// takeClients takes everything out of a half of the clients of one family: each
// client of each processor, by its key. It gives the counts of those that found
// no room, and the most clients that a processor has.
func (t table) takeClients(e extent, keySize int, each func(key []byte, c engine.Counts)) (other engine.Counts, most uint32) {
	for part := t; len(part) > 0; part = part[e.Part:] {
		other.Add(take(part[headOther:]))
		used := min(binary.NativeEndian.Uint32(part[headUsed:]), e.Room)
		most = max(most, used)
		for i := range int(used) {
			place := int(binary.NativeEndian.Uint32(part[int(e.Places)+i*placeSize:]))
			entry := part[headSize+place*(keySize+countersSize):]
			key := entry[:keySize]
			each(key, take(entry[keySize:]))
			clear(key)
		}
		clear(part[headUsed:headOther])
	}
	return other, most
}
