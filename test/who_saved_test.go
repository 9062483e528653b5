package test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestEventsSavedAtShutdown: what no agent has published is in the file, with the
// last figures of the sessions that the shutdown ends.
func TestEventsSavedAtShutdown(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"smart", "fast"} {
		t.Run(mode, func(t *testing.T) {
			p := newPlayed(t)
			p.roles(t, "kept")
			puppet, l := p.begin(t)
			first, second := p.as(t, "kept"), p.as(t, "kept")
			first.Exec(t, "SELECT repeat('x', 5000)")
			first.Close()
			second.Exec(t, "SELECT repeat('x', 7000)")
			if mode == "smart" {
				second.Close()
				over(t, puppet, l, "kept")
				p.s.Stop(t, mode)
			} else {
				conn := raw(t, second)
				p.s.Stop(t, mode)
				drain(t, conn)
				puppet.Quitting(t)
				l.Apply(t, puppet.Batches(t))
				if live := liveOf(l, "kept"); len(live) > 0 {
					t.Errorf("the agent is asked to end while it knows of %+v", live)
				}
			}
			p.s.Start(t)
			puppet, l = p.begin(t)
			has(t, "kept", l.Sum(ofRole("kept")), 2, 2, 0, first.In.Load()+second.In.Load(), first.Out.Load()+second.Out.Load())
			if len(l.Ghosts) > 0 {
				t.Errorf("there are ghosts after a shutdown: %+v", l.Ghosts)
			}
			puppet.Close()
		})
	}
}

// crash is how a server comes to start with a file that was saved while sessions
// were live.
type crash struct {
	name string
	do   func(t *testing.T, p *played, c *harness.Client)
}

var crashes = []crash{
	{"immediate shutdown", func(t *testing.T, p *played, _ *harness.Client) {
		p.s.Stop(t, "immediate")
		p.s.Start(t)
	}},
	{"killed backend", func(t *testing.T, p *played, c *harness.Client) {
		p.s.Disconnect()
		harness.Signal(t, c.Pid(), syscall.SIGKILL)
		drainAny(c)
	}},
}

// drainAny reads what there is until the connection ends, however that is.
func drainAny(c *harness.Client) {
	conn := c.PgConn().Conn()
	buffer := make([]byte, 1000)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

// save lets the puppet publish what is in a ledger, and waits until it is saved.
func (p *played) save(t *testing.T, puppet *harness.Puppet, l *harness.Ledger) {
	t.Helper()
	begin := harness.Value[time.Time](t, p.s, "SELECT clock_timestamp()")
	reset := p.s.Host.Start(t, "psql", "-X", "-h", p.s.Sockets, "-p", fmt.Sprint(p.s.Port), "-c", "SELECT pg_netstat_reset()", "postgres")
	puppet.AwaitReset(t)
	if err := puppet.Send(link.Publish(l.Seq, puppet.ResetSeq)); err != nil {
		t.Fatal(err)
	}
	reset.Wait(t)
	harness.Until(t, patience, "the file being saved", func() error {
		at := harness.Value[*time.Time](t, p.s, "SELECT saved_at FROM pg_netstat_worker()")
		if at == nil || at.Before(begin) {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestEventsAfterCrash: a session that was live when the file was saved is told of
// as a ghost, with the account that it had and what was settled of it; and again to
// the next agent, until one has published it.
func TestEventsAfterCrash(t *testing.T) {
	t.Parallel()
	for _, crash := range crashes {
		t.Run(crash.name, func(t *testing.T) {
			p := newPlayed(t)
			p.roles(t, "ghost")
			puppet, l := p.begin(t)
			c := p.as(t, "ghost", "application_name=before")
			c.Exec(t, "SELECT repeat('x', 5000); SET application_name = 'after'")
			var live link.Live
			harness.Until(t, patience, "the session having its name", func() error {
				l.Apply(t, puppet.Take(t))
				all := liveOf(l, "ghost")
				if len(all) != 1 || all[0].Application != "after" {
					return fmt.Errorf("%+v", all)
				}
				live = all[0]
				return nil
			})
			p.save(t, puppet, l)
			c.Exec(t, "SELECT repeat('x', 7000)")
			l.Apply(t, puppet.Take(t))
			saved := l.Restart()
			crash.do(t, p, c)
			for range 2 {
				puppet = p.fake.Puppet(t)
				if puppet.EventSeq > saved.Seq {
					t.Fatalf("event %d is said to be published; the last was %d", puppet.EventSeq, saved.Seq)
				}
				haunted(t, puppet, live)
				puppet.Close()
			}
			puppet = p.fake.Puppet(t)
			l = haunted(t, puppet, live)
			if err := puppet.Send(link.Publish(l.Seq, puppet.ResetSeq)); err != nil {
				t.Fatal(err)
			}
			// The worker has read the publication when it answers what came behind.
			l.Apply(t, puppet.Take(t))
			puppet.Close()
			puppet = p.fake.Puppet(t)
			former := harness.NewLedger()
			former.Seq = puppet.EventSeq
			former.Apply(t, puppet.Take(t))
			if len(former.Ghosts) > 0 {
				t.Errorf("ghosts come back: %+v", former.Ghosts)
			}
		})
	}
}

// haunted checks what an agent is told of a session that was live when its server
// crashed.
func haunted(t *testing.T, puppet *harness.Puppet, live link.Live) *harness.Ledger {
	t.Helper()
	l := harness.NewLedger()
	l.Seq = puppet.EventSeq
	l.Apply(t, puppet.Take(t))
	var ghosts []link.Ghost
	for _, g := range l.Ghosts {
		if g.Role == live.Role {
			ghosts = append(ghosts, g)
		}
	}
	want := link.Ghost{Serial: live.Serial, Base: live.Base, Account: live.Account}
	if len(ghosts) != 1 || ghosts[0] != want {
		t.Errorf("the ghosts are %+v, the session was %+v", ghosts, want)
	}
	if len(liveOf(l, live.Role)) > 0 || l.Sum(ofRole(live.Role)) != (link.AccountChange{}) {
		t.Errorf("sessions of a former life: %+v", l)
	}
	return l
}
