package test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// played is a server and a client on a link. The test plays the server's agent.
type played struct {
	world
	fake *harness.Fake
}

func newPlayed(t *testing.T, more ...harness.Settings) *played {
	t.Helper()
	p := &played{fake: harness.NewFake(t, "puppet")}
	p.link = harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))
	settings := victimSettings(append(more, harness.Settings{"pg_netstat.agent_path": p.fake.Path})...)
	p.s = harness.NewServer(t, harness.Options{Host: p.link.Server.Host, Settings: settings})
	return p
}

// begin waits for an agent that nobody was before, and its first batch.
func (p *played) begin(t *testing.T) (*harness.Puppet, *harness.Ledger) {
	t.Helper()
	puppet, l := p.fake.Puppet(t), harness.NewLedger()
	if puppet.EventSeq != 0 {
		t.Fatalf("the first agent is said to have published event %d", puppet.EventSeq)
	}
	l.Apply(t, puppet.Take(t))
	return puppet, l
}

// over waits until no session of a role is live.
func over(t *testing.T, puppet *harness.Puppet, l *harness.Ledger, role string) {
	t.Helper()
	harness.Until(t, patience, "sessions being over", func() error {
		l.Apply(t, puppet.Take(t))
		if live := liveOf(l, role); len(live) > 0 {
			return fmt.Errorf("%d are live", len(live))
		}
		return nil
	})
}

func liveOf(l *harness.Ledger, role string) (live []link.Live) {
	for _, s := range l.Live {
		if s.Role == role {
			live = append(live, s)
		}
	}
	return live
}

func ofRole(role string) func(link.Account) bool {
	return func(a link.Account) bool { return a.Role == role }
}

// has checks an account's figures.
func has(t *testing.T, what string, got link.AccountChange, opened, closed, failed uint64, in, out int64) {
	t.Helper()
	if got.Opened != opened || got.Closed != closed || got.Failed != failed ||
		got.BytesIn != uint64(in) || got.BytesOut != uint64(out) {
		t.Errorf("%s: %d opened, %d closed, %d failed, %d bytes in, %d out; the truth is %d, %d, %d, %d, %d",
			what, got.Opened, got.Closed, got.Failed, got.BytesIn, got.BytesOut, opened, closed, failed, in, out)
	}
}

