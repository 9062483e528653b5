package ebpf

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// ingress counts the server's packets as they arrive at a device, independent of
// the engine: nftables' counters at the first hook behind the packet taps.
type ingress struct {
	run    func(testing.TB, ...string) string
	device string
}

func newIngress(t testing.TB, run func(testing.TB, ...string) string, device string) ingress {
	t.Helper()
	run(t, "nft", fmt.Sprintf(`add table netdev t_%[1]s
		add counter netdev t_%[1]s requests
		add counter netdev t_%[1]s responses
		add chain netdev t_%[1]s c { type filter hook ingress device %[1]s priority -400; }
		add rule netdev t_%[1]s c tcp dport 5432 counter name requests
		add rule netdev t_%[1]s c tcp sport 5432 counter name responses`, device))
	t.Cleanup(func() { run(t, "nft", "delete table netdev t_"+device) })
	return ingress{run: run, device: device}
}

// counts are what arrived since the last call. The hook stands behind the
// link header.
func (i ingress) counts(t testing.TB) engine.Counts {
	t.Helper()
	var listing struct {
		Objects []struct {
			Counter *struct {
				Name           string
				Packets, Bytes uint64
			}
		} `json:"nftables"`
	}
	text := i.run(t, "nft", "-j", "reset", "counters", "table", "netdev", "t_"+i.device)
	if err := json.Unmarshal([]byte(text), &listing); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	var c engine.Counts
	for _, o := range listing.Objects {
		switch {
		case o.Counter == nil:
		case o.Counter.Name == "requests":
			c.PacketsIn, c.BytesIn = o.Counter.Packets, o.Counter.Bytes+linkHeader*o.Counter.Packets
		case o.Counter.Name == "responses":
			c.PacketsOut, c.BytesOut = o.Counter.Packets, o.Counter.Bytes+linkHeader*o.Counter.Packets
		}
	}
	return c
}
