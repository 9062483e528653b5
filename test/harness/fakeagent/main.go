// Command fakeagent stands in for the agent and misbehaves. The worker starts it
// without arguments and environment, so what it does is said by the text of a
// file: the program's own path with ".mode" behind it.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/link"
)

// socket is the descriptor that the worker leaves open.
const socket = 3

func init() {
	// The thread that asks to be killed with its parent has to live as long as
	// the process.
	runtime.LockOSThread()
}

func main() {
	if os.Args[0] == child {
		forever()
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	// Another program may just have been put in its place.
	path = strings.TrimSuffix(path, " (deleted)")
	mode, err := os.ReadFile(path + ".mode")
	if err != nil {
		panic(err)
	}
	act, ok := modes[strings.TrimSpace(string(mode))]
	if !ok {
		panic(fmt.Sprintf("there is no mode %q", mode))
	}
	act(path)
}

// modes are the ways to misbehave.
var modes = map[string]func(path string){
	"silent":        func(string) { forever() },
	"mute":          func(string) { hello(); forever() },
	"garbage":       func(string) { garbage() },
	"late garbage":  func(string) { hello(); garbage() },
	"long":          func(string) { hello(); send([]byte{0xff, 0xff, 0xff, 0xff, 's'}); forever() },
	"empty":         func(string) { hello(); send([]byte{0, 0, 0, 0}); forever() },
	"half":          func(string) { hello(); half() },
	"no greeting":   func(string) { send(link.Beat()); forever() },
	"two greetings": func(string) { hello(); hello(); forever() },
	"log flood":     func(string) { hello(); repeat(0, logLine) },
	"many logs":     func(string) { hello(); repeat(5*time.Millisecond, logLine) },
	"beat flood":    func(string) { hello(); repeat(0, link.Beat) },
	"big set":       func(string) { hello(); setFlood(50, 1<<20) },
	"many names":    func(string) { hello(); setFlood(1000, 10) },
	"set flood":     func(string) { hello(); setFlood(1, 100000) },
	"publish flood": func(string) { hello(); repeat(0, func() []byte { return link.Publish(0, 0) }) },
	"reset":         func(string) { hello(); send(link.Publish(0, 1<<40)); forever() },
	"closes":        func(string) { hello(); syscall.Close(socket); forever() },
	"exits with 0":  func(string) { os.Exit(0) },
	"exits with 1":  func(string) { hello(); os.Exit(1) },
	"panics":        func(string) { hello(); panics() },
	"stderr flood":  func(string) { hello(); stderrFlood() },
	"forks":         forks,
	"leaves one":    leavesOne,
	"deaf":          func(string) { hello(); repeat(time.Second, link.Beat) },
	"other version": func(string) { send(otherHello()); forever() },
	"stubborn":      func(string) { stubborn() },
	"puppet":        puppet,
}

func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// send writes all of it; the worker's end of the socket ends the process.
func send(b []byte) {
	for len(b) > 0 {
		n, err := syscall.Write(socket, b)
		if err != nil {
			os.Exit(3)
		}
		b = b[n:]
	}
}

func hello() { send(link.AgentHello("fake")) }

func repeat(every time.Duration, frame func() []byte) {
	for {
		send(frame())
		time.Sleep(every)
	}
}

func logLine() []byte {
	return link.Log(link.LevelWarning, "a line of many", "with a detail", "with a hint")
}

func garbage() {
	// The same every time, and nothing that begins like a frame.
	state := uint32(1)
	b := make([]byte, 100000)
	for i := range b {
		state = state*1664525 + 1013904223
		b[i] = byte(state >> 24)
	}
	b[0] = 0x80
	send(b)
	forever()
}

// half sends the beginning of a frame that is within the bounds.
func half() {
	frame := link.Log(link.LevelLog, strings.Repeat("x", 1000), "", "")
	send(frame[:len(frame)/2])
	forever()
}

// setFlood sends snapshots without end, each valid. Of many names they are more
// than fits; of one name they replace each other.
func setFlood(names, size int) {
	t := link.Table{Columns: []link.Column{{Name: "filler", OID: 25}}}
	data, err := t.Append(t.Head(nil), link.Row{strings.Repeat("x", size)})
	if err != nil {
		panic(err)
	}
	data = t.Tail(data)
	for i := 0; ; i++ {
		send(link.Snapshot(fmt.Sprintf("flood_%d", i%names), data))
	}
}

// otherHello is the greeting of an agent that speaks another protocol, in a form
// of its own.
func otherHello() []byte {
	return []byte{0, 0, 0, 9, 'h', 0, 0, 0, link.Protocol + 1, 1, 2, 3, 4}
}

// panics ends as Go programs do that are full of goroutines.
func panics() {
	var b strings.Builder
	b.WriteString("panic: runtime error: index out of range [5] with length 3\n")
	for i := range 20000 {
		fmt.Fprintf(&b, "goroutine %d [running]:\nmain.something(0x%x)\n\t/src/main.go:%d +0x1d\n", i, i, i)
	}
	os.Stderr.WriteString(b.String())
	os.Exit(2)
}

func stderrFlood() {
	line := []byte(strings.Repeat("all work and no play ", 200) + "\n")
	for {
		if _, err := os.Stderr.Write(line); err != nil {
			os.Exit(3)
		}
	}
}

// child is the name that the program has as a child of itself.
const child = "child"

// leave ends the process and leaves a child behind, with these descriptors.
func leave(path string, files ...*os.File) {
	if _, err := os.StartProcess(path, []string{child}, &os.ProcAttr{Files: files}); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// forks leaves behind a child that holds the socket.
func forks(path string) {
	hello()
	leave(path, nil, nil, nil, os.NewFile(socket, "worker"))
}

// leavesOne leaves behind a child that holds nothing.
func leavesOne(path string) {
	hello()
	unix.CloseOnExec(socket)
	leave(path)
}

// stubborn works well enough, and does not end by anything that can be ignored.
func stubborn() {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		panic(err)
	}
	signal.Ignore()
	hello()
	send(link.Publish(0, 0))
	for {
		_, _ = syscall.Write(socket, link.Beat())
		time.Sleep(time.Second)
	}
}

// puppet gives the socket to the test, which plays the agent then, and waits for
// its end.
func puppet(path string) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path + ".socket"}); err != nil {
		panic(err)
	}
	if err := unix.Sendmsg(fd, []byte{0}, unix.UnixRights(socket), nil, 0); err != nil {
		panic(err)
	}
	unix.Close(socket)
	forever()
}
