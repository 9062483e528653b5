package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

func putNative(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }

// What the agent reads and writes has the names and sizes that the compiled
// program gives them, on both architectures.
func TestNamesAndSizes(t *testing.T) {
	sizes := map[string][2]uintptr{ // of keys and values
		programMapFragments:     {unsafe.Sizeof(programDatagram{}), unsafe.Sizeof(programHeld{})},
		programMapLostFragments: {4, 8},
		programMapLocal4:        {unsafe.Sizeof(programPrefix4{}), 1},
		programMapLocal6:        {unsafe.Sizeof(programPrefix6{}), 1},
		controlSection:          {4, 10},
		constSection:            {4, 60},
		devicesSection:          {4, 8}, // at load all tables become as large as this machine needs
		clients4EvenSection:     {4, 8},
		clients4OddSection:      {4, 8},
		clients6EvenSection:     {4, 8},
		clients6OddSection:      {4, 8},
	}
	variables := map[string]string{
		programVarLive: controlSection, programVarPort: controlSection,
		programVarSlot: constSection, programVarLinkHeader: constSection, programVarLoopback: constSection,
		programVarCpus: constSection, programVarDevicesPart: constSection, programVarSeed: constSection,
		programVarExtent4: constSection, programVarExtent6: constSection,
	}
	for _, object := range []string{"program_x86_bpfel.o", "program_arm64_bpfel.o"} {
		code, err := os.ReadFile(object)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(code))
		if err != nil {
			t.Fatal(err)
		}
		if len(spec.Maps) != len(sizes) || len(spec.Variables) != len(variables) || len(spec.Programs) != 1 {
			t.Errorf("%s has %d maps, %d variables, %d programs", object, len(spec.Maps), len(spec.Variables), len(spec.Programs))
		}
		for name, size := range sizes {
			m := spec.Maps[name]
			if m == nil || uintptr(m.KeySize) != size[0] || uintptr(m.ValueSize) != size[1] {
				t.Errorf("%s: %s is %v, and the agent has keys and values of %v", object, name, m, size)
			}
		}
		for name, section := range variables {
			if v := spec.Variables[name]; v == nil || v.SectionName != section {
				t.Errorf("%s: variable %s is %v", object, name, v)
			}
		}
		if spec.Programs[programProgCountPacket] == nil {
			t.Errorf("%s: no program %s", object, programProgCountPacket)
		}
	}
}

// with only runs f on a thread that has nothing but caps, effective if so said.
func withOnly(t *testing.T, effective bool, caps []capability.Cap, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var err error
		defer func() { done <- err }() // also if f ends the goroutine
		var sets [2]unix.CapUserData
		for _, c := range caps {
			sets[c/32].Permitted |= 1 << (c % 32)
			if effective {
				sets[c/32].Effective |= 1 << (c % 32)
			}
		}
		err = unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0])
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The engine needs CAP_NET_RAW and CAP_BPF, permitted is enough, and no other
// capability: not CAP_PERFMON, with which the verifier would let more pass.
func TestLeastPrivilege(t *testing.T) {
	lo := loopback(t)
	echo(t, "127.0.0.1:5432")
	for _, effective := range []bool{false, true} {
		withOnly(t, effective, []capability.Cap{capability.NetRaw, capability.BPF}, func() {
			s := openSource(t, lo)
			talk(t, "127.0.0.1:5432", 3, 1000)
			got := total(cut(t, s))
			if got.PacketsIn < 3*4 || got.PacketsOut < 3*3 || got.BytesIn < 3*1000 || got.BytesOut < 3*1000 {
				t.Errorf("effective %v: counted %s", effective, show(got))
			}
			if err := s.Retarget(engine.Target{Port: 5432, Local: ownPrefixes}); err != nil {
				t.Error(err)
			}
		})
	}
}

// Without them, the error names them and the command that grants them.
func TestMissingCapability(t *testing.T) {
	lo := loopback(t)
	for _, c := range []struct {
		has  []capability.Cap
		what string
	}{
		{nil, "the capabilities CAP_NET_RAW and CAP_BPF"},
		{[]capability.Cap{capability.NetRaw}, "the capability CAP_BPF"},
		{[]capability.Cap{capability.BPF}, "the capability CAP_NET_RAW"},
	} {
		withOnly(t, false, c.has, func() {
			_, err := Open(discard, lo)
			var missing *engine.Missing
			if !errors.As(err, &missing) {
				t.Errorf("with %v: %v", c.has, err)
				return
			}
			path, _ := os.Executable()
			if missing.What != c.what || missing.Hint != "setcap cap_net_raw,cap_bpf=p "+path {
				t.Errorf("with %v: %q, hint %q", c.has, missing.What, missing.Hint)
			}
		})
	}
}

// nospec is the kernel's pseudo instruction that becomes a fence.
const nospec = 0xc2

// Fences are what makes the program slow. A plain packet meets none in the
// program itself, and the others may have no more than this.
func TestFences(t *testing.T) {
	var program *ebpf.Program
	withOnly(t, true, []capability.Cap{capability.NetRaw, capability.BPF}, func() {
		m, err := newShared()
		if err == nil {
			defer m.Close()
			program, err = m.instance(constants{slot: 1, linkHeader: 14})
		}
		if err != nil {
			t.Fatalf("%+v", err)
		}
	})
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		t.Fatal(err)
	}
	code, err := info.Instructions()
	if err != nil {
		t.Fatal(err)
	}
	functions, plain, all := 0, 0, 0
	for _, instruction := range code {
		if btf.FuncMetadata(&instruction) != nil {
			functions++
		}
		if instruction.OpCode == nospec {
			all++
			if functions <= 1 {
				plain++
			}
		}
	}
	t.Logf("%d instructions in %d functions, %d fences, %d on the way of a plain packet", len(code), functions, all, plain)
	if functions < 2 || plain > 0 || all > 110 {
		t.Errorf("%d fences in %d functions, %d of them on the way of a plain packet", all, functions, plain)
	}
	// Before Linux 6.7 a socket may hold 20,480 bytes of filter.
	if size := len(code)*8 + 256; size > 20480 {
		t.Errorf("the program takes %d bytes of net.core.optmem_max", size)
	}
}
