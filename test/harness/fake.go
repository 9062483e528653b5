package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/link"
)

// Fake is a program in place of the agent; name its path in pg_netstat.agent_path.
// It begins as one that misbehaves as it is told to: see fakeagent.
type Fake struct {
	Path    string
	puppets *net.UnixListener
}

var fake struct {
	once sync.Once
	path string
	err  error
}

// NewFake makes a program of a mode.
func NewFake(t testing.TB, mode string) *Fake {
	t.Helper()
	fake.once.Do(func() {
		fake.path = filepath.Join(scratch, "fakeagent")
		root, err := projectRoot()
		compile := exec.Command("go", "build", "-o", fake.path, "./test/harness/fakeagent")
		compile.Dir = root
		out, err2 := compile.CombinedOutput()
		if fake.err = errors.Join(err, err2); fake.err != nil {
			fake.err = errors.Join(fake.err, errors.New(string(out)))
		}
	})
	if fake.err != nil {
		t.Fatal("building: ", fake.err)
	}
	f := &Fake{Path: filepath.Join(dir(t), "agent")}
	f.Become(t, fake.path, 0o755)
	f.Mode(t, mode)
	f.listen(t)
	return f
}

// listen takes what puppets hand over.
func (f *Fake) listen(t testing.TB) {
	t.Helper()
	var err error
	f.puppets, err = net.ListenUnix("unix", &net.UnixAddr{Name: f.Path + ".socket"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.puppets.Close() })
	if err := os.Chmod(f.Path+".socket", 0o777); err != nil {
		t.Fatal(err)
	}
}

// Mode says what the next one that is started does.
func (f *Fake) Mode(t testing.TB, mode string) {
	t.Helper()
	if err := os.WriteFile(f.Path+".mode", []byte(mode), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Become replaces the program by a copy of another, one that belongs to root and
// has no capabilities.
func (f *Fake) Become(t testing.TB, program string, mode os.FileMode) {
	t.Helper()
	err := errors.Join(copyFile(program, f.Path+".new", mode), os.Rename(f.Path+".new", f.Path))
	if err != nil {
		t.Fatal(err)
	}
}

// BecomeReal replaces the program by the real agent, with these capabilities.
func (f *Fake) BecomeReal(t testing.TB, capabilities string) {
	t.Helper()
	f.Become(t, BuiltAgent(t), 0o755)
	if capabilities != "" {
		f.Setcap(t, capabilities)
	}
}

// Setcap gives the program's file these capabilities.
func (f *Fake) Setcap(t testing.TB, capabilities string) {
	t.Helper()
	must(t, "setcap", capabilities, f.Path)
}

// Puppet is an agent that the test plays: a process that the worker has started
// gave it the socket.
type Puppet struct {
	link.Restored                   // what the worker said of what it restored
	Settings      map[string]string // as the worker first told them
	Snapshots     map[string][]byte // that it restored
	MaxSet        uint64

	conn     *net.UnixConn
	done     chan struct{} // closed when the worker has closed the socket
	heard    heard
	requests uint32 // to take
}

// Puppet waits for the next process of the mode "puppet" and greets the worker.
func (f *Fake) Puppet(t testing.TB) *Puppet {
	t.Helper()
	conn, err := f.accept()
	if err != nil {
		t.Fatal("waiting for a puppet: ", err)
	}
	p := &Puppet{conn: conn, Snapshots: map[string][]byte{}, done: make(chan struct{})}
	t.Cleanup(func() { conn.Close() })
	frames := link.NewReader(conn)
	err = errors.Join(p.Send(link.AgentHello("puppet")), p.open(frames))
	if err != nil {
		t.Fatal("opening a puppet: ", err)
	}
	go func() {
		defer close(p.done)
		for {
			kind, body, err := frames.Next()
			if err != nil {
				return
			}
			p.heard.frame(kind, body)
		}
	}()
	return p
}

// accept takes the socket that a process hands over.
func (f *Fake) accept() (*net.UnixConn, error) {
	if err := f.puppets.SetDeadline(time.Now().Add(90 * time.Second)); err != nil {
		return nil, err
	}
	from, err := f.puppets.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := from.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(err, errors.New("no descriptor came"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fds[0]), "worker")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// open reads the worker's first frames.
func (p *Puppet) open(frames *link.Reader) error {
	for {
		kind, body, err := frames.Next()
		if err != nil {
			return err
		}
		switch kind {
		case link.TypeHello:
			var h link.Hello
			h, err = link.DecodeHello(body)
			p.MaxSet = h.MaxSet
			frames.Limit(h.MaxSet)
		case link.TypeConfig:
			p.Settings, err = link.DecodeConfig(body)
		case link.TypeRestore:
			var name string
			var data []byte
			name, data, err = link.DecodeRestore(body)
			p.Snapshots[name] = data
		case link.TypeRestored:
			p.Restored, err = link.DecodeRestored(body)
			return err
		}
		if err != nil {
			return err
		}
	}
}

// Send sends frames; a worker that has closed the socket gives an error.
func (p *Puppet) Send(frames ...[]byte) error {
	for _, f := range frames {
		if _, err := p.conn.Write(f); err != nil {
			return err
		}
	}
	return nil
}

// Publish sends a set of snapshots.
func (p *Puppet) Publish(t testing.TB, set map[string][]byte) {
	t.Helper()
	var frames [][]byte
	for name, data := range set {
		frames = append(frames, link.Snapshot(name, data))
	}
	if err := p.Send(append(frames, link.Publish(p.EventSeq, p.ResetSeq))...); err != nil {
		t.Fatal("publishing: ", err)
	}
}

// Dismissed waits until the worker has closed the socket.
func (p *Puppet) Dismissed(t testing.TB) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatal("the worker does not close the socket")
	}
}

// Close ends the puppet's side; its process lives until the worker ends it.
func (p *Puppet) Close() { p.conn.Close() }

// Signal sends a signal to a process of the server.
func Signal(t testing.TB, pid int, sig syscall.Signal) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("there is no process %d", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("sending %s to %d: %v", sig, pid, err)
	}
}

// CommandLine gives a process's command line, "" if it is gone.
func CommandLine(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
}
