package perpacket

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// programs are what is measured.
type programs struct {
	netstat, empty, plain *ebpf.Program
	tables                []*ebpf.Map // of the clients
}

// load loads the programs as the agent does: with CAP_NET_RAW and CAP_BPF and no
// more, because the verifier makes a slower program for those without
// CAP_PERFMON.
func load(b *testing.B) *programs {
	b.Helper()
	var p *programs
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var sets [2]unix.CapUserData
		for _, c := range []int{unix.CAP_NET_RAW, unix.CAP_BPF} {
			sets[c/32].Permitted |= 1 << (c % 32)
			sets[c/32].Effective |= 1 << (c % 32)
		}
		err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0])
		if err == nil {
			p, err = loadPrograms()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		b.Fatalf("%+v", err)
	}
	return p
}

func loadPrograms() (*programs, error) {
	object := "../../internal/engine/ebpf/program_x86_bpfel.o"
	if runtime.GOARCH == "arm64" {
		object = "../../internal/engine/ebpf/program_arm64_bpfel.o"
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		return nil, err
	}
	// As the engine on a machine with two processors.
	for name, entries := range map[string]uint32{
		"clients4_even": 65536, "clients4_odd": 65536, "clients6_even": 16384, "clients6_odd": 16384, "device_counters": 8,
	} {
		spec.Maps[name].MaxEntries = entries
	}
	for name, value := range map[string]any{
		"link_header": uint32(14), "slot": uint32(1),
		"port": binary.NativeEndian.Uint16([]byte{port >> 8, port & 0xff}),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, err
		}
	}
	ours, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	four, six := server4.As4(), server6.As16()
	if err := errors.Join(
		ours.Maps["local4"].Put(append([]byte{32, 0, 0, 0}, four[:]...), uint8(1)),
		ours.Maps["local6"].Put(append([]byte{128, 0, 0, 0}, six[:]...), uint8(1)),
	); err != nil {
		return nil, err
	}
	spec, err = loadAlternatives()
	if err != nil {
		return nil, err
	}
	others, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	return &programs{
		netstat: ours.Programs["count_packet"],
		empty:   others.Programs["empty"],
		plain:   others.Programs["plain"],
		tables: []*ebpf.Map{
			ours.Maps["clients4_even"], ours.Maps["clients4_odd"], ours.Maps["clients6_even"], ours.Maps["clients6_odd"],
			others.Maps["clients"],
		},
	}, nil
}

// clear empties the tables, so that each line has only its own clients.
func (p *programs) clear(b *testing.B) {
	b.Helper()
	for _, table := range p.tables {
		key, err := table.NextKeyBytes(nil)
		for ; err == nil && key != nil; key, err = table.NextKeyBytes(nil) {
			if err := table.Delete(key); err != nil {
				b.Fatal(err)
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

var (
	server4 = netip.MustParseAddr("192.0.2.1")
	server6 = netip.MustParseAddr("2001:db8::1")
)
