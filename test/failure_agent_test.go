package test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestAgentKilled kills the agent again and again: each time another one goes on
// from what the former had published.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	v.traffic(t)
	v.CaughtUp(t)
	for i := range 3 {
		before, totals := v.Status(t), v.Totals(t)
		v.suffers(t, "the agent was terminated by signal 9", "no agent", func() {
			harness.Signal(t, v.agent(t), syscall.SIGKILL)
		})
		if now := v.Totals(t); now != totals {
			t.Errorf("without an agent the totals are %+v, they were %+v", now, totals)
		}
		st := v.Await(t, "")
		if st.Restarts != before.Restarts+1 || *st.AgentPID == *before.AgentPID {
			t.Errorf("restarts are %d, they were %d", st.Restarts, before.Restarts)
		}
		if st.Restored != "shared memory" || st.RestoredFrom.Before(*before.StartedAt) {
			t.Errorf("restored is %q of %s", st.Restored, st.RestoredFrom)
		}
		if *st.Gaps != int64(i+1) || *st.GapSeconds <= 0 {
			t.Errorf("after %d ends of the agent the gaps are %d of %g s", i+1, *st.Gaps, *st.GapSeconds)
		}
		v.traffic(t)
		v.CaughtUp(t)
		if now := v.Totals(t); now.PacketsIn <= totals.PacketsIn || now.BytesOut <= totals.BytesOut {
			t.Errorf("the totals are %+v, they were %+v", now, totals)
		}
	}
}

// TestAgentStopped stops the agent's process. What waits for every process of the
// server must not wait for it; after 20 s of silence it is replaced.
func TestAgentStopped(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	pid := v.agent(t)
	v.suffers(t, "the agent was stopped: it was silent for 20 s", "", func() {
		harness.Signal(t, pid, syscall.SIGSTOP)
		for range 3 {
			v.barriers(t)
		}
		v.reload(t)
	})
	if st := v.Await(t, ""); int(*st.AgentPID) == pid || harness.Alive(pid) {
		t.Errorf("the agent is still %d", pid)
	}
}

// barriers does what has to wait for an answer of every process of the server.
func (v *victim) barriers(t *testing.T) {
	t.Helper()
	for _, sql := range []string{
		"CREATE DATABASE other", "ALTER DATABASE other SET TABLESPACE pg_default", "DROP DATABASE other",
		"CREATE DATABASE other STRATEGY file_copy", "DROP DATABASE other",
	} {
		begin := time.Now()
		v.Exec(t, sql)
		if took := time.Since(begin); took > tolerance {
			t.Errorf("%s took %s", sql, took)
		}
	}
}

// misbehaviour is a mode of the fake agent and what the worker makes of it.
type misbehaviour struct {
	mode, says string
	state      string // the status view's, then
}

// quick are those that show within a second or two.
var quick = []misbehaviour{
	{"panics", "the agent exited with exit code 2", "no agent"},
	{"garbage", "the agent was stopped: a frame has an impossible length", "no agent"},
	{"late garbage", "the agent was stopped: a frame has an impossible length", "no agent"},
	{"long", "the agent was stopped: a frame has an impossible length", "no agent"},
	{"empty", "the agent was stopped: a frame has an impossible length", "no agent"},
	{"no greeting", "the agent was stopped: it did not greet first", "no agent"},
	{"two greetings", "the agent was stopped: it greeted twice", "no agent"},
	{"log flood", "the agent was stopped: it sends more than is sensible", "no agent"},
	{"beat flood", "the agent was stopped: it sends more than is sensible", "no agent"},
	{"publish flood", "the agent was stopped: it sends more than is sensible", "no agent"},
	{"stderr flood", "the agent was stopped: it sends more than is sensible", "no agent"},
	{"set flood", "the agent was stopped: it sends more than is sensible", "no agent"},
	{"big set", "the agent was stopped: its snapshots are larger than pg_netstat.max_memory allows", "no agent"},
	{"many names", "the agent was stopped: its snapshots are larger than pg_netstat.max_memory allows", "no agent"},
	{"reset", "the agent was stopped: it published a reset that was not asked for", "no agent"},
	{"closes", "the agent was stopped: it closed its socket, but did not end", "no agent"},
	{"exits with 0", "the agent exited with exit code 0", "no agent"},
	{"exits with 1", "the agent exited with exit code 1", "no agent"},
	{"leaves one", "the agent exited with exit code 0", "no agent"},
	{"other version", "the agent is of another version than the module", "restart needed"},
}

