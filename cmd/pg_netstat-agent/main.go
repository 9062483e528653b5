// Command pg_netstat-agent counts the network traffic of the PostgreSQL server
// that started it. The module pg_netstat runs it, with a socket as descriptor 3;
// by hand it does nothing but tell its version.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/agent"
	_ "github.com/pg-netstat/pg_netstat/internal/capability/least" // first: gives up what the agent has no use for
	"github.com/pg-netstat/pg_netstat/internal/host"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// version is set when the program is linked.
var version = "unknown"

// maxFlows bounds the pairs of addresses that an engine which derives packets from
// sessions tells apart within one refresh.
const maxFlows = 20000

// socket is the descriptor that the worker leaves open.
const socket = 3

// The thread that asks to be killed with its parent has to live as long as the
// process: the main one does, and init runs on it.
func init() { runtime.LockOSThread() }

func main() {
	started := time.Now()
	showVersion := flag.Bool("version", false, "print the version and leave")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "pg_netstat-agent is started by PostgreSQL's pg_netstat module, not by hand.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *showVersion {
		fmt.Println("pg_netstat-agent", version)
		return
	}
	if err := run(started); err != nil {
		fmt.Fprintln(os.Stderr, "pg_netstat-agent:", err)
		os.Exit(1)
	}
}

// run serves the worker on the inherited socket.
func run(started time.Time) error {
	if err := checkSocket(); err != nil {
		return err
	}
	// The socket's end tells the agent to leave, which a stopped process does not
	// see: then the kernel does it. A shutdown's signals are not for it: it
	// has to publish the last figures.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("asking to be killed with the worker: %w", err)
	}
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGPIPE)
	// Little is allocated and less is kept: collecting seldom costs memory for
	// nothing, and the bound is what the process should stay below.
	debug.SetMemoryLimit(64 << 20)
	unix.CloseOnExec(socket)
	file := os.NewFile(socket, "worker")
	wire := agent.NewWire(file)
	log := agent.NewLogger(wire)
	sockets := sockdiag.New() // a kernel without sock_diag is no reason not to count packets
	defer sockets.Close()
	flows := session.NewFlows(maxFlows)
	a := &agent.Agent{
		Version: version, Wire: wire, Log: log,
		Network: &host.Network{},
		Engines: host.Engines{Log: log, Started: started, Traffic: flows},
		Sockets: sockets,
		Flows:   flows,
		Now: func() account.Instant {
			now := time.Now()
			return account.Instant{Wall: now.Round(0), Mono: now.Sub(started)}
		},
	}
	return a.Run(context.Background(), file)
}

// checkSocket tells whether a worker may be behind the descriptor.
func checkSocket() error {
	domain, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_UNIX {
		return fmt.Errorf("descriptor %d is no socket of a worker: this program is started by PostgreSQL's pg_netstat module, not by hand", socket)
	}
	return nil
}
