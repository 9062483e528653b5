package harness

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// linkHeader is what the ingress hook's bytes lack of a packet.
const linkHeader = 14

// Truth counts TCP packets of a server's port where each end of a link
// receives them, by nftables: there they are what they were on the wire, if
// offload is off at the sender.
type Truth struct {
	server, client Hook
}

// NewTruth begins to count.
func NewTruth(t testing.TB, l *Link, port int) *Truth {
	t.Helper()
	return &Truth{
		server: NewHook(t, l.Server.Host, l.Server.Device, fmt.Sprintf("tcp dport %d", port)),
		client: NewHook(t, l.Client.Host, l.Client.Device, fmt.Sprintf("tcp sport %d", port)),
	}
}

// NewSegments begins to count also what super-packets become: a copy of each
// packet that an end receives goes on over a second link that cuts them, and is
// counted there.
func NewSegments(t testing.TB, l *Link, port int) *Truth {
	t.Helper()
	far := NewHost(t)
	tee := func(e End, match string) Hook {
		name := fmt.Sprintf("tee%d", serial.Add(1))
		must(t, "ip", "link", "add", name, "netns", e.Host.Name, "type", "veth", "peer", "name", name, "netns", far.Name)
		for _, h := range []*Host{e.Host, far} {
			// Without addresses it is nothing that a server is reached by.
			must(t, "ip", "-n", h.Name, "link", "set", name, "addrgenmode", "none", "up")
			h.Run(t, "ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off")
		}
		k := NewHook(t, far, name, match)
		e.Host.Run(t, "nft", fmt.Sprintf(`table netdev %s {
			chain ingress { type filter hook ingress device "%s" priority 0; %s dup to "%s"; }
		}`, name, e.Device, match, name))
		return k
	}
	return &Truth{
		server: tee(l.Server, fmt.Sprintf("tcp dport %d", port)),
		client: tee(l.Client, fmt.Sprintf("tcp sport %d", port)),
	}
}

// Read gives what was counted until now. The two ends are read one after the other.
func (tr *Truth) Read(t testing.TB) Counts {
	t.Helper()
	var c Counts
	c.PacketsIn, c.BytesIn = tr.server.Read(t)
	c.PacketsOut, c.BytesOut = tr.client.Read(t)
	return c
}

// Quiet waits until nothing passed for half a second and gives what was counted.
func (tr *Truth) Quiet(t testing.TB) Counts {
	t.Helper()
	const quiet = 10
	last, same := tr.Read(t), 0
	Until(t, time.Minute, "the link falling silent", func() error {
		now := tr.Read(t)
		if same++; now != last {
			last, same = now, 0
		}
		if same < quiet {
			return fmt.Errorf("at %+v", now)
		}
		return nil
	})
	return last
}

// Hook is a counter at the ingress hook of one device.
type Hook struct {
	host  *Host
	table string
}

// NewHook counts what match, an expression of nft's, says of the packets that a
// device receives.
func NewHook(t testing.TB, h *Host, device, match string) Hook {
	t.Helper()
	k := Hook{host: h, table: fmt.Sprintf("t%d", serial.Add(1))}
	h.Run(t, "nft", fmt.Sprintf(`table netdev %s {
		counter seen { }
		chain ingress { type filter hook ingress device "%s" priority 0; %s counter name seen; }
	}`, k.table, device, match))
	return k
}

// Read gives the packets and their bytes on an Ethernet without VLANs.
func (k Hook) Read(t testing.TB) (packets, bytes int64) {
	t.Helper()
	var list struct {
		Nftables []struct {
			Counter *struct{ Packets, Bytes int64 }
		}
	}
	out := k.host.Run(t, "nft", "-j", "list", "counter", "netdev", k.table, "seen")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	for _, item := range list.Nftables {
		if c := item.Counter; c != nil {
			return c.Packets, c.Bytes + c.Packets*linkHeader
		}
	}
	t.Fatalf("no counter in %s", out)
	return 0, 0
}
