package ebpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// grace waits until every run of the program that may have seen an older
// control page is over.
type grace struct {
	outer, inner *ebpf.Map // nil while the system call serves
}

const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL

// wait returns after a grace period of RCU: the program runs inside a reader's
// section of it.
func (g *grace) wait() error {
	if g.outer == nil {
		_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
		if errno == 0 {
			return nil
		}
		if err := g.open(); err != nil {
			return fmt.Errorf("membarrier: %w; instead: %w", errno, err)
		}
	}
	// The kernel waits so that who has changed a map of maps knows that no
	// program uses what was in it.
	if err := g.outer.Put(uint32(0), g.inner); err != nil {
		return fmt.Errorf("waiting for runs of the eBPF program: %w", err)
	}
	return nil
}

// open prepares the other way to wait: membarrier is not there with nohz_full
// processors (EINVAL), in kernels without it and under some seccomp profiles.
func (g *grace) open() error {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	m, err := ebpf.NewMap(inner)
	if err != nil {
		return fmt.Errorf("creating a map to wait with: %w", err)
	}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
	})
	if err != nil {
		m.Close()
		return fmt.Errorf("creating a map of maps to wait with: %w", err)
	}
	g.inner, g.outer = m, outer
	return nil
}

func (g *grace) Close() {
	g.outer.Close()
	g.inner.Close()
}
