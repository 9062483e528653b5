package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// ranked lists the engines that auto chooses from, the best first.
var ranked = []string{"ebpf", "pcap", "sockdiag"}

// best is the engine that a wish would get if everything were permitted.
func best(wish string) string {
	if wish == "auto" {
		return ranked[0]
	}
	return wish
}

// reengage makes the engine that the settings ask for count what they ask for.
func (a *Agent) reengage() {
	a.retarget()
	if a.source != nil && a.engine == best(a.cfg.Engine) {
		a.reason = ""
		a.settle("engine")
	} else {
		a.openEngine()
	}
	if a.source != nil {
		err := a.Engines.Configure(a.source, a.cfg)
		a.complain("settings", "settings of the engine cannot be applied", err)
	}
}

// openEngine opens the best engine that is wished for and can run. If none can,
// the former one stays.
func (a *Agent) openEngine() {
	wish := ranked
	if a.cfg.Engine != "auto" {
		wish = []string{a.cfg.Engine}
	}
	var failed []error
	for _, name := range wish {
		if a.source != nil && a.engine == name {
			break
		}
		target, more := a.nextTarget(nil)
		s, err := a.Engines.Open(name, a.cfg, target)
		if err == nil {
			a.switchTo(s, name)
			a.target, a.more = target, more
			a.Log.Info("counting packets", "engine", name, "port", a.cfg.Port,
				"devices", nameSome(a.deviceNames()))
			break
		}
		failed = append(failed, &engineError{name, err})
	}
	err := errors.Join(failed...)
	a.reason = oneLine(err)
	if hint := hintOf(err); hint != "" {
		a.reason += " (" + hint + ")"
	}
	switch {
	case a.source == nil:
		a.ledger.Uncovered(a.Now())
		a.complain("engine", "no packets are counted, as no engine can run", err)
	case a.cfg.Engine != "auto" && a.engine != a.cfg.Engine:
		a.complain("engine", "engine "+a.engine+" stays in use", err)
	default:
		a.settle("engine")
		if err != nil {
			a.Log.Info("a better engine cannot run", "err", oneLine(err), "hint", hintOf(err))
		}
	}
}

type engineError struct {
	name string
	err  error
}

func (e *engineError) Error() string { return "engine " + e.name + ": " + e.err.Error() }
func (e *engineError) Unwrap() error { return e.err }

// switchTo makes s the source. Where one is in use both are cut at one moment, as
// far as they can agree on one: packets that pass just then may be seen by both, or
// by neither, and the status view says so until the totals are reset.
func (a *Agent) switchTo(s engine.Source, name string) {
	former, formerName := a.source, a.engine
	a.source, a.engine = s, name
	if former == nil {
		a.ledger.Cover(a.Now())
		return
	}
	last := cut{then: a.waiting, final: former}
	first := cut{void: true}
	a.waiting = nil
	// One that does not overlap is cut when it is told to, the other by packets' times.
	now := a.Now()
	if s.Overlap() {
		last.read = former.Cut(now.Wall)
		first.read = s.Cut(now.Wall)
	} else {
		first.read = s.Cut(now.Wall)
		last.read = former.Cut(now.Wall)
	}
	last.at, first.at = now, now
	a.push(last)
	a.push(first)
	a.changed = fmt.Sprintf("the engine was changed from %s to %s at %s: packets of that instant may be missing or count twice",
		formerName, name, now.Wall.UTC().Format("2006-01-02 15:04:05 MST"))
}

// retarget makes the source count what there is to count now.
func (a *Agent) retarget() {
	a.retryAt = 0
	found, err := a.Network.Find(a.cfg)
	a.complain("network", "the host's network cannot be read", err)
	if err != nil {
		return
	}
	a.found = found
	a.complainText("devices", strings.Join(found.Warnings, "; "))
	if a.source == nil {
		return
	}
	before := a.deviceNames()
	a.target, a.more = a.nextTarget(a.target.Devices)
	err = a.source.Retarget(a.target)
	a.complain("target", "some devices cannot be counted", err)
	if err != nil {
		a.retryAt = a.Now().Mono + retryEvery
	}
	if names := a.deviceNames(); !slices.Equal(before, names) {
		a.Log.Info("devices have changed", "devices", nameSome(names))
	}
}

// newDevices is how many devices the source is given at a time: each costs it some
// ten milliseconds, in which no interval ends and nothing is published.
const newDevices = 4

// nextTarget gives what was found, with no more devices beside those that are counted
// on than go at a time, and tells whether there are more.
func (a *Agent) nextTarget(counted []engine.Device) (t engine.Target, more bool) {
	t = a.found.Target
	t.Devices = nil
	room := newDevices
	for _, d := range a.found.Target.Devices {
		known := slices.ContainsFunc(counted, func(o engine.Device) bool { return o.Index == d.Index })
		if !known && room == 0 {
			more = true
			continue
		}
		if !known {
			room--
		}
		t.Devices = append(t.Devices, d)
	}
	return t, more
}

// nameSome lists names for the log, the first of many.
func nameSome(names []string) string {
	const some = 8
	switch {
	case len(names) == 0:
		return "(none)"
	case len(names) > some:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:some], ","), len(names)-some)
	default:
		return strings.Join(names, ",")
	}
}

func (a *Agent) deviceNames() []string {
	var names []string
	for _, d := range a.target.Devices {
		names = append(names, d.Name)
	}
	return names
}

// complain notes that something cannot be done, in the status view and once in the
// log; without an error, that it can.
func (a *Agent) complain(about, what string, err error) {
	if err == nil {
		a.settle(about)
		return
	}
	text := what + ": " + oneLine(err)
	if a.trouble[about] == text {
		return
	}
	a.trouble[about] = text
	if about == "engine" {
		a.Log.Error(text, "hint", hintOf(err))
		return
	}
	a.Log.Warn(text, "hint", hintOf(err))
}

// complainText does the same for a text, empty if there is nothing to say.
func (a *Agent) complainText(about, text string) {
	if text == "" {
		a.settle(about)
		return
	}
	if a.trouble[about] != text {
		a.trouble[about] = text
		a.Log.Warn(text)
	}
}

func (a *Agent) settle(about string) { delete(a.trouble, about) }

func (a *Agent) refuseDevices(err error, kept ...string) {
	a.complain("device", "pg_netstat.device stays "+strings.Join(kept, ","), err)
}

// oneLine gives the text of joined errors in one line.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// hintOf finds what to do about an error, of all that it joins.
func hintOf(err error) string {
	var hints []string
	var walk func(error)
	walk = func(err error) {
		if m, ok := err.(*engine.Missing); ok && m.Hint != "" && !slices.Contains(hints, m.Hint) {
			hints = append(hints, m.Hint)
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			walk(e.Unwrap())
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				walk(err)
			}
		}
	}
	walk(err)
	return strings.Join(hints, " ")
}
