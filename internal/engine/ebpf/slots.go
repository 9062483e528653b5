package ebpf

import (
	"fmt"
	"maps"
	"slices"
)

// slots are the places of devices in the program's array.
type slots struct {
	inUse   map[int]*tap // by slot
	retired map[int]*tap // closed, with counts not yet read
	max     int
}

func newSlots(n int) slots {
	return slots{inUse: map[int]*tap{}, retired: map[int]*tap{}, max: n}
}

// seen is a slot that counted in a period.
type seen struct {
	slot    int
	device  string
	retired bool
}

func (s *slots) tapOf(index int) *tap {
	for _, t := range s.inUse {
		if t.Index == index {
			return t
		}
	}
	return nil
}

func (s *slots) taps() []*tap { return slices.Collect(maps.Values(s.inUse)) }

// free gives a slot whose counters are zero.
func (s *slots) free() (int, error) {
	for slot := range s.max {
		if s.inUse[slot] == nil && s.retired[slot] == nil {
			return slot, nil
		}
	}
	return 0, fmt.Errorf("no more than %d devices can be counted on", s.max)
}

func (s *slots) use(t *tap) { s.inUse[t.slot] = t }

func (s *slots) retire(t *tap) {
	delete(s.inUse, t.slot)
	s.retired[t.slot] = t
}

// period gives the slots that counted since the last cut, in the order of their
// numbers. A tap that was closed before this cut counts in no later period.
func (s *slots) period() []seen {
	var all []seen
	for slot, t := range s.inUse {
		all = append(all, seen{slot: slot, device: t.Name})
	}
	for slot, t := range s.retired {
		all = append(all, seen{slot: slot, device: t.Name, retired: true})
	}
	slices.SortFunc(all, func(a, b seen) int { return a.slot - b.slot })
	return all
}

// reuse frees the slots of closed taps after their last period was read.
func (s *slots) reuse(period []seen) {
	for _, one := range period {
		if one.retired {
			delete(s.retired, one.slot)
		}
	}
}
