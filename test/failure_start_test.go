package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestAgentCannotStart has what keeps the worker from starting an agent at all:
// the server runs on, and the log says what to do about it.
func TestAgentCannotStart(t *testing.T) {
	t.Parallel()
	v := newFooled(t, "mute")
	write := func(content string, mode os.FileMode) {
		t.Helper()
		if err := os.RemoveAll(v.fake.Path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(v.fake.Path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(v.fake.Path)
	if err != nil {
		t.Fatal(err)
	}
	// The one that runs now has to end before another can be missed.
	v.suffers(t, "the agent was stopped", "", func() { v.replaceBy(t, "garbage") })
	for _, c := range []struct {
		name    string
		arrange func()
		says    string
		hint    string
	}{
		{"missing", func() { os.Remove(v.fake.Path) }, "No such file or directory", "Install the agent"},
		{"not executable", func() { write(string(program), 0o644) }, "Permission denied", "must be allowed to execute it"},
		{"of another group", func() { write(string(program), 0o750) }, "Permission denied", "The group of the server"},
		{"a directory", func() { write("", 0o755); os.Remove(v.fake.Path); os.Mkdir(v.fake.Path, 0o755) }, "Permission denied", ""},
		{"text", func() { write("this is no program\n", 0o755) }, "Exec format error", "It is no program for this machine."},
		{"empty", func() { write("", 0o755) }, "Exec format error", ""},
		{"of a missing interpreter", func() { write("#!/nowhere/sh\n", 0o755) }, "No such file or directory", ""},
		{"cut short", func() { write(string(program[:4096]), 0o755) }, "", ""},
		{"behind a link to nowhere", func() { os.RemoveAll(v.fake.Path); os.Symlink("/nowhere", v.fake.Path) }, "No such file or directory", ""},
		{"behind a link to itself", func() { os.RemoveAll(v.fake.Path); os.Symlink(v.fake.Path, v.fake.Path) }, "symbolic links", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := len(v.Log(t))
			v.suffers(t, c.says, "no agent", func() { c.arrange(); v.reload(t) })
			v.LogSays(t, from, c.hint)
			v.answered(t)
		})
	}
	os.RemoveAll(v.fake.Path)
	v.heals(t)
}

// replaceBy makes the next agent one of another mode, and ends the present one.
func (v *victim) replaceBy(t *testing.T, mode string) {
	t.Helper()
	v.fake.Mode(t, mode)
	if st := v.Status(t); st.AgentPID != nil {
		harness.Signal(t, int(*st.AgentPID), 9)
	}
}

// TestCapabilitiesBeyondReach: a file with capabilities that count as in force at
// once cannot be executed where they are out of reach.
func TestCapabilitiesBeyondReach(t *testing.T) {
	t.Parallel()
	f := harness.NewFake(t, "mute")
	f.BecomeReal(t, "cap_net_raw,cap_bpf+ep")
	s := harness.NewServer(t, harness.Options{Stopped: true,
		Settings: victimSettings(harness.Settings{"pg_netstat.agent_path": f.Path})})
	out, err := s.Host.Command("setpriv", "--reuid="+harness.Account, "--regid="+harness.Account, "--init-groups",
		"--bounding-set=-net_raw,-bpf", "--", filepath.Join(s.Install.Bin, "pg_ctl"), "start", "-w", "-D", s.Data, "-l", s.LogFile).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	v := &victim{Server: s, witness: newWitness(t, s), fake: f}
	v.AwaitStatus(t, "execution being refused", func(st harness.Status) bool {
		return st.State == "no agent" && strings.Contains(st.LastError, "Operation not permitted")
	})
	v.LogSays(t, 0, `with "setcap cap_net_raw,cap_bpf+p"`)
	// Marked as the hint says it starts, and says what it cannot do.
	f.BecomeReal(t, "cap_net_raw,cap_bpf+p")
	v.reload(t)
	v.derives(t, v.Await(t, "sockdiag"))
}

// derives checks that what packets are derived is marked, and that it is said why.
func (v *victim) derives(t *testing.T, st harness.Status) {
	t.Helper()
	for _, engine := range []string{"ebpf", "pcap"} {
		if !strings.Contains(st.EngineReason, "engine "+engine+": ") {
			t.Errorf("the reason does not tell of %s: %q", engine, st.EngineReason)
		}
	}
	if !strings.Contains(st.EngineReason, "CAP_NET_RAW") {
		t.Errorf("the reason does not name the capability: %q", st.EngineReason)
	}
	if st.Exact == nil || *st.Exact || st.InexactReason == "" {
		t.Errorf("derived packets are not marked: %+v", st)
	}
	v.LogSays(t, 0, "a better engine cannot run")
	v.LogSays(t, 0, "setcap")
}

// TestCapabilitiesMissing takes the agent's capabilities away and gives them back
// one after the other; a reload is enough to use what there is.
func TestCapabilitiesMissing(t *testing.T) {
	t.Parallel()
	v := newFooled(t, "garbage")
	v.fake.BecomeReal(t, "")
	v.reload(t)
	v.derives(t, v.Await(t, "sockdiag"))
	v.answered(t)

	v.fake.Setcap(t, "cap_net_raw+p")
	v.reload(t)
	st := v.Await(t, "pcap")
	if !strings.Contains(st.EngineReason, "CAP_BPF") {
		t.Errorf("the reason does not name the capability: %q", st.EngineReason)
	}
	v.fake.Setcap(t, "cap_net_raw,cap_bpf+p")
	v.reload(t)
	if st = v.Await(t, "ebpf"); st.EngineReason != "" || st.LastError == "" {
		t.Errorf("the status is %+v", st)
	}
	v.answered(t)
}
