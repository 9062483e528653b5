package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestStatus checks the columns of a server where all is well.
func TestStatus(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		w := newWorld(t, engine)
		w.s.CaughtUp(t)
		st := w.s.Status(t)
		text := map[string][2]string{
			"engine": {st.Engine, engine}, "engine_reason": {st.EngineReason, ""},
			"inexact_reason": {st.InexactReason, ""}, "devices": {st.Devices, "eth0"},
			"agent_version": {st.AgentVersion, "test"}, "last_error": {st.LastError, ""},
			"warning": {st.Warning, ""}, "restored": {st.Restored, ""},
		}
		for name, v := range text {
			if v[0] != v[1] {
				t.Errorf("%s is %q, want %q", name, v[0], v[1])
			}
		}
		wrong := map[string]bool{
			"exact":          st.Exact == nil || !*st.Exact,
			"port":           st.Port == nil || *st.Port != 5432,
			"agent_pid":      st.AgentPID == nil || !slices.Contains(w.s.Host.Pids(), int(*st.AgentPID)),
			"started_at":     st.StartedAt == nil || time.Since(*st.StartedAt) > time.Minute || time.Until(*st.StartedAt) > 0,
			"restarts":       st.Restarts != 0,
			"last_error_at":  st.LastErrorAt != nil,
			"packets_lost":   st.PacketsLost == nil || *st.PacketsLost != 0,
			"gaps":           st.Gaps == nil || *st.Gaps > 1, // that before the engine began, at most
			"restored_from":  st.RestoredFrom != nil,
			"snapshot_age":   st.SnapshotAge == nil || *st.SnapshotAge < 0 || *st.SnapshotAge > 10,
			"stats_reset":    st.StatsReset == nil || time.Since(*st.StatsReset) > time.Minute,
			"last_gap_start": (st.LastGapStart == nil) != (*st.Gaps == 0),
		}
		for name, is := range wrong {
			if is {
				t.Errorf("%s is wrong in %+v", name, st)
			}
		}
	})
}

// auto is the setting that takes the best engine permitted.
var auto = harness.Settings{"pg_netstat.engine": "auto"}

// TestEngineWithoutCapabilities gives the agent's file one capability after the
// other, and expects each reload to take what it permits.
func TestEngineWithoutCapabilities(t *testing.T) {
	t.Parallel()
	in := harness.NewInstall(t)
	in.Setcap(t, "")
	w := &world{link: harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))}
	w.s = harness.NewServer(t, harness.Options{Host: w.link.Server.Host, Install: in, Settings: settingsFor("ebpf")})
	w.truth = harness.NewTruth(t, w.link, w.s.Port)

	// None, and an engine that needs two.
	st := w.s.AwaitStatus(t, "no engine", func(st harness.Status) bool { return st.State == "no engine" })
	saysHowToPermit(t, w.s, st, "CAP_NET_RAW", "CAP_BPF")
	if st.Engine != "" || st.Exact != nil || st.Gaps == nil || *st.Gaps == 0 {
		t.Errorf("status without an engine: %+v", st)
	}
	if got := w.client().Psql(t, w.v4(), "SELECT 1"); got != "1\n" {
		t.Errorf("the server answers %q", got)
	}
	from := len(w.s.Log(t))
	w.s.Set(t, nil)
	w.s.Reset(t) // is done after the reload is
	if log := w.s.Log(t)[from:]; strings.Contains(log, "setcap") {
		t.Errorf("a reload says again what was said:\n%s", log)
	}
	w.s.Set(t, auto)
	if st = w.s.Await(t, "sockdiag"); !strings.Contains(st.EngineReason, "pcap") {
		t.Errorf("the reason does not tell of pcap: %s", st.EngineReason)
	}
	saysHowToPermit(t, w.s, st, "CAP_NET_RAW")

	// What libpcap needs.
	in.Setcap(t, "cap_net_raw+p")
	w.s.Set(t, nil)
	st = w.s.Await(t, "pcap")
	saysHowToPermit(t, w.s, st, "CAP_BPF")
	w.s.Reset(t)
	w.exact(t, func() { w.ask(t) })

	// Everything.
	in.Setcap(t, "cap_net_raw,cap_bpf+p")
	w.s.Set(t, nil)
	if st = w.s.Await(t, "ebpf"); st.EngineReason != "" {
		t.Errorf("the best engine has a reason: %s", st.EngineReason)
	}
	w.exact(t, func() { w.ask(t) })
}

// saysHowToPermit checks that status and log name what is missing, and the
// command that grants it.
func saysHowToPermit(t *testing.T, s *harness.Server, st harness.Status, capabilities ...string) {
	t.Helper()
	where := map[string]string{"status": st.EngineReason + st.LastError, "log": s.Log(t)}
	for name, text := range where {
		for _, want := range append(capabilities, "setcap cap_net_raw,cap_bpf", s.Install.Agent) {
			if !strings.Contains(text, want) {
				t.Errorf("the %s lacks %q: %s", name, want, text)
			}
		}
	}
}

// TestForcedEngineKeepsTheFormer: an engine that cannot run does not end the
// counting of one that can.
func TestForcedEngineKeepsTheFormer(t *testing.T) {
	t.Parallel()
	in := harness.NewInstall(t)
	in.Setcap(t, "cap_net_raw+p")
	link := harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))
	w := &world{link: link, s: harness.NewServer(t, harness.Options{Host: link.Server.Host, Install: in, Settings: settingsFor("pcap")})}
	w.truth = harness.NewTruth(t, link, w.s.Port)
	w.s.Await(t, "pcap")
	w.exact(t, func() {
		w.ask(t)
		w.s.Set(t, harness.Settings{"pg_netstat.engine": "ebpf"})
		st := w.s.AwaitStatus(t, "a warning", func(st harness.Status) bool { return st.Warning != "" })
		if st.State != "counting" || st.Engine != "pcap" || !strings.Contains(st.Warning, "pcap stays in use") {
			t.Errorf("status: %+v", st)
		}
		saysHowToPermit(t, w.s, st, "CAP_BPF")
		w.ask(t)
	})
}
