package pcap

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// probe tells whether packets may be captured at all, on whatever device.
func probe() error {
	return capability.With([]capability.Cap{capability.NetRaw}, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
			return missing(err)
		case err != nil:
			return &engine.Missing{What: "packet sockets", Hint: "The kernel needs CONFIG_PACKET.", Err: err}
		}
		return unix.Close(fd)
	})
}

// unusable says what is missing if libpcap was refused. gopacket gives no errno.
func unusable(err error) error {
	if strings.Contains(strings.ToLower(err.Error()), "permi") {
		return missing(err)
	}
	return err
}

func missing(err error) error {
	path, pathErr := os.Executable()
	if pathErr != nil {
		path = "pg_netstat-agent"
	}
	return &engine.Missing{
		What: "the capability " + capability.NetRaw.String(),
		Hint: "setcap cap_net_raw,cap_bpf=p " + path,
		Err:  err,
	}
}
