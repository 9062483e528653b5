package device

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const ether = 1

// lo is the first device of every case.
var lo = Link{
	Index: 1, Name: "lo", Type: 772, Up: true, Loopback: true, MTU: 65536,
	Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")},
}

func up(index int, name, kind string, addrs ...string) Link {
	l := Link{Index: index, Name: name, Kind: kind, Type: ether, Up: true, Running: true, MTU: 1500}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParsePrefix(a))
	}
	return l
}

func (l Link) over(parent int) Link { l.Parent = parent; return l }
func (l Link) in(master int) Link   { l.Master = master; return l }
func (l Link) down() Link           { l.Up = false; return l }
func (l Link) abroad() Link         { l.Elsewhere = true; return l }

func addrList(list string) []netip.Addr {
	var addrs []netip.Addr
	for _, a := range strings.Fields(list) {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	return addrs
}

const both = "0.0.0.0 ::"

func TestSelectAuto(t *testing.T) {
	for _, c := range []struct {
		name      string
		links     []Link
		local     string
		listeners string
		want      string
	}{
		{"one device", []Link{up(2, "eth0", "", "10.0.0.1/24")}, "", both, "eth0"},
		{"no listener", []Link{up(2, "eth0", "", "10.0.0.1/24")}, "", "", ""},
		{"listener on loopback only", []Link{up(2, "eth0", "", "10.0.0.1/24")}, "", "127.0.0.1 ::1", ""},
		{"down", []Link{up(2, "eth0", "", "10.0.0.1/24").down()}, "", both, ""},
		{"no address", []Link{up(2, "eth0", "")}, "", both, ""},
		{"only IPv6 for an IPv4 listener", []Link{up(2, "eth0", "", "2001:db8::1/64")}, "", "0.0.0.0", ""},
		{"link-local counts", []Link{up(2, "eth0", "", "fe80::1/64")}, "", "::", "eth0"},
		{"specific listener", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth1", "", "10.0.1.1/24")}, "", "10.0.1.1", "eth1"},
		{"listener as a mapped address", []Link{up(2, "eth0", "", "10.0.0.1/24")}, "", "::ffff:10.0.0.1", "eth0"},
		{"two families", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth1", "", "2001:db8::1/64")}, "", both, "eth0 eth1"},
		{"the listener's device is down", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth1", "", "10.0.1.1/24").down()}, "", "10.0.1.1", ""},
		{"listener not of this host", []Link{up(2, "eth0", "", "10.0.0.1/24")}, "", "192.0.2.1", ""},
		{"address on a dummy", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth1", ""), up(4, "d0", "dummy", "192.0.2.1/32")}, "", "192.0.2.1", "eth0"},
		{"address on lo, unnumbered devices", []Link{up(2, "eth0", "", "fe80::1/64"), up(3, "eth1", "", "fe80::2/64")}, "192.0.2.1/32", "0.0.0.0", "eth0 eth1"},
		{"any address of a prefix", []Link{up(2, "eth0", "", "10.0.0.1/24")}, "192.0.2.0/24", "192.0.2.77", "eth0"},
		{"bond", []Link{up(2, "eth0", "").in(4), up(3, "eth1", "").in(4), up(4, "bond0", "bond", "10.0.0.1/24")}, "", both, "bond0"},
		{"VLAN on a bond", []Link{up(2, "eth0", "").in(3), up(3, "bond0", "bond"), up(4, "bond0.5", "vlan", "10.0.0.1/24").over(3)}, "", both, "bond0.5"},
		{"VLAN beside its parent", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth0.5", "vlan", "10.0.5.1/24").over(2)}, "", both, "eth0"},
		{"VLAN whose parent is not reached", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth0.5", "vlan", "10.0.5.1/24").over(2)}, "", "10.0.5.1", "eth0.5"},
		{"QinQ over a device without address", []Link{
			up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth0.5", "vlan").over(2), up(4, "eth0.5.6", "vlan", "10.0.6.1/24").over(3)}, "", both, "eth0"},
		{"VLAN of a device in another namespace", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "v5", "vlan", "10.0.5.1/24").over(2).abroad()}, "", both, "eth0 v5"},
		{"macvlan beside its parent", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "mv0", "macvlan", "10.0.0.2/24").over(2)}, "", both, "eth0"},
		{"macvlan alone", []Link{up(2, "eth0", ""), up(3, "mv0", "macvlan", "10.0.0.2/24").over(2)}, "", both, "mv0"},
		{"bridge with link-local ports", []Link{up(2, "eth0", "", "fe80::1/64").in(4), up(3, "veth0", "veth", "fe80::2/64").in(4).over(9), up(4, "br0", "bridge", "10.0.0.1/24")}, "", both, "br0"},
		{"bridge over a VLAN of a candidate, and a tap", []Link{
			up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth0.7", "vlan").over(2).in(5), up(4, "vnet0", "tun").in(5), up(5, "br0", "bridge", "10.0.7.1/24")}, "", both, "eth0 vnet0"},
		{"veth pair in one namespace", []Link{up(2, "v0", "veth", "10.0.0.1/24").over(3), up(3, "v1", "veth", "10.0.0.2/24").over(2)}, "", both, "v0 v1"},
		{"vxlan beside its parent", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "vx0", "vxlan", "10.8.0.1/24").over(2)}, "", both, "eth0 vx0"},
		{"wireguard and tunnels", []Link{up(2, "eth0", "", "10.0.0.1/24"), up(3, "wg0", "wireguard", "10.8.0.1/24"), up(4, "gre1", "gre", "10.9.0.1/24").over(2), up(5, "ms0", "macsec", "10.7.0.1/24").over(2)}, "", both, "eth0 wg0 gre1 ms0"},
		{"VRF", []Link{up(2, "eth0", "", "10.0.0.1/24").in(4), up(3, "eth1", "", "10.0.1.1/24"), up(4, "red", "vrf")}, "", both, "eth0 eth1"},
		{"address on the VRF itself", []Link{up(2, "eth0", "", "fe80::1/64").in(3), up(3, "red", "vrf", "192.0.2.1/32")}, "", "0.0.0.0", "eth0"},
		{"master in a circle", []Link{up(2, "a", "vlan", "10.0.0.1/24").over(3), up(3, "b", "vlan").over(2)}, "", both, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Snapshot{Links: append([]Link{lo}, c.links...)}
			for _, p := range strings.Fields("127.0.0.0/8 127.0.0.1/32 ::1/128 " + c.local) {
				s.Local = append(s.Local, netip.MustParsePrefix(p))
			}
			sel := Select(s, ParseWish("", false), addrList(c.listeners))
			if got := strings.Join(names(sel), " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if sel.Doubled != "" {
				t.Errorf("doubled: %s", sel.Doubled)
			}
			if (len(sel.Warnings) > 0) != (c.want == "") {
				t.Errorf("warnings: %q", sel.Warnings)
			}
		})
	}
}

func names(sel Selection) []string {
	var n []string
	for _, d := range sel.Devices {
		n = append(n, d.Name)
	}
	return n
}

func TestSelectNamed(t *testing.T) {
	s := Snapshot{Links: []Link{
		lo, up(2, "eth0", "", "10.0.0.1/24"), up(3, "eth0.5", "vlan", "10.0.5.1/24").over(2),
		up(4, "eth1", "").down(), up(5, "eth2", ""),
	}}
	for _, c := range []struct {
		wish     string
		loopback bool
		want     string
		down     string
		absent   string
		doubled  bool
	}{
		{"eth0", false, "eth0", "", "", false},
		{" eth2 ,eth0,, eth2", false, "eth2 eth0", "", "", false},
		{"eth0,eth0.5", false, "eth0 eth0.5", "", "", true},
		{"eth1", false, "eth1", "eth1", "", false},
		{"eth9,eth0", false, "eth0", "", "eth9", false},
		{"lo", false, "lo", "", "", false},
		{"lo", true, "lo", "", "", false},
		{"eth0", true, "eth0 lo", "", "", false},
		{"auto", true, "eth0 lo", "", "", false},
		{"auto,eth2", false, "eth0 eth2", "", "", false},
		{"all", false, "eth0 eth0.5 eth2", "", "", true},
		{"all", true, "eth0 eth0.5 eth2 lo", "", "", true},
		{"AUTO", false, "eth0", "", "", false},
		{" All ", false, "eth0 eth0.5 eth2", "", "", true},
		{"ETH0", false, "", "", "ETH0", false},
		{`"eth0"`, false, "eth0", "", "", false},
		{`"eth2" , eth0,"eth9,"`, false, "eth2 eth0", "", "eth9,", false},
		{`"auto"`, false, "eth0", "", "", false},
		{`"eth0`, false, "", "", `"eth0`, false},
	} {
		sel := Select(s, ParseWish(c.wish, c.loopback), addrList(both))
		if got := strings.Join(names(sel), " "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.wish, got, c.want)
		}
		if got := strings.Join(sel.Down, " "); got != c.down {
			t.Errorf("%s: down %q", c.wish, got)
		}
		if got := strings.Join(sel.Absent, " "); got != c.absent {
			t.Errorf("%s: absent %q", c.wish, got)
		}
		if (sel.Doubled != "") != c.doubled {
			t.Errorf("%s: doubled %q", c.wish, sel.Doubled)
		}
		if want := len(sel.Down) + len(sel.Absent); len(sel.Warnings) != want {
			t.Errorf("%s: warnings %q", c.wish, sel.Warnings)
		}
	}
}

// However many there are, the operator is told in a few sentences.
func TestManyAreMissing(t *testing.T) {
	var s Snapshot
	var wish []string
	for i := range 100 {
		wish = append(wish, fmt.Sprintf("gone%d", i), fmt.Sprintf("down%d", i))
		s.Links = append(s.Links, up(i+2, fmt.Sprintf("down%d", i), "").down())
	}
	sel := Select(s, ParseWish(strings.Join(wish, ","), false), addrList(both))
	text := strings.Join(sel.Warnings, "; ")
	if len(sel.Warnings) != 18 || !strings.Contains(text, `"gone7" does not exist`) ||
		!strings.Contains(text, "92 more devices do not exist") || !strings.HasSuffix(text, "92 more devices are down") {
		t.Errorf("got %q", text)
	}
	if len(sel.Absent) != 100 || len(sel.Down) != 100 {
		t.Errorf("%d absent, %d down", len(sel.Absent), len(sel.Down))
	}
}

func TestLinkHeader(t *testing.T) {
	for arphrd, want := range map[uint16]int{
		1: 14, 772: 14, 32: 4, 0xfffe: 0, 512: 0, 768: 0, 769: 0, 776: 0, 778: 0, 823: 0, 519: 0,
	} {
		if got := linkHeader(arphrd); got != want {
			t.Errorf("ARPHRD %d: got %d, want %d", arphrd, got, want)
		}
	}
}

func TestLocal(t *testing.T) {
	s := Snapshot{Links: []Link{lo, up(2, "eth0", "", "10.0.0.1/24", "2001:db8::1/64"), up(3, "red0", "", "10.5.0.1/24")}}
	for _, p := range []string{"127.0.0.0/8", "127.0.0.1/32", "10.0.0.1/32", "192.0.2.0/24", "::1/128", "2001:db8::1/128"} {
		s.Local = append(s.Local, netip.MustParsePrefix(p))
	}
	v4 := "127.0.0.0/8 127.0.0.1/32 10.0.0.1/32 192.0.2.0/24 10.5.0.1/32"
	for _, c := range []struct{ listeners, want string }{
		{"", ""},
		{"0.0.0.0", v4},
		{"::", "::1/128 2001:db8::1/128"},
		{"10.0.0.1", "10.0.0.1/32"},
		{"::ffff:10.0.0.1", "10.0.0.1/32"},
		{"fe80::1%eth0", "fe80::1/128"},
		{"192.0.2.77", "192.0.2.77/32"},
		{"0.0.0.0 10.0.0.1 2001:db8::1", v4 + " 2001:db8::1/128"},
	} {
		var got []string
		for _, p := range Local(s, addrList(c.listeners)) {
			got = append(got, p.String())
		}
		want := strings.Fields(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", c.listeners, got, want)
		}
	}
}

func TestNamedAddresses(t *testing.T) {
	for value, want := range map[string]string{
		"":                              "",
		"*":                             "0.0.0.0 ::",
		"10.0.0.1, ::1":                 "10.0.0.1 ::1",
		` "10.0.0.1" ,, fe80::1%eth0 `:  "10.0.0.1 fe80::1",
		"no.such.name.invalid,10.0.0.2": "10.0.0.2",
	} {
		if got := namedAddresses(value); !slices.Equal(got, addrList(want)) {
			t.Errorf("%q: got %v", value, got)
		}
	}
}
