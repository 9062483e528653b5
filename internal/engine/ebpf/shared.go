package ebpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// controlSection holds what the program reads and the agent changes; the
// constants of an instance are in constSection.
const (
	controlSection = ".data.control"
	constSection   = ".rodata"
)

const mmapable = 1 << 10 // BPF_F_MMAPABLE

// shared is what all instances of the program share.
type shared struct {
	spec *ebpf.CollectionSpec
	all  map[string]*ebpf.Map // by name, also the control section
	cpus int
	sizes
}

func newShared() (_ *shared, err error) {
	spec, err := loadProgram()
	if err != nil {
		return nil, fmt.Errorf("decoding the eBPF program: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting processors: %w", err)
	}
	m := &shared{spec: spec, all: map[string]*ebpf.Map{}, cpus: cpus, sizes: sizesFor(cpus)}
	m.resize()
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	for name, s := range spec.Maps {
		if name == constSection {
			continue
		}
		if name == controlSection {
			s.Flags |= mmapable
		}
		if m.all[name], err = ebpf.NewMap(s); err != nil {
			return nil, fmt.Errorf("creating the map %s: %w", name, err)
		}
	}
	return m, nil
}

func (m *shared) resize() {
	for _, name := range []string{programMapClients4Even, programMapClients4Odd} {
		m.spec.Maps[name].MaxEntries = uint32(m.clients4)
	}
	for _, name := range []string{programMapClients6Even, programMapClients6Odd} {
		m.spec.Maps[name].MaxEntries = uint32(m.clients6)
	}
	m.spec.Maps[programMapDeviceCounters].MaxEntries = uint32(2 * m.devices)
}

// constants are what an instance of the program is told about its device.
type constants struct {
	slot       uint32
	linkHeader uint32
	loopback   bool
}

// instance loads the program for one device.
func (m *shared) instance(c constants) (*ebpf.Program, error) {
	spec := m.spec.Copy()
	loopback := uint8(0)
	if c.loopback {
		loopback = 1
	}
	for name, value := range map[string]any{
		programVarSlot: c.slot, programVarLinkHeader: c.linkHeader, programVarLoopback: loopback,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s in the eBPF program: %w", name, err)
		}
	}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: m.all})
	if err != nil {
		return nil, fmt.Errorf("loading the eBPF program: %w", err)
	}
	defer loaded.Close()
	return loaded.DetachProgram(programProgCountPacket), nil
}

// Close frees the maps that no instance uses any more.
func (m *shared) Close() error {
	var all []error
	for _, one := range m.all {
		all = append(all, one.Close())
	}
	return errors.Join(all...)
}
