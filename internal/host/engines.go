package host

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/agent"
	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/engine/ebpf"
	"github.com/pg-netstat/pg_netstat/internal/engine/pcap"
	"github.com/pg-netstat/pg_netstat/internal/engine/sockdiag"
)

// Engines opens the engines of this host.
type Engines struct {
	Log     *slog.Logger
	Started time.Time      // when this process was
	Traffic engine.Traffic // of the sessions, for the engine that sees no packets
}

var _ agent.Engines = Engines{}

// Open opens the engine of this name.
func (e Engines) Open(name string, c agent.Config, t engine.Target) (engine.Source, error) {
	switch name {
	case "ebpf":
		return opened(ebpf.Open(e.Log, t))
	case "pcap":
		return opened(pcap.Open(e.Log, pcapSettings(c), t))
	case "sockdiag":
		return opened(sockdiag.Open(e.Traffic, t))
	default:
		return nil, fmt.Errorf("this version of the agent has no engine %q", name)
	}
}

// opened keeps a nil pointer from becoming a source that is not nil.
func opened[S engine.Source](s S, err error) (engine.Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func pcapSettings(c agent.Config) pcap.Settings {
	return pcap.Settings{
		BufferSize: c.PcapBuffer, Snaplen: c.PcapSnaplen,
		Timeout: c.PcapTimeout, Wait: c.PacketWait,
	}
}

// Configure applies the settings that only libpcap has.
func (e Engines) Configure(s engine.Source, c agent.Config) error {
	if p, ok := s.(*pcap.Source); ok {
		return p.Configure(pcapSettings(c))
	}
	return nil
}

// Restart tells whether a new process would have capabilities that this one
// lacks: it does if the agent's file was given them after this one started.
func (e Engines) Restart() bool {
	if len(capability.Missing(capability.NetRaw, capability.BPF)) == 0 {
		return false
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || time.Unix(st.Ctim.Unix()).Before(e.Started) {
		return false
	}
	size, err := unix.Getxattr(path, "security.capability", nil)
	return err == nil && size > 0
}
