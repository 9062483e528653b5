package harness

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say what server to make. What is not set has a sensible default.
type Options struct {
	Host     *Host    // a new one by default
	Install  *Install // SharedInstall by default
	Port     int      // 5432 by default
	Settings Settings
	// Data is a data directory made elsewhere, owned by Account, that the server
	// takes over (a base backup); by default it is a new one.
	Data string
	// Stopped leaves the server for the test to start.
	Stopped bool
}

// Settings are the server's, by name, without quotes.
type Settings map[string]string

// Server is a PostgreSQL server in a namespace. What a test asks it goes by a
// Unix socket, so that questions are no traffic.
type Server struct {
	Install *Install
	Host    *Host
	Port    int
	Data    string // data directory
	Sockets string // directory of the Unix socket
	LogFile string

	settings Settings
	conn     *pgx.Conn
}

// NewServer makes a server with the extension pg_netstat in the database
// postgres, and starts it. It is stopped when the test is over.
func NewServer(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Host == nil {
		o.Host = NewHost(t)
	}
	if o.Install == nil {
		o.Install = SharedInstall(t)
	}
	if o.Port == 0 {
		o.Port = 5432
	}
	home := accountDir(t)
	s := &Server{
		Install: o.Install, Host: o.Host, Port: o.Port, Data: o.Data, Sockets: home,
		LogFile: filepath.Join(home, "log"),
		settings: Settings{
			"listen_addresses": "*", "unix_socket_directories": home, "port": strconv.Itoa(o.Port),
			"shared_preload_libraries": "pg_netstat", "logging_collector": "off", "fsync": "off",
			"max_connections": "50", "log_line_prefix": "%m [%p] %b ",
		},
	}
	if s.Data == "" {
		s.Data = filepath.Join(home, "data")
		must(t, "cp", "-a", template(t), s.Data)
	}
	s.Configure(t, o.Settings)
	t.Cleanup(func() { s.end(t) })
	if !o.Stopped {
		s.Start(t)
	}
	return s
}

// accountDir makes a directory of the servers' user.
func accountDir(t testing.TB) string {
	t.Helper()
	path := dir(t)
	uid, gid := account(t)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	return path
}

// AccountDir makes a directory for what the servers' user runs beside a server.
func AccountDir(t testing.TB) string { t.Helper(); return accountDir(t) }

// asAccount makes a command that the servers' user runs in the namespace.
func (h *Host) asAccount(command ...string) *exec.Cmd {
	as := []string{"setpriv", "--reuid=" + Account, "--regid=" + Account, "--init-groups", "--"}
	return h.Command(append(as, command...)...)
}

// Run runs a program of the server's installation as the servers' user, in the
// server's namespace, and gives what it printed; its failure ends the test.
func (s *Server) Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := s.run(program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

func (s *Server) run(program string, args ...string) (string, error) {
	out, err := s.Host.asAccount(append([]string{filepath.Join(s.Install.Bin, program)}, args...)...).CombinedOutput()
	return string(out), err
}

// Configure writes settings for the server's next start or reload; "" as a
// value takes one back.
func (s *Server) Configure(t testing.TB, changed Settings) {
	t.Helper()
	for name, value := range changed {
		s.settings[name] = value
		if value == "" {
			delete(s.settings, name)
		}
	}
	var lines []string
	for name, value := range s.settings {
		lines = append(lines, fmt.Sprintf("%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''")))
	}
	slices.Sort(lines)
	path := filepath.Join(s.Data, "postgresql.conf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	uid, gid := account(t)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

// Set changes settings and reloads. It returns when the server was told, not
// when the agent has done it: wait for what it should bring about.
func (s *Server) Set(t testing.TB, changed Settings) {
	t.Helper()
	s.Configure(t, changed)
	s.Exec(t, "SELECT pg_reload_conf()")
}

// Start starts the server and waits until it takes connections.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.TryStart(); err != nil {
		t.Fatalf("%v\n%s", err, tail(s.Log(t), 40))
	}
}

// TryStart is Start for a server that may not come up.
func (s *Server) TryStart() error {
	out, err := s.run("pg_ctl", "start", "-w", "-t", "60", "-D", s.Data, "-l", s.LogFile)
	if err != nil {
		return fmt.Errorf("starting the server: %w: %s", err, out)
	}
	return nil
}

// Stop stops the server: mode is smart, fast or immediate.
func (s *Server) Stop(t testing.TB, mode string) {
	t.Helper()
	s.Disconnect()
	s.Run(t, "pg_ctl", "stop", "-w", "-t", "60", "-D", s.Data, "-m", mode)
}

// Restart stops the server in an orderly way and starts it again.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop(t, "fast")
	s.Start(t)
}

// Postmaster gives the id of the server's first process, 0 if it does not run.
func (s *Server) Postmaster() int {
	data, err := os.ReadFile(filepath.Join(s.Data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !Alive(pid) {
		return 0
	}
	// The file of a server that was killed stays, and its number may be another
	// process' by now, which is none of ours to stop.
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != s.Data {
		return 0
	}
	return pid
}

// end stops the server after a test, whatever became of it, and shows the log of
// one that failed.
func (s *Server) end(t testing.TB) {
	s.Disconnect()
	if pid := s.Postmaster(); pid != 0 {
		if out, err := s.run("pg_ctl", "stop", "-w", "-t", "30", "-D", s.Data, "-m", "fast"); err != nil {
			t.Errorf("stopping the server: %v: %s", err, out)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if t.Failed() {
		t.Logf("the server's log:\n%s", tail(s.Log(t), 60))
	}
}

// Log gives the server's log.
func (s *Server) Log(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(s.LogFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// LogSays waits until the log, from some length of it on, has a text.
func (s *Server) LogSays(t testing.TB, from int, text string) {
	t.Helper()
	Until(t, 30*time.Second, "a line of the log", func() error {
		if !strings.Contains(s.Log(t)[from:], text) {
			return fmt.Errorf("%q is not in it", text)
		}
		return nil
	})
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n")
}

// At gives the server's address at one of its host's.
func (s *Server) At(a netip.Addr) Address { return Address{a, s.Port} }

var fresh struct {
	sync.Mutex
	data string // a data directory as initdb makes it, with the extension
}

// template gives a data directory to copy.
func template(t testing.TB) string {
	t.Helper()
	in := SharedInstall(t)
	fresh.Lock()
	defer fresh.Unlock()
	if fresh.data != "" {
		return fresh.data
	}
	home := filepath.Join(scratch, "template")
	uid, gid := account(t)
	if err := errors.Join(os.Mkdir(home, 0o700), os.Chown(home, uid, gid)); err != nil {
		t.Fatal(err)
	}
	s := &Server{Install: in, Host: NewHost(t)}
	data := filepath.Join(home, "data")
	s.Run(t, "initdb", "-D", data, "-U", Account, "-A", "trust", "-E", "UTF8",
		"--locale=C", "--no-sync", "--no-instructions")
	hba := "local all all trust\nlocal replication all trust\n"
	for _, db := range []string{"all", "replication"} {
		hba += fmt.Sprintf("host %s all 0.0.0.0/0 trust\nhost %s all ::/0 trust\n", db, db)
	}
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		t.Fatal(err)
	}
	create := s.Host.asAccount(filepath.Join(in.Bin, "postgres"), "--single", "-D", data, "postgres")
	create.Stdin = strings.NewReader("CREATE EXTENSION pg_netstat\n")
	if out, err := create.CombinedOutput(); err != nil || strings.Contains(string(out), "ERROR") {
		t.Fatalf("creating the extension: %v\n%s", err, out)
	}
	fresh.data = data
	return data
}
