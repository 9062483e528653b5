package ebpf

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/cilium/ebpf"
)

// controlSection holds what the program reads and the agent changes; the
// constants of an instance are in constSection.
const (
	controlSection = ".data.control"
	constSection   = ".rodata"
)

// The sections of the tables that both have mapped.
const (
	devicesSection      = ".data.devices"
	clients4EvenSection = ".data.clients4_even"
	clients4OddSection  = ".data.clients4_odd"
	clients6EvenSection = ".data.clients6_even"
	clients6OddSection  = ".data.clients6_odd"
)

const mmapable = 1 << 10 // BPF_F_MMAPABLE

// shared is what all instances of the program share.
type shared struct {
	spec *ebpf.CollectionSpec
	all  map[string]*ebpf.Map // by name, also the sections
	seed uint64
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
	m := &shared{spec: spec, all: map[string]*ebpf.Map{}, seed: rand.Uint64() | 1, sizes: sizesFor(cpus)}
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
		if m.all[name], err = ebpf.NewMap(s); err != nil {
			return nil, fmt.Errorf("creating the map %s: %w", name, err)
		}
	}
	return m, nil
}

// resize gives the tables their sizes, which the types in the object are not told.
func (m *shared) resize() {
	for name, bytes := range map[string]uint32{
		devicesSection:      uint32(m.devicesBytes()),
		clients4EvenSection: m.v4.Part * uint32(m.cpus),
		clients4OddSection:  m.v4.Part * uint32(m.cpus),
		clients6EvenSection: m.v6.Part * uint32(m.cpus),
		clients6OddSection:  m.v6.Part * uint32(m.cpus),
	} {
		s := m.spec.Maps[name]
		s.ValueSize = bytes
		s.Flags |= mmapable
		s.Key, s.Value, s.Contents = nil, nil, nil
	}
	m.spec.Maps[controlSection].Flags |= mmapable
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
		programVarCpus: uint32(m.cpus), programVarDevicesPart: uint32(m.devicesPart()),
		programVarExtent4: m.v4, programVarExtent6: m.v6, programVarSeed: m.seed,
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