// TestAgentMisbehaves replaces the agent by programs that do what they should not,
// one after the other under one server.
func TestAgentMisbehaves(t *testing.T) {
	t.Parallel()
	v := newFooled(t, "exits with 1")
	for _, m := range quick {
		t.Run(m.mode, func(t *testing.T) {
			v.replaces(t, m)
			v.answered(t)
			v.onlyServer(t)
		})
	}
	if size := len(v.Log(t)); size > 1<<20 {
		t.Errorf("the log has %d bytes", size)
	}
	if log := v.Log(t); !strings.Contains(log, "agent: goroutine") || !strings.Contains(log, "log lines of the agent were left out") {
		t.Error("the log shows nothing of the panic, or not that lines were left out")
	}
	v.heals(t)
}

// replaces makes the fake one that misbehaves in another way, and waits until the
// worker says so of a process that began after that.
func (v *victim) replaces(t *testing.T, m misbehaviour) {
	t.Helper()
	from, since := len(v.Log(t)), time.Now()
	v.fake.Mode(t, m.mode)
	v.reload(t)
	v.AwaitStatus(t, m.mode+" being noticed", func(st harness.Status) bool {
		return st.StartedAt.After(since) && st.LastErrorAt.After(*st.StartedAt) && strings.Contains(st.LastError, m.says) && st.State == m.state
	})
	v.LogSays(t, from, m.says)
}

// onlyServer checks that nothing of an agent that was ended is left but what the
// worker may have started since.
func (v *victim) onlyServer(t *testing.T) {
	t.Helper()
	harness.Until(t, 10*time.Second, "one agent at most", func() error {
		var agents []int
		for _, pid := range v.Host.Pids() {
			if line := harness.CommandLine(pid); strings.HasPrefix(line, "pg_netstat-agent") || line == "child" {
				agents = append(agents, pid)
			}
		}
		if len(agents) > 1 || (len(agents) == 1 && harness.CommandLine(agents[0]) == "child") {
			return fmt.Errorf("%d processes are there", len(agents))
		}
		return nil
	})
}

// TestAgentHangs has what it takes the worker a while to notice.
func TestAgentHangs(t *testing.T) {
	t.Parallel()
	for _, m := range []misbehaviour{
		{"silent", "the agent was stopped: it did not greet within 10 s", "no agent"},
		{"mute", "the agent was stopped: it was silent for 20 s", "no agent"},
		{"half", "the agent was stopped: it was silent for 20 s", "no agent"},
		{"forks", "the agent was stopped: it was silent for 20 s", "no agent"},
		{"deaf", "the agent was stopped: it does not read what it is sent", "no agent"},
	} {
		t.Run(m.mode, func(t *testing.T) {
			t.Parallel()
			v := newFooled(t, m.mode)
			v.suffers(t, m.says, m.state, func() {
				v.barriers(t)
				if m.mode == "deaf" {
					v.talk(t)
				}
			})
			v.onlyServer(t)
			v.heals(t)
		})
	}
}

// talk sends the agent more than a socket holds.
func (v *victim) talk(t *testing.T) {
	t.Helper()
	v.Set(t, harness.Settings{"pg_netstat.networks": strings.Repeat("name=10.0.0.0/8,", 5000)})
	for range 20 {
		v.reload(t)
		time.Sleep(50 * time.Millisecond)
	}
	v.Configure(t, harness.Settings{"pg_netstat.networks": ""})
}

// TestAgentLogsMuch: the server's log is not for the agent to fill.
func TestAgentLogsMuch(t *testing.T) {
	t.Parallel()
	v := newFooled(t, "many logs")
	v.LogSays(t, 0, "log lines of the agent were left out")
	if n := strings.Count(v.Log(t), "a line of many"); n < 100 || n > 200 {
		t.Errorf("%d lines of it are in the log", n)
	}
	if st := v.Status(t); st.Restarts != 0 || st.State != "starting" {
		t.Errorf("the status is %+v", st)
	}
}
