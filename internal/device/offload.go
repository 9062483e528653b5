package device

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The questions of linux/ethtool.h that need no privilege. GSO alone is not
// asked for: without TSO the kernel cuts segments before packet sockets see them.
const (
	ethtoolGetTSO   = 0x1e
	ethtoolGetFlags = 0x25
	ethtoolGetGRO   = 0x2b
	ethtoolFlagLRO  = 1 << 15
)

type ethtoolValue struct {
	cmd, data uint32
}

// ifreq is struct ifreq with the pointer that SIOCETHTOOL takes.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data *ethtoolValue
	_    [16]byte // the kernel copies the whole union
}

func readOffload(links []Link) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer unix.Close(fd)
	for i := range links {
		l := &links[i]
		l.Offload = ethtool(fd, l.Name, ethtoolGetTSO) != 0 ||
			ethtool(fd, l.Name, ethtoolGetGRO) != 0 ||
			ethtool(fd, l.Name, ethtoolGetFlags)&ethtoolFlagLRO != 0
	}
	return nil
}

// ethtool gives 0 for a device that does not answer: one without the feature,
// or that has gone since.
func ethtool(fd int, name string, cmd uint32) uint32 {
	value := ethtoolValue{cmd: cmd}
	var req ifreq
	if len(name) >= len(req.name) {
		return 0
	}
	copy(req.name[:], name)
	req.data = &value
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return 0
	}
	return value.data
}
