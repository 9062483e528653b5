package device

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

func TestBearers(t *testing.T) {
	vip := lo
	vip.Addrs = append(append([]netip.Prefix(nil), lo.Addrs...), netip.MustParsePrefix("192.0.2.1/32"))
	s := Snapshot{Links: []Link{
		vip,
		up(2, "eth0", "", "10.0.0.1/24", "fe80::1/64", "fd00::1/64"),
		up(3, "eth1", "", "10.0.1.1/24", "fe80::1/64"),
		up(4, "eth0.7", "vlan", "10.7.0.1/24").over(2),
		up(5, "br0", "bridge", "10.8.0.1/24"), up(6, "eth2", "").in(5),
		up(7, "dummy0", "dummy", "192.0.2.2/32"),
	}}
	for name, c := range map[string]struct {
		chosen []int
		want   map[string]int
	}{
		"all that are lowest": {[]int{2, 3, 6}, map[string]int{
			"127.0.0.1": 0, "::1": 0, "10.0.0.1": 2, "fd00::1": 2, "fe80::1": 2, "10.0.1.1": 3, "10.7.0.1": 2, "10.8.0.1": 6,
		}},
		"loopback and one": {[]int{3, 1}, map[string]int{
			"127.0.0.1": 1, "::1": 1, "10.0.0.1": 0, "fd00::1": 0, "fe80::1": 3, "10.0.1.1": 3, "10.7.0.1": 0, "10.8.0.1": 0,
		}},
		"its own before one below": {[]int{2, 4, 5}, map[string]int{
			"127.0.0.1": 0, "::1": 0, "10.0.0.1": 2, "fd00::1": 2, "fe80::1": 2, "10.0.1.1": 0, "10.7.0.1": 4, "10.8.0.1": 5,
		}},
	} {
		var chosen []engine.Device
		for _, index := range c.chosen {
			chosen = append(chosen, engine.Device{Index: index})
		}
		want := map[netip.Addr]int{}
		for a, index := range c.want {
			want[netip.MustParseAddr(a)] = index
		}
		if got := Bearers(s, chosen); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
