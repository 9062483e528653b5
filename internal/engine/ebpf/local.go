package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// locals are the prefixes in the program's tries.
type locals struct {
	v4, v6 *ebpf.Map
	have   map[netip.Prefix]bool
}

func newLocals(m *shared) *locals {
	return &locals{v4: m.all[programMapLocal4], v6: m.all[programMapLocal6], have: map[netip.Prefix]bool{}}
}

// set enters what is new before it removes what is gone, so that an address
// that is in both lists, by another prefix, stays local throughout.
func (l *locals) set(prefixes []netip.Prefix) error {
	want := make(map[netip.Prefix]bool, len(prefixes))
	var all []error
	for _, p := range prefixes {
		p = canonical(p)
		if !p.IsValid() {
			continue
		}
		want[p] = true
		if l.have[p] {
			continue
		}
		if err := l.put(p); err != nil {
			all = append(all, fmt.Errorf("entering the local address %v: %w", p, err))
			continue
		}
		l.have[p] = true
	}
	for p := range l.have {
		if want[p] {
			continue
		}
		if err := l.remove(p); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			all = append(all, fmt.Errorf("removing the local address %v: %w", p, err))
			continue
		}
		delete(l.have, p)
	}
	return errors.Join(all...)
}

// canonical gives the one form of a prefix that is used as a key.
func canonical(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func (l *locals) put(p netip.Prefix) error {
	const present = uint8(1)
	if p.Addr().Is4() {
		return l.v4.Put(key4(p), present)
	}
	return l.v6.Put(key6(p), present)
}

func (l *locals) remove(p netip.Prefix) error {
	if p.Addr().Is4() {
		return l.v4.Delete(key4(p))
	}
	return l.v6.Delete(key6(p))
}

func key4(p netip.Prefix) programPrefix4 {
	a := p.Addr().As4()
	return programPrefix4{Length: uint32(p.Bits()), Address: binary.NativeEndian.Uint32(a[:])}
}

func key6(p netip.Prefix) programPrefix6 {
	return programPrefix6{Length: uint32(p.Bits()), Address: p.Addr().As16()}
}
