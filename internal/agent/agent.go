// Package agent is the loop of the agent: it takes the worker's configuration
// and requests, makes an engine count on the right devices, cuts its counts at
// the intervals' boundaries, and publishes snapshots of the accounts.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/device"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// Network finds what of the host's network belongs to the server.
type Network interface {
	// Find says what to count now.
	Find(Config) (Found, error)
	// Watch calls changed whenever Find may say something else, until ctx is done.
	Watch(ctx context.Context, changed func()) error
}

// Found is what there is to count.
type Found struct {
	Target   engine.Target
	State    func(device string) string // what a device is doing, if it is no target
	Down     []string                   // targets that are down now
	Warnings []string                   // what of the wish cannot be fulfilled now
	Inexact  string                     // why sums over the devices are not exact
}

// Engines opens sources by name: ebpf, pcap, sockdiag.
type Engines interface {
	Open(name string, c Config, t engine.Target) (engine.Source, error)
	// Configure applies what of the settings is the engine's own.
	Configure(s engine.Source, c Config) error
	// Restart tells whether a new process of the agent would be permitted
	// more than this one.
	Restart() bool
}

// Times of the loop that no setting changes.
const (
	beatEvery    = 3 * time.Second
	rescanEvery  = 30 * time.Second
	stepEvery    = 5 * time.Millisecond // between the parts of a large target
	retryEvery   = 5 * time.Second
	farewellTime = 1500 * time.Millisecond // for the last reading after TypeQuit
)

// Agent is the loop's state. Only its own goroutine touches it.
type Agent struct {
	Version string
	Wire    *Wire
	Log     *slog.Logger
	Network Network
	Engines Engines
	Sockets Sockets
	Flows   *session.Flows // what the sessions carry, for an engine that derives packets from it
	Now     func() account.Instant

	cfg      Config
	room     int // bytes a set of snapshots may have
	ledger   *account.Ledger
	history  view.HistoryEncoder
	register *session.Register
	refresh  refresh
	shown    shown
	restored link.Restored
	resetSeq uint64

	source  engine.Source
	engine  string // name of source
	reason  string // why a better engine is not used, or why there is none
	changed string // that the engine was changed since the reset, or empty
	found   Found
	target  engine.Target     // what of it the source was given
	more    bool              // devices of it are still to be given
	trouble map[string]string // what cannot be done now, by what it is about
	due     time.Duration     // when to tick (monotonic)
	retryAt time.Duration     // when to try the target again (monotonic); 0 for never

	cuts     []cut
	reading  bool                    // of the first of cuts
	waiting  []func(account.Instant) // to run at the next cut
	readings chan reading
	leaving  bool
}

// Run serves the worker behind r until it closes the socket or asks the agent
// to leave. The error says why it could not go on.
func (a *Agent) Run(ctx context.Context, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := a.Wire.Send(link.AgentHello(a.Version)); err != nil {
		return fmt.Errorf("greeting the worker: %w", err)
	}
	frames := link.NewReader(r)
	if err := a.start(frames); err != nil {
		return err
	}
	in := make(chan frame)
	go readFrames(ctx, frames, in)
	changed := make(chan struct{}, 1)
	go a.watch(ctx, changed)
	a.readings = make(chan reading, 1)
	a.refresh.dumps = make(chan dump, 1)
	defer func() {
		if a.source != nil {
			a.source.Close()
		}
	}()
	a.retarget()
	a.openEngine()
	if err := a.publishIfIdle(); err != nil {
		return err
	}
	a.refreshThen(nil)
	return a.loop(in, changed)
}

// start takes the worker's first frames: who it is, its settings, and what an
// earlier agent published.
func (a *Agent) start(frames *link.Reader) error {
	a.trouble = map[string]string{}
	snapshots := map[string][]byte{}
	for {
		t, body, err := frames.Next()
		if err != nil {
			return fmt.Errorf("reading the worker's first frames: %w", err)
		}
		switch t {
		case link.TypeHello:
			err = a.greeted(frames, body)
		case link.TypeConfig:
			a.cfg, err = a.parse(body)
		case link.TypeRestore:
			var name string
			var data []byte
			if name, data, err = link.DecodeRestore(body); err == nil {
				snapshots[name] = data
			}
		case link.TypeRestored:
			if a.restored, err = link.DecodeRestored(body); err == nil {
				return a.restore(snapshots)
			}
		default:
			err = fmt.Errorf("%w: type %q before the agent has started", link.ErrFrame, t)
		}
		if err != nil {
			return err
		}
	}
}

func (a *Agent) greeted(frames *link.Reader, body []byte) error {
	h, err := link.DecodeHello(body)
	if err != nil {
		return err
	}
	if h.Protocol != link.Protocol {
		return fmt.Errorf("the server's module speaks protocol %d, this agent (%s) %d: restart the server",
			h.Protocol, a.Version, link.Protocol)
	}
	frames.Limit(h.MaxSet)
	a.room = int(min(h.MaxSet, 1<<31-1))
	return nil
}

