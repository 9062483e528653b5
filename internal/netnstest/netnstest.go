// Package netnstest gives tests network namespaces of their own: one that the
// whole test program runs in, and others for the far ends of their devices.
// Nothing a test makes there touches the machine's network, and all of it goes
// with the test's processes.
package netnstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const inside = "PG_NETSTAT_TEST_NETNS"

// Main runs the tests of a package in a new network namespace. Call it from
// TestMain and exit with what it returns. Without privilege it makes a user
// namespace too; where that is forbidden, Need skips the tests that need one.
func Main(m *testing.M) int {
	if os.Getenv(inside) != "" {
		return m.Run()
	}
	// The death signal is sent when this thread ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = append(os.Environ(), inside+"=1")
	child.SysProcAttr = attributes(unix.CLONE_NEWNET)
	err := child.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(1, exit.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "no network namespace to test in:", err)
	return m.Run()
}

// attributes are those of a process in new namespaces that ends with this one.
func attributes(flags uintptr) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// Need ends a test that has no namespace to run in: it is skipped without
// privilege and fails with it.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) != "" {
		return
	}
	if os.Geteuid() == 0 {
		t.Fatal("root, but no network namespace")
	}
	t.Skip("neither root nor user namespaces")
}

// Run runs a command in the test's namespace and gives what it printed.
func Run(t testing.TB, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Peer is another network namespace.
type Peer struct {
	pid int
}

// NewPeer makes a namespace that is gone when the test has ended.
func NewPeer(t testing.TB) *Peer {
	t.Helper()
	Need(t)
	// A cat ends with the pipe that it reads, so also with a test that crashes.
	holder := exec.Command("cat")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	pipe, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pipe.Close()
		_ = holder.Wait()
	})
	return &Peer{pid: holder.Process.Pid}
}

// Name is how ip names the namespace: ip link set veth1 netns NAME.
func (p *Peer) Name() string { return strconv.Itoa(p.pid) }

// Run runs a command in the namespace.
func (p *Peer) Run(t testing.TB, command ...string) string {
	t.Helper()
	return Run(t, append([]string{"nsenter", "-t", p.Name(), "-n"}, command...)...)
}

// Do runs f on a thread in the namespace: sockets that f makes itself are in it
// for good, also when they are used elsewhere later.
func (p *Peer) Do(t testing.TB, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		err := p.enter()
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (p *Peer) enter() error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
}
