package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// deviceRow is more than a row of the devices' snapshot takes.
const deviceRow = 400

// maxDevices bounds the devices so that their rows take a quarter of the set
// at most.
func (a *Agent) maxDevices() int {
	return max(min(a.cfg.MaxEntries, a.room/4/deviceRow), 8)
}

// publish shows the accounts as they are now.
func (a *Agent) publish() error {
	devices, err := view.EncodeDevices(a.ledger, a.deviceState)
	if err != nil {
		return err
	}
	var frames [][]byte
	add := func(t link.Table, data []byte) { frames = append(frames, link.Snapshot(t.Name, data)) }
	add(view.Devices, devices)
	if v := a.ledger.Version(); v != a.shown {
		history, left, err := a.history.Encode(a.ledger, a.room-a.room/4-statusRoom)
		if err != nil {
			return err
		}
		a.shown = v
		add(view.History, history)
		a.noteLeft(left)
	}
	status, err := view.EncodeStatus(a.status(), a.ledger)
	if err != nil {
		return err
	}
	add(view.StatusTable, status)
	frames = append(frames, link.Publish(a.restored.EventSeq, a.resetSeq))
	return a.Wire.Send(frames...)
}

// statusRoom is what the status and the names of a set may take.
const statusRoom = 32768

func (a *Agent) noteLeft(rows int) {
	text := ""
	if rows > 0 {
		text = fmt.Sprintf("the oldest rows of pg_netstat are left out (%d), as they do not fit into pg_netstat.max_memory", rows)
	}
	// The number changes with each row: only its first is worth a line in the log.
	if text != "" && a.trouble["memory"] != "" {
		a.trouble["memory"] = text
		return
	}
	a.complainText("memory", text)
}

func (a *Agent) deviceState(name string) string {
	if slices.Contains(a.deviceNames(), name) && a.source != nil && !slices.Contains(a.found.Down, name) {
		return "counting"
	}
	if a.found.State == nil {
		return "not counted"
	}
	return a.found.State(name)
}

func (a *Agent) status() view.Status {
	s := view.Status{
		State: "counting", Engine: a.engine, EngineReason: a.reason,
		Devices: a.deviceNames(), Port: a.cfg.Port,
	}
	if a.restored.Origin != link.OriginNone {
		s.Restored, s.RestoredFrom = a.restored.Origin.String(), a.restored.Published
	}
	var inexact []string
	switch {
	case a.source == nil:
		s.State, s.Engine, s.Devices = "no engine", "", nil
	case len(s.Devices) == 0:
		s.State = "waiting for a device"
		fallthrough
	default:
		inexact = append(inexact, a.source.Inexact())
	}
	inexact = slices.DeleteFunc(append(inexact, a.found.Inexact, a.changed), func(s string) bool { return s == "" })
	s.InexactReason = strings.Join(inexact, "; ")
	var warnings []string
	for about, text := range a.trouble {
		if about != "engine" || a.source != nil {
			warnings = append(warnings, text)
		}
	}
	slices.Sort(warnings)
	s.Warning = strings.Join(warnings, "; ")
	return s
}
