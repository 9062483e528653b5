package ebpf

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// tap is a packet socket on one device with the program as its filter. The
// program lets nothing through, so nothing is ever queued or read.
type tap struct {
	engine.Device
	slot   int
	socket int
}

// openTap begins to count on a device. The device may be down: then it counts
// from when it comes up.
func openTap(m *shared, d engine.Device, slot int) (*tap, error) {
	program, err := m.instance(constants{
		slot: uint32(slot), linkHeader: uint32(d.LinkHeader), loopback: d.Loopback,
	})
	if err != nil {
		return nil, err
	}
	defer program.Close() // the socket holds it
	socket, err := openFilter(program, d.Loopback)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(socket, &unix.SockaddrLinklayer{
		Protocol: allProtocols, Ifindex: d.Index,
	}); err != nil {
		unix.Close(socket)
		return nil, fmt.Errorf("binding a packet socket: %w", err)
	}
	return &tap{Device: d, slot: slot, socket: socket}, nil
}

// allProtocols is ETH_P_ALL in network order.
const allProtocols = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8

// openFilter makes a packet socket that hears nothing before it is bound,
// because it has no protocol, and that nobody can take the filter from.
func openFilter(program *ebpf.Program, loopback bool) (socket int, err error) {
	socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening a packet socket: %w", os.NewSyscallError("socket", err))
	}
	defer func() {
		if err != nil {
			unix.Close(socket)
		}
	}()
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD()); err != nil {
		return -1, fmt.Errorf("attaching the eBPF program: %w", os.NewSyscallError("setsockopt", err))
	}
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		return -1, fmt.Errorf("locking the eBPF program: %w", os.NewSyscallError("setsockopt", err))
	}
	if loopback {
		// The program ignores what is sent on loopback anyway; where the kernel
		// knows this option, it need not copy that for us.
		_ = unix.SetsockoptInt(socket, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	return socket, nil
}

// serves tells whether the tap counts on d as it is. A deleted device leaves the
// socket bound to none, also when another has got its index since.
func (t *tap) serves(d engine.Device) bool {
	if t.Index != d.Index || t.LinkHeader != d.LinkHeader || t.Loopback != d.Loopback {
		return false
	}
	address, err := unix.Getsockname(t.socket)
	if err != nil {
		return false
	}
	bound, ok := address.(*unix.SockaddrLinklayer)
	return ok && bound.Ifindex == d.Index
}

// Close returns when no run of the program for the device goes on any more.
func (t *tap) Close() error { return unix.Close(t.socket) }