// TestEventsArriveOnce kills agents at random moments, and a worker, while sessions
// come and go: what each agent is sent goes on exactly where the published ends.
func TestEventsArriveOnce(t *testing.T) {
	t.Parallel()
	p := newPlayed(t)
	p.s.Run(t, "pgbench", "-i", "-q", "-h", p.s.Sockets, "-p", fmt.Sprint(p.s.Port), "postgres")
	p.s.Exec(t, "CREATE ROLE bench LOGIN SUPERUSER")
	truth, at := p.witness(t, p.link.Client.V4, proxy.Options{})
	random := rand.New(rand.NewPCG(4, 2))
	published := map[uint64]*harness.Ledger{0: harness.NewLedger()}
	load := p.client().StartPgbench(t, at, "-U", "bench", "-S", "-C", "-c", "4", "-j", "2", "-t", "250")
	for life := 0; life < 4 || !load.Done(); life++ {
		puppet := p.fake.Puppet(t)
		former, ok := published[puppet.EventSeq]
		if !ok {
			t.Fatalf("agent %d is to go on from event %d, which none has published", life, puppet.EventSeq)
		}
		l := former.Restart()
		for range random.IntN(20) {
			l.Apply(t, puppet.Take(t))
			if random.IntN(3) == 0 {
				published[l.Seq] = l.Restart()
				if err := puppet.Send(link.Publish(l.Seq, puppet.ResetSeq)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if life == 1 {
			harness.Signal(t, int(harness.Value[int32](t, p.s, "SELECT worker_pid FROM pg_netstat_worker()")), syscall.SIGTERM)
			puppet.Quitting(t)
		}
		puppet.Close()
		// It is started at once, not later each time.
		p.s.Exec(t, "SELECT pg_reload_conf()")
	}
	load.Wait(t)
	puppet := p.fake.Puppet(t)
	l := published[puppet.EventSeq].Restart()
	over(t, puppet, l, "bench")
	want, sessions := truth.Done(t), uint64(len(truth.Sessions()))
	// One more is pgbench's own.
	if sessions != 1001 {
		t.Errorf("the proxy saw %d sessions", sessions)
	}
	has(t, "all sessions", l.Sum(ofRole("bench")), sessions, sessions, 0, want.In, want.Out)
	user := harness.Value[uint32](t, p.s, "SELECT 'bench'::regrole::oid")
	if sent := int64(l.SentFor(user)); sent != want.Out {
		t.Errorf("statements sent %d bytes, the proxy saw %d", sent, want.Out)
	}
	if l.Folded != 0 {
		t.Errorf("%d attributions are lost", l.Folded)
	}
	t.Logf("%d events, %d published states", l.Seq, len(published)-1)
}

// TestEventsOfFailures: connections that fail count once, for the address they came from.
func TestEventsOfFailures(t *testing.T) {
	t.Parallel()
	p := newPlayed(t, harness.Settings{"max_connections": "8", "superuser_reserved_connections": "1"})
	p.roles(t, "fine")
	puppet, l := p.begin(t)
	try := func(settings string) (*harness.Client, error) {
		return harness.TryClient(settings, func() (net.Conn, error) { return p.client().Dial(anywhere, p.v4()) })
	}
	var in, out int64
	for _, settings := range []string{"user=nobody", "user=fine dbname=nowhere", "user=\xff\xfe"} {
		c, err := try(settings)
		if err == nil {
			t.Fatalf("%s could connect", settings)
		}
		in, out = in+c.In.Load(), out+c.Out.Load()
	}
	from := func(a link.Account) bool { return a.None && a.Remote.IP == p.link.Client.V4 }
	harness.Until(t, patience, "failures being counted", func() error {
		l.Apply(t, puppet.Take(t))
		if n := l.Sum(from).Failed; n < 3 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	has(t, "failed connections", l.Sum(from), 0, 0, 3, in, out)

	// All places are taken: those who come then have no slot, and their address is not kept.
	var fine []*harness.Client
	var refused link.AccountChange
	in, out = 0, 0
	nowhere := func(a link.Account) bool { return a.None && a.Remote == link.Address{} }
	for refused.Failed == 0 {
		c, err := try("user=postgres")
		if err == nil {
			fine = append(fine, c)
			t.Cleanup(c.Close)
			if len(fine) > 8 {
				t.Fatal("there are more sessions than places for them")
			}
			continue
		}
		in, out = in+c.In.Load(), out+c.Out.Load()
		harness.Until(t, patience, "the refusal being counted", func() error {
			l.Apply(t, puppet.Take(t))
			if refused = l.Sum(nowhere); refused.Failed == 0 {
				return fmt.Errorf("%+v", refused)
			}
			return nil
		})
	}
	has(t, "refused connections", refused, 0, 0, 1, in, out)
}

// TestEventsOfNames: a session that changes its name splits its bytes there.
func TestEventsOfNames(t *testing.T) {
	t.Parallel()
	p := newPlayed(t)
	p.roles(t, "pooler")
	puppet, l := p.begin(t)
	c := p.as(t, "pooler", "application_name=first")
	type bytes struct{ in, out int64 }
	want := map[string]bytes{}
	var before bytes
	settle := func(name string) {
		now := bytes{c.In.Load(), c.Out.Load()}
		w := want[name]
		want[name] = bytes{w.in + now.in - before.in, w.out + now.out - before.out}
		before = now
	}
	name := "first"
	for i := range 40 {
		c.Exec(t, fmt.Sprintf("SELECT repeat('x', %d)", 1000*i))
		next := fmt.Sprintf("name %d", i%5)
		c.Exec(t, fmt.Sprintf("SET application_name = '%s'", next))
		settle(name)
		name = next
	}
	// The name changes when the client was told that it has.
	harness.Until(t, patience, "the session having its name", func() error {
		l.Apply(t, puppet.Take(t))
		live := liveOf(l, "pooler")
		if len(live) != 1 || live[0].Application != name || live[0].Remote.IP != p.link.Client.V4 || live[0].Cookie == 0 ||
			live[0].Base.BytesOut != uint64(before.out) || live[0].Base.BytesIn != uint64(before.in) {
			return fmt.Errorf("it is %+v, its name is %q and the others have %+v", live, name, before)
		}
		return nil
	})
	c.Close()
	settle(name)
	over(t, puppet, l, "pooler")
	for name, w := range want {
		opened, closed := uint64(0), uint64(0)
		if name == "first" {
			opened = 1
		}
		if name == "name 4" {
			closed = 1
		}
		got := l.Sum(func(a link.Account) bool { return a.Role == "pooler" && a.Application == name })
		has(t, name, got, opened, closed, 0, w.in, w.out)
	}
	if l.Folded != 0 {
		t.Errorf("%d attributions are lost", l.Folded)
	}
}

// TestEventsOfSlowReader: what waits in the kernel when a session is terminated is
// its client's still.
func TestEventsOfSlowReader(t *testing.T) {
	t.Parallel()
	p := newPlayed(t)
	p.roles(t, "slow")
	puppet, l := p.begin(t)
	c := p.as(t, "slow")
	pid := c.Pid()
	conn := raw(t, c)
	ask(t, conn, much)
	blocked(t, p.s, pid)
	p.s.Exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d, 30000)", pid))
	read := c.Out.Load()
	over(t, puppet, l, "slow")
	drain(t, conn)
	has(t, "slow", l.Sum(ofRole("slow")), 1, 1, 0, c.In.Load(), c.Out.Load())
	if c.Out.Load() == read {
		t.Error("nothing came after the end")
	}
}

// TestEventsWithoutRoom lets nobody publish, so that the ring fills up: then slots
// keep what they count, attributions are lost, and not a byte.
func TestEventsWithoutRoom(t *testing.T) {
	t.Parallel()
	p := newPlayed(t)
	p.s.Exec(t, "CREATE ROLE many LOGIN SUPERUSER")
	puppet, l := p.begin(t)
	truth, at := p.witness(t, p.link.Client.V4, proxy.Options{})
	script := filepath.Join(t.TempDir(), "script")
	sql := fmt.Sprintf("\\set n random(1, 1000000000)\nSET application_name = '%s:n';\n", strings.Repeat("x", 50))
	if err := os.WriteFile(script, []byte(sql), 0o644); err != nil {
		t.Fatal(err)
	}
	load := p.client().StartPgbench(t, at, "-U", "many", "-c", "16", "-j", "2", "-t", "3000", "-f", script)
	for !load.Done() {
		l.Apply(t, puppet.Take(t))
	}
	load.Wait(t)
	want, sessions := truth.Done(t), uint64(len(truth.Sessions()))
	l.Apply(t, puppet.Take(t))
	ours := func(a link.Account) bool { return a.Role == "many" || a.Other }
	seq := l.Seq
	if told := l.Sum(ours).BytesIn; told >= uint64(want.In) {
		t.Errorf("all %d bytes were told by %d events: they had room", told, seq)
	}
	// What is published gives room for the rest.
	if err := puppet.Send(link.Publish(l.Seq, puppet.ResetSeq)); err != nil {
		t.Fatal(err)
	}
	over(t, puppet, l, "many")
	has(t, "all sessions", l.Sum(ours), sessions, sessions, 0, want.In, want.Out)
	if l.Folded == 0 {
		t.Error("no attribution is lost")
	}
	t.Logf("%d events before there was room, %d in all, %d attributions lost", seq, l.Seq, l.Folded)
}
