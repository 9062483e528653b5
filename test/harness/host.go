package harness

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const netnsDir = "/run/netns"

// Host is a network namespace: a machine's network, as far as anyone on it can tell.
type Host struct {
	Name string // for ip's -n and netns
}

// NewHost makes a namespace with its loopback device up. When the test is over
// the processes in it are killed, and the test fails if its own cleanup had left any.
func NewHost(t testing.TB) *Host {
	t.Helper()
	needRoot(t)
	h := &Host{Name: nextName()}
	must(t, "ip", "netns", "add", h.Name)
	t.Cleanup(func() {
		if left := h.left(5 * time.Second); len(left) > 0 {
			t.Errorf("processes are left over: %s", describe(left))
			end(left)
		}
		must(t, "ip", "netns", "delete", h.Name)
	})
	must(t, "ip", "-n", h.Name, "link", "set", "lo", "up")
	return h
}

// left gives the processes that do not end within some time.
func (h *Host) left(patience time.Duration) []int {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if pids := pidsIn(h.Name); len(pids) == 0 || time.Now().After(deadline) {
			return pids
		}
	}
}

// Pids lists the processes in the namespace, those waiting to be reaped left out.
func (h *Host) Pids() []int { return pidsIn(h.Name) }

func pidsIn(name string) []int {
	out, _ := exec.Command("ip", "netns", "pids", name).Output()
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil && Alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func describe(pids []int) string {
	var b strings.Builder
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		fmt.Fprintf(&b, "%d (%s) ", pid, bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '}))
	}
	return b.String()
}

// Command makes a command that runs in the namespace as root, and dies with
// the test program.
func (h *Host) Command(command ...string) *exec.Cmd {
	c := exec.Command("nsenter", append([]string{"--net=" + netnsDir + "/" + h.Name, "--"}, command...)...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PGSSLMODE=disable", "PGUSER="+Account, "PGCONNECT_TIMEOUT=20")
	return c
}

// Run runs a command in the namespace and gives what it printed; its failure
// ends the test.
func (h *Host) Run(t testing.TB, command ...string) string {
	t.Helper()
	c := h.Command(command...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Running is a command that runs beside the test.
type Running struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
	err  error
}

// Start starts a command in the namespace. It is killed when the test is over.
func (h *Host) Start(t testing.TB, command ...string) *Running {
	t.Helper()
	return start(t, h.Command(command...))
}

// StartAsAccount is Start for what the servers' user runs.
func (h *Host) StartAsAccount(t testing.TB, command ...string) *Running {
	t.Helper()
	return start(t, h.asAccount(command...))
}

func start(t testing.TB, cmd *exec.Cmd) *Running {
	t.Helper()
	r := &Running{cmd: cmd, done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.err = r.cmd.Wait()
		close(r.done)
	}()
	t.Cleanup(func() {
		r.Signal(syscall.SIGKILL)
		<-r.done
	})
	return r
}

// Signal sends the command a signal.
func (r *Running) Signal(sig syscall.Signal) { _ = r.cmd.Process.Signal(sig) }

// Pid gives the command's process.
func (r *Running) Pid() int { return r.cmd.Process.Pid }

// Output gives what the command printed; call it when the command is done.
func (r *Running) Output() string { return r.out.String() }

// Done tells whether the command has ended.
func (r *Running) Done() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Wait waits for the command's end and gives what it printed; its failure ends
// the test.
func (r *Running) Wait(t testing.TB) string {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(5 * time.Minute):
		t.Fatalf("%s does not end", r.cmd)
	}
	if r.err != nil {
		t.Fatalf("%s: %v\n%s", r.cmd, r.err, r.out.String())
	}
	return r.out.String()
}

// Address is where a server is reached.
type Address struct {
	Addr netip.Addr
	Port int
}

// Pgbench runs pgbench in the namespace and gives what it printed.
func (h *Host) Pgbench(t testing.TB, at Address, args ...string) string {
	t.Helper()
	return h.StartPgbench(t, at, args...).Wait(t)
}

// StartPgbench runs pgbench beside the test.
func (h *Host) StartPgbench(t testing.TB, at Address, args ...string) *Running {
	t.Helper()
	args = append([]string{"pgbench", "-n", "-h", at.Addr.String(), "-p", strconv.Itoa(at.Port)}, args...)
	return h.Start(t, append(args, "postgres")...)
}

// Psql runs one command of psql's in the namespace and gives what it printed.
func (h *Host) Psql(t testing.TB, at Address, command string) string {
	t.Helper()
	return h.Run(t, "psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1",
		"-h", at.Addr.String(), "-p", strconv.Itoa(at.Port), "-c", command, "postgres")
}
