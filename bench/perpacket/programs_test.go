package perpacket

import (
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
	live                  *ebpf.Variable
	plainTable            *ebpf.Map
	tables                []*ebpf.Map // of the clients, mapped
}

// extent is struct extent of the program.
type extent struct{ Part, Homes, Room, Places uint32 }

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
	const cpus, devicesPart = 2, 512 * 64
	four, six := extent{2097088, 49321, 30838, 1973704}, extent{1305216, 19606, 12266, 1256128}
	for name, bytes := range map[string]uint32{
		".data.devices":       cpus * devicesPart,
		".data.clients4_even": cpus * four.Part, ".data.clients4_odd": cpus * four.Part,
		".data.clients6_even": cpus * six.Part, ".data.clients6_odd": cpus * six.Part,
	} {
		m := spec.Maps[name]
		m.ValueSize, m.Flags = bytes, m.Flags|1<<10
		m.Key, m.Value, m.Contents = nil, nil, nil
	}
	for name, value := range map[string]any{
		"link_header": uint32(14), "slot": uint32(1), "port": uint16(port), "seed": uint64(0x9d8a2f7351c64be5),
		"cpus": uint32(cpus), "devices_part": uint32(devicesPart), "extent4": four, "extent6": six,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, err
		}
	}
	ours, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	local4, local6 := server4.As4(), server6.As16()
	if err := errors.Join(
		ours.Maps["local4"].Put(append([]byte{32, 0, 0, 0}, local4[:]...), uint8(1)),
		ours.Maps["local6"].Put(append([]byte{128, 0, 0, 0}, local6[:]...), uint8(1)),
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
		netstat:    ours.Programs["count_packet"],
		empty:      others.Programs["empty"],
		plain:      others.Programs["plain"],
		live:       ours.Variables["live"],
		plainTable: others.Maps["clients"],
		tables: []*ebpf.Map{
			ours.Maps[".data.clients4_even"], ours.Maps[".data.clients6_even"],
		},
	}, nil
}

// expect says how many clients there are, as the agent does after each period.
func (p *programs) expect(b *testing.B, clients int) {
	b.Helper()
	homes := func(all uint64) uint64 {
		if few := uint64(max(2*clients, 256)); few <= all/2 {
			return few
		}
		return all
	}
	if err := p.live.Set(homes(49321)<<1 | homes(19606)<<32); err != nil {
		b.Fatal(err)
	}
}

// clear empties the tables, so that each line has only its own clients.
func (p *programs) clear(b *testing.B) {
	b.Helper()
	for _, table := range p.tables {
		memory, err := table.Memory()
		if err == nil {
			_, err = memory.WriteAt(make([]byte, table.ValueSize()), 0)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	key, err := p.plainTable.NextKeyBytes(nil)
	for ; err == nil && key != nil; key, err = p.plainTable.NextKeyBytes(nil) {
		if err := p.plainTable.Delete(key); err != nil {
			b.Fatal(err)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
}

var (
	server4 = netip.MustParseAddr("192.0.2.1")
	server6 = netip.MustParseAddr("2001:db8::1")
)