func (a *Agent) parse(body []byte) (Config, error) {
	values, err := link.DecodeConfig(body)
	if err != nil {
		return Config{}, err
	}
	return ParseConfig(values)
}

func (a *Agent) restore(snapshots map[string][]byte) error {
	if a.cfg.Port == 0 || a.room == 0 {
		return fmt.Errorf("%w: no greeting or no settings", link.ErrFrame)
	}
	if err := CheckDevices(a.cfg.Devices.Names); err != nil {
		a.refuseDevices(err, device.Auto)
		a.cfg.Devices.Names = []string{device.Auto}
	}
	now := a.Now()
	a.ledger = account.New(now, a.cfg.Interval, a.cfg.History, a.maxDevices())
	a.resetSeq = a.restored.ResetSeq
	if len(snapshots) > 0 {
		saved, err := view.Restore(snapshots)
		if err != nil {
			a.Log.Warn("some earlier figures cannot be restored", "err", err)
		}
		a.ledger.Restore(now, saved)
	}
	a.restoreSessions(snapshots)
	return nil
}

type frame struct {
	kind byte
	body []byte
	err  error
}

func readFrames(ctx context.Context, r *link.Reader, out chan<- frame) {
	for {
		var f frame
		f.kind, f.body, f.err = r.Next()
		select {
		case out <- f:
		case <-ctx.Done():
			return
		}
		if f.err != nil {
			return
		}
	}
}

// watch tells when the network changes; when it cannot, looking again from
// time to time must do.
func (a *Agent) watch(ctx context.Context, changed chan<- struct{}) {
	err := a.Network.Watch(ctx, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil && ctx.Err() == nil {
		a.Log.Warn("changes of the network are seen late", "err", err,
			"detail", fmt.Sprintf("They are looked for every %s.", rescanEvery))
	}
}

// errLeave ends the loop without an error.
var errLeave = errors.New("leaving")

func (a *Agent) loop(in <-chan frame, changed <-chan struct{}) error {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	rescan := time.NewTicker(rescanEvery)
	defer rescan.Stop()
	a.due = a.nextTick()
	wake := time.NewTimer(a.due - a.Now().Mono)
	defer wake.Stop()
	step := time.NewTimer(stepEvery)
	defer step.Stop()
	var farewell <-chan time.Time
	for {
		var err error
		select {
		case f := <-in:
			err = a.handle(f)
		case <-changed:
			a.retarget()
		case <-rescan.C:
			a.retarget()
			if a.source == nil {
				a.openEngine()
			}
		case r := <-a.readings:
			err = a.take(r)
		case d := <-a.refresh.dumps:
			err = a.dumped(d)
		case <-step.C:
			if a.more {
				a.retarget()
			}
		case <-wake.C:
			err = a.woken()
		case <-beat.C:
			err = a.Wire.Send(link.Beat())
		case <-farewell:
			a.Log.Warn("the last packets could not be read in time")
			err = errors.Join(a.publish(), errLeave)
		}
		if a.leaving && farewell == nil {
			farewell = time.After(farewellTime)
		}
		if errors.Is(err, errLeave) || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if a.more {
			step.Reset(stepEvery)
		}
		a.due = min(a.due, a.nextTick())
		wake.Reset(min(a.due, a.shown.by()) - a.Now().Mono)
	}
}

func (a *Agent) handle(f frame) error {
	if f.err != nil {
		return f.err
	}
	switch f.kind {
	case link.TypeConfig:
		c, err := a.parse(f.body)
		if err != nil {
			return err
		}
		return a.reload(c)
	case link.TypeReset:
		seq, err := link.DecodeReset(f.body)
		if err != nil {
			return err
		}
		a.reset(seq)
		return nil
	case link.TypeQuit:
		a.leaving = true
		a.shown.wanted = true
		a.requestCut(func(account.Instant) {})
		return a.publishIfIdle()
	default:
		return a.handleSessions(f)
	}
}

// reload applies changed settings, at a cut: everything before it is counted
// under the former ones.
func (a *Agent) reload(c Config) error {
	if err := CheckDevices(c.Devices.Names); err != nil {
		a.refuseDevices(err, a.cfg.Devices.Names...)
		c.Devices.Names = a.cfg.Devices.Names
	} else {
		a.settle("device")
	}
	a.cfg = c
	a.nameNetworks()
	a.bound()
	if a.engine != best(c.Engine) && a.Engines.Restart() {
		a.Log.Info("the agent restarts to use the capabilities that its file has now")
		a.leaving = true
	}
	a.requestCut(func(at account.Instant) {
		a.ledger.Configure(at, c.Interval, c.History, a.maxDevices())
		if !a.leaving {
			a.reengage()
		}
	})
	return a.publishIfIdle()
}
