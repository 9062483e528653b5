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
// empty one says Auto. As in other lists of PostgreSQL's, a name may stand in
// double quotes, and Auto and All be in capitals.
func ParseWish(names string, loopback bool) Wish {
	w := Wish{Loopback: loopback}
	for names != "" {
		var name string
		if name, names = nextName(names); name != "" && !slices.Contains(w.Names, name) {
			w.Names = append(w.Names, name)
		}
	}
	if len(w.Names) == 0 {
		w.Names = []string{Auto}
	}
	return w
}

// nextName takes the first name off a list.
func nextName(list string) (name, rest string) {
	list = strings.TrimSpace(list)
	if inner, isQuoted := strings.CutPrefix(list, `"`); isQuoted {
		if name, rest, ok := strings.Cut(inner, `"`); ok {
			if rest = strings.TrimSpace(rest); rest == "" || rest[0] == ',' {
				return name, strings.TrimPrefix(rest, ",")
			}
		}
	}
	name, rest, _ = strings.Cut(list, ",")
	name = strings.TrimSpace(name)
	for _, word := range []string{Auto, All} {
		if strings.EqualFold(name, word) {
			name = word
		}
	}
	return name, rest
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
		}
		for _, below := range chosen {
			if below != l && s.shows(below, l) {
				doubled = append(doubled, below.Name+" also shows the packets of "+l.Name)
			}
		}
	}
	if len(doubled) > 0 {
		sel.Doubled = "the sum over devices counts packets twice: " + strings.Join(some(doubled, "%s", "%d more such pairs"), ", ")
	}
	sel.Warnings = append(some(sel.Absent, "device %q does not exist; it is counted as soon as it does", "%d more devices do not exist"),
		some(sel.Down, "device %q is down", "%d more devices are down")...)
	if len(chosen) == 0 && len(sel.Absent) == 0 {
		sel.Warnings = append(sel.Warnings,
			"no device is up and bears an address that the server can be reached at: see listen_addresses, pg_netstat.device and, for connections within this host, pg_netstat.capture_loopback")
	}
}

// some says one thing of each of the first names, and how many more there are.
func some(names []string, one, more string) []string {
	const most = 8
	var said []string
	for i, name := range names {
		if i == most {
			return append(said, fmt.Sprintf(more, len(names)-most))
		}
		said = append(said, fmt.Sprintf(one, name))
	}
	return said
}
