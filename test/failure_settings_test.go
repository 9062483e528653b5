package test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// refused checks that a question gets the error of this code and text.
func refused(t *testing.T, s *harness.Server, sql, code, text string) {
	t.Helper()
	_, err := harness.TryRows[struct{ V *string }](s, sql)
	var e *pgconn.PgError
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("%s: %v, want %q (%s)", sql, err, text, code)
	}
}

// TestNotPreloaded: the extension can be created, and says what is missing.
func TestNotPreloaded(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Settings: harness.Settings{
		"shared_preload_libraries": "", "pg_netstat.interval": "1s", "pg_netstat.history": "nonsense"}})
	v := &victim{Server: s, witness: newWitness(t, s, "pg_class")}
	s.Exec(t, "DROP EXTENSION pg_netstat")
	s.Exec(t, "CREATE EXTENSION pg_netstat")
	for _, load := range []string{"SELECT 1", "LOAD 'pg_netstat'"} {
		s.Exec(t, load)
		for _, what := range []string{
			"v::text FROM pg_netstat v", "v::text FROM pg_netstat_device v", "v::text FROM pg_netstat_status v",
			"v::text FROM pg_netstat_worker() v", "pg_netstat_reset()::text", "x FROM pg_netstat_read('pg_netstat') AS s (x text)",
		} {
			refused(t, s, "SELECT "+what, "55000", `pg_netstat must be loaded via "shared_preload_libraries"`)
		}
	}
	v.answered(t)
	for _, pid := range s.Host.Pids() {
		if line := harness.CommandLine(pid); strings.Contains(line, "pg_netstat") {
			t.Errorf("a process runs: %s", line)
		}
	}
}

// TestSettingsRefused: the server takes a value out of range neither at its start
// nor at a reload; it starts with the default, as with every other extension's.
func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	bad := map[string][2]string{ // value and default
		"pg_netstat.interval":         {"0", "1s, or 10s after a start"},
		"pg_netstat.history":          {"86401", "60"},
		"pg_netstat.refresh_interval": {"2h", "1s"},
		"pg_netstat.packet_wait_time": {"-1", "5s"},
		"pg_netstat.pcap_buffer_size": {"1", "1000000B"},
		"pg_netstat.pcap_snaplen":     {"65536", "96B"},
		"pg_netstat.pcap_timeout":     {"31s", "1s"},
		"pg_netstat.engine":           {"magic", "auto"},
		"pg_netstat.max_entries":      {"99999999999999999999", "5000"},
		"pg_netstat.max_memory":       {"2GB", "32MB"},
		"pg_netstat.save":             {"perhaps", "on"},
		"pg_netstat.agent_path":       {"relative/agent", ""},
	}
	settings := harness.Settings{"pg_netstat.no_such_setting": "1"}
	for name, b := range bad {
		settings[name] = b[0]
	}
	v := newVictim(t)
	check := func() {
		t.Helper()
		for name, b := range bad {
			v.LogSays(t, 0, `"`+name+`"`)
			now := harness.Value[string](t, v.Server, "SELECT current_setting($1)", name)
			// These two have no default that is the same everywhere.
			if now != b[1] && name != "pg_netstat.agent_path" && name != "pg_netstat.interval" {
				t.Errorf("%s is %s, want %s", name, now, b[1])
			}
		}
		v.Await(t, "")
		v.answered(t)
	}
	agent := v.agent(t)
	v.Set(t, settings)
	check()
	if v.agent(t) != agent {
		t.Error("the agent was restarted")
	}
	v.witness.stop(t)
	v.Restart(t)
	v.witness = newWitness(t, v.Server)
	v.LogSays(t, 0, "pg_netstat.no_such_setting")
	check()
}

// TestMemoryThatIsNotThere: the server's own message says why it cannot start.
func TestMemoryThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Stopped: true, Settings: victimSettings(harness.Settings{"pg_netstat.max_memory": "1GB"})})
	out, err := s.Host.Command("prlimit", "--as=900000000", "setpriv", "--reuid="+harness.Account, "--regid="+harness.Account, "--init-groups", "--",
		filepath.Join(s.Install.Bin, "pg_ctl"), "start", "-w", "-D", s.Data, "-l", s.LogFile).CombinedOutput()
	if err == nil {
		t.Errorf("it started: %s", out)
	}
	s.LogSays(t, 0, "could not map anonymous shared memory: Cannot allocate memory")
	// Where there is that much, it is not touched before it is needed.
	s.Start(t)
	s.Await(t, "")
	newWitness(t, s).answered(t)
}

// TestBinaryUpgrade: pg_upgrade starts servers that have nobody to serve.
func TestBinaryUpgrade(t *testing.T) {
	t.Parallel()
	s := harness.NewServer(t, harness.Options{Stopped: true, Settings: victimSettings()})
	s.Run(t, "pg_ctl", "start", "-w", "-D", s.Data, "-l", s.LogFile, "-o", "-b")
	v := &victim{Server: s, witness: newWitness(t, s)}
	v.answered(t)
	if st := v.Status(t); st.State != "no worker" || st.AgentPID != nil {
		t.Errorf("the status is %+v", st)
	}
	for _, pid := range s.Host.Pids() {
		if line := harness.CommandLine(pid); strings.Contains(line, "pg_netstat") {
			t.Errorf("a process runs: %s", line)
		}
	}
	v.witness.stop(t)
	s.Stop(t, "fast")
	if log := s.Log(t); strings.Contains(log, "pg_netstat") {
		t.Error("the log tells of pg_netstat")
	}
	v.gone(t)
}
