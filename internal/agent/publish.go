package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// deviceRow is more than a row of the devices' snapshot takes.
const deviceRow = 400

// maxDevices bounds the devices so that their rows take an eighth of the set
// at most.
func (a *Agent) maxDevices() int {
	return max(min(a.cfg.MaxEntries, a.room/8/deviceRow), 8)
}

// shown is what was published, and what is to be.
type shown struct {
	history uint64        // version of the history
	wanted  bool          // the sessions' tables go with the next publication
	late    time.Duration // when to publish them at the latest (monotonic); 0 for no hurry

	// Of the sessions' tables that were published last:
	at       time.Duration // when (monotonic)
	seq      uint64        // through which event they go
	sessions int
	folded   uint64
	until    time.Time // all that sessions did before is in them
	measured bool      // the next ones have speeds
	known    time.Time // until, of the next ones

	sizes   map[string]int    // of the snapshots that are shown
	buffers map[string][]byte // to make the next in
}

// by says when a publication is due at the latest.
func (s *shown) by() time.Duration {
	if !s.wanted || s.late == 0 {
		return 1<<63 - 1
	}
	return s.late
}

// readingTime is how long the sessions' tables wait for the reading of the packets, so
// that both are published at once.
const readingTime = 50 * time.Millisecond

// publishSoon publishes the sessions' tables, with the reading that is
// under way if that comes soon.
func (a *Agent) publishSoon() error {
	a.shown.wanted = true
	if len(a.cuts) > 0 {
		a.shown.late = a.Now().Mono + readingTime
		return nil
	}
	return a.publish()
}

// set is what is to be published at once.
type set struct {
	*Agent
	frames [][]byte
}

func (s *set) add(t *link.Table, data []byte) {
	s.shown.sizes[t.Name] = len(data)
	s.frames = append(s.frames, link.SnapshotHead(t.Name, len(data)), data)
}

// publish shows the accounts as they are now. The sessions' tables are not
// part of it if nothing is new in them, or not everything is known yet: an interval
// that has ended does not wait for them.
func (a *Agent) publish() error {
	if a.shown.sizes == nil {
		a.shown.sizes, a.shown.buffers = map[string]int{}, map[string][]byte{}
	}
	s := set{Agent: a}
	devices, err := view.EncodeDevices(a.ledger, a.deviceState)
	if err != nil {
		return err
	}
	s.add(&view.Devices, devices)
	if a.shown.wanted && a.register.Ready() {
		if err := s.addSessions(); err != nil {
			return err
		}
	}
	if err := s.addHistory(); err != nil {
		return err
	}
	status, err := view.EncodeStatus(a.status(), a.ledger)
	if err != nil {
		return err
	}
	s.add(&view.StatusTable, status)
	s.frames = append(s.frames, link.Publish(a.shown.seq, a.resetSeq))
	return a.Wire.Send(s.frames...)
}

// rest is how many bytes of the set are left beside the history and one more
// snapshot, if all the others stay as they are.
func (s *set) rest(beside string) int {
	rest := s.room - statusRoom
	for name, size := range s.shown.sizes {
		if name != view.History.Name && name != beside {
			rest -= size
		}
	}
	return rest
}

// addHistory adds the history if it has changed, or must make room for others.
func (s *set) addHistory() error {
	rest, v := s.rest(""), s.ledger.Version()
	if v == s.shown.history && s.shown.sizes[view.History.Name] <= rest {
		return nil
	}
	// The others may grow a little before the history has to shrink again.
	history, left, err := s.Agent.history.Encode(s.ledger, rest-rest/8)
	if err != nil {
		return err
	}
	s.shown.history = v
	s.add(&view.History, history)
	s.noteLeft("history", left, "the oldest rows of pg_netstat")
	return nil
}

// statusRoom is what the status and the names of a set may take.
const statusRoom = 32768

// noteLeft notes that rows do not fit into a set, which is said in the log once.
func (a *Agent) noteLeft(about string, rows int, which string) {
	text := ""
	if rows > 0 {
		text = fmt.Sprintf("%s are left out (%d), as they do not fit into pg_netstat.max_memory", which, rows)
	}
	about = "memory for " + about
	// The number changes with each row: only its first is worth a line in the log.
	if text != "" && a.trouble[about] != "" {
		a.trouble[about] = text
		return
	}
	a.complainText(about, text)
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
		Sessions: a.shown.sessions, Folded: a.shown.folded, SessionsUntil: a.shown.until,
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
