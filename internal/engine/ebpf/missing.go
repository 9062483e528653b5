package ebpf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// needed are the capabilities that this engine's calls are made with.
var needed = []capability.Cap{capability.NetRaw, capability.BPF}

// missing turns the error of a privileged call into what a person can act on,
// or gives it back as it is.
func missing(err error) error {
	var already *engine.Missing
	if err == nil || errors.As(err, &already) {
		return err
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		if refused := missingCapability(); refused != nil {
			return refused
		}
	}
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier), errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		return &engine.Missing{
			What: "a kernel that accepts the eBPF program",
			Hint: "Linux 5.13 or later with CONFIG_BPF_SYSCALL should.",
			Err:  err,
		}
	case errors.Is(err, unix.EAFNOSUPPORT):
		return &engine.Missing{
			What: "packet sockets",
			Hint: "The kernel lacks CONFIG_PACKET, or a seccomp profile forbids the address family.",
			Err:  err,
		}
	case errors.Is(err, unix.EPERM) && inUserNamespace():
		return &engine.Missing{
			What: "the first user namespace",
			Hint: "The kernel takes eBPF programs from no process in another one, as in a rootless container.",
			Err:  unix.EPERM,
		}
	case errors.Is(err, unix.EPERM):
		return &engine.Missing{
			What: "permission for the bpf system call",
			Hint: "A seccomp profile or a security module may forbid it; see the container's configuration.",
			Err:  err,
		}
	}
	return err
}

// missingCapability blames the capabilities that are not permitted.
func missingCapability() error {
	var names []string
	for _, c := range capability.Missing(needed...) {
		names = append(names, c.String())
	}
	if len(names) == 0 {
		return nil
	}
	what := "the capability " + names[0]
	if len(names) > 1 {
		what = "the capabilities " + strings.Join(names, " and ")
	}
	path, self := os.Executable()
	if self != nil {
		path = "pg_netstat-agent"
	}
	return &engine.Missing{
		What: what,
		Hint: fmt.Sprintf("setcap cap_net_raw,cap_bpf=p %s", path),
		// What the kernel refused first differs from one try to the next.
		Err: unix.EPERM,
	}
}

// lockedMemory raises the limit of locked memory as far as that is permitted:
// kernels before 5.11 count maps and programs against it. It tells whether
// there was anything to raise.
func lockedMemory() bool {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) != nil || limit.Cur == unix.RLIM_INFINITY {
		return false
	}
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &all) == nil {
		return true
	}
	if limit.Cur == limit.Max {
		return false
	}
	limit.Cur = limit.Max
	return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil
}

// missingMemory says that maps were refused for the limit of locked memory:
// such a kernel answers EPERM as if a capability were missing.
func missingMemory(err error) error {
	var limit unix.Rlimit
	if !errors.Is(err, unix.EPERM) || len(capability.Missing(needed...)) > 0 || inUserNamespace() ||
		unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) != nil || limit.Cur >= 2*tablesMemory {
		return err
	}
	return &engine.Missing{
		What: fmt.Sprintf("locked memory (RLIMIT_MEMLOCK is %d bytes)", limit.Cur),
		Hint: "Kernels before 5.11 count eBPF maps there: set LimitMEMLOCK=infinity in the server's unit, or ulimit -l unlimited before it starts.",
		Err:  err,
	}
}

// inUserNamespace tells whether this is another user namespace than the first, in
// which capabilities are worth nothing to the bpf system call.
func inUserNamespace() bool {
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295"
}
