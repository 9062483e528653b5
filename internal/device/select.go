package device

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// The words that stand for devices in a wish.
const (
	Auto = "auto"
	All  = "all"
)

// Wish is on which devices the operator wants to count.
type Wish struct {
	// Names are devices, or Auto or All, in the operator's order.
	Names []string
	// Loopback adds the loopback device.
	Loopback bool
}

// ParseWish reads the value of a setting: names separated by commas, where an
// empty one says Auto.
func ParseWish(names string, loopback bool) Wish {
	w := Wish{Loopback: loopback}
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(w.Names, name) {
			w.Names = append(w.Names, name)
		}
	}
	if len(w.Names) == 0 {
		w.Names = []string{Auto}
	}
	return w
}

// Selection is what comes of a wish on the devices that there are.
type Selection struct {
	// Devices are to be counted on, in the order of the wish. A device that was
	// wished for by name is among them also while it is down, so that an engine
	// that can stay on it misses nothing when it comes up.
	Devices []engine.Device
	// Down are the names in Devices that are down now.
	Down []string
	// Absent are devices wished for by name that do not exist now.
	Absent []string
	// Doubled says in a sentence why a packet may count on two of Devices, and
	// is empty if none does.
	Doubled string
	// Warnings are sentences for the operator.
	Warnings []string
}

// Select decides on which devices to count, given the addresses that the server
// listens on.
//
// Auto are the devices that are up, are not loopback and bear an address that
// the server can be reached at, each packet on one of them (see auto). All are
// those that are up, with or without an address, where a packet may count on
// several. Neither has loopback in it unless the wish says so; a loopback
// device that is named needs no further wish.
func Select(s Snapshot, w Wish, listeners []netip.Addr) Selection {
	var sel Selection
	var chosen []*Link
	add := func(l *Link) {
		if !slices.Contains(chosen, l) {
			chosen = append(chosen, l)
		}
	}
	for _, name := range w.Names {
		switch name {
		case Auto:
			for _, l := range auto(&s, listeners) {
				add(l)
			}
		case All:
			for i := range s.Links {
				if l := &s.Links[i]; l.Up && !l.Loopback {
					add(l)
				}
			}
		default:
			if l := s.byName(name); l != nil {
				add(l)
			} else if !slices.Contains(sel.Absent, name) {
				sel.Absent = append(sel.Absent, name)
				sel.Warnings = append(sel.Warnings,
					fmt.Sprintf("device %q does not exist; it is counted as soon as it does", name))
			}
		}
	}
	if w.Loopback {
		for i := range s.Links {
			if l := &s.Links[i]; l.Up && l.Loopback {
				add(l)
			}
		}
	}
	sel.describe(&s, chosen)
	return sel
}

// describe fills in what follows from the chosen links.
func (sel *Selection) describe(s *Snapshot, chosen []*Link) {
	var doubled []string
	for _, l := range chosen {
		sel.Devices = append(sel.Devices, l.target())
		if !l.Up {
			sel.Down = append(sel.Down, l.Name)
			sel.Warnings = append(sel.Warnings, fmt.Sprintf("device %q is down", l.Name))
		}
		for _, below := range chosen {
			if below != l && s.shows(below, l) {
				doubled = append(doubled, below.Name+" also shows the packets of "+l.Name)
			}
		}
	}
	if len(doubled) > 0 {
		sel.Doubled = "the sum over devices counts packets twice: " + strings.Join(doubled, ", ")
	}
	if len(chosen) == 0 && len(sel.Absent) == 0 {
		sel.Warnings = append(sel.Warnings,
			"no device is up and bears an address that the server can be reached at: see listen_addresses, pg_netstat.device and, for connections within this host, pg_netstat.capture_loopback")
	}
}
