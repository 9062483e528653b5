package ebpf

import (
	"net/netip"
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

const own = "192.0.2.1/32 2001:db8::1/128"

// Every way a packet can take through a device with a link header, with tags
// where the kernel keeps them: received, the first beside the packet and others
// in front of it; sent, all in the frame and the packet behind them.
func TestFrames(t *testing.T) {
	l := newLink(t, "pgeb0")
	s := openSource(t, target(t, own, "pgeb0"))
	send := newRaw(t, device(t, "pgeb0").Index)
	hopByHop := extension{protocol: 0, body: 6}
	response6 := flow(server6, client6addr)
	for _, c := range []struct {
		name   string
		packet packet
		tags   []uint16
		sent   bool // by this host
		want   bool
	}{
		{"request", request4.with(payload(100)), nil, false, true},
		{"request, IPv6", request6.with(payload(100)), nil, false, true},
		{"response", response4.with(payload(100)), nil, true, true},
		{"response, IPv6", response6.with(payload(100)), nil, true, true},
		{"cut in the IP header", request4.with(cutAt(19)), nil, false, false},
		{"this host is a client of the port: its request", flow("192.0.2.1:40000", "198.51.100.7:5432"), nil, true, false},
		{"and the response", flow("198.51.100.7:5432", "192.0.2.1:40000"), nil, false, false},
		{"this host's client port is that port: its request", flow("192.0.2.1:5432", "198.51.100.7:5432"), nil, true, true},
		{"forwarded, received", flow(client4addr, "203.0.113.9:5432"), nil, false, false},
		{"forwarded, sent", flow(client4addr, "203.0.113.9:5432"), nil, true, false},
		{"forwarded, the other way", flow("203.0.113.9:5432", client4addr), nil, true, false},
		{"one tag", request4, []uint16{5}, false, true},
		{"one tag, IPv6", request6, []uint16{5}, false, true},
		{"two tags", request4, []uint16{5, 6}, false, true},
		{"two tags, the inner like IPv6", request4, []uint16{5, 0x6006}, false, true},
		{"three tags", request6, []uint16{5, 6, 7}, false, true},
		{"sent with a tag", response4, []uint16{5}, true, true},
		{"sent with two", response6, []uint16{5, 6}, true, true},
		{"sent with three", response4, []uint16{5, 6, 7}, true, true},
		{"extension", request6.with(extend(hopByHop)), nil, false, true},
		{"sent with an extension", response6.with(extend(hopByHop, hopByHop)), nil, true, true},
		{"sent with an extension and a tag", response6.with(extend(hopByHop)), []uint16{5}, true, true},
		{"IP options", request4.with(func(p *packet) { p.ipOptions = 8 }), []uint16{5}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := c.packet.frame(ownMAC, otherMAC, c.tags...)
			want := in(1, len(frame))
			if c.sent {
				send.send(t, frame)
				want = out(1, len(frame))
			} else {
				l.fromPeer.send(t, frame)
			}
			if !c.want {
				want = engine.Counts{}
			}
			settle(t)
			same(t, c.name, total(cut(t, s)), want)
		})
	}
}

// Fragments, sent and received, with and without a tag.
func TestFragmentFrames(t *testing.T) {
	l := newLink(t, "pgeb0")
	s := openSource(t, target(t, own, "pgeb0"))
	send := newRaw(t, device(t, "pgeb0").Index)
	for _, tags := range [][]uint16{nil, {5}, {5, 6}} {
		bytes, packets := 0, 0
		for i, p := range []packet{request4, request6} {
			for _, part := range partsOf(p.with(payload(3000)), uint32(len(tags)*2+i), 1000) {
				frame := part.frame(ownMAC, otherMAC, tags...)
				l.fromPeer.send(t, frame)
				bytes, packets = bytes+len(frame), packets+1
			}
			back := packet{from: p.to, to: p.from}
			for _, part := range partsOf(back.with(payload(3000)), uint32(len(tags)*2+i), 1000) {
				send.send(t, part.frame(ownMAC, otherMAC, tags...))
			}
		}
		settle(t)
		want := in(packets, bytes)
		want.Add(out(packets, bytes))
		r := cut(t, s)
		same(t, "fragments", total(r), want)
		if len(r.Clients) != 2 {
			t.Errorf("clients: %+v", r.Clients)
		}
	}
}

// A macvlan and its parent: both see the packets, those that are for the
// macvlan's address with another hardware address than the parent's.
func TestMacvlan(t *testing.T) {
	l := newLink(t, "pgeb0")
	netnstest.Run(t, "ip", "link", "add", "pgebm", "link", "pgeb0", "address", "02:00:00:00:00:77", "type", "macvlan", "mode", "bridge")
	netnstest.Run(t, "ip", "link", "set", "pgebm", "up")
	running(t, netnstest.Run, "pgebm")
	s := openSource(t, target(t, own, "pgeb0", "pgebm"))
	mac := []byte{2, 0, 0, 0, 0, 0x77}
	send := newRaw(t, device(t, "pgebm").Index)
	for range 3 {
		l.fromPeer.send(t, request4.frame(mac, otherMAC))
		send.send(t, response4.with(payload(7)).frame(otherMAC, mac))
	}
	settle(t)
	r := cut(t, s)
	want := in(3, 3*one(request4))
	want.Add(out(3, 3*(one(response4)+7)))
	for _, d := range r.Devices {
		same(t, d.Device, d.Counts, want)
	}
	if len(r.Devices) != 2 {
		t.Errorf("devices: %+v", r.Devices)
	}
	if err := s.Retarget(target(t, own, "pgebm")); err != nil {
		t.Fatal(err)
	}
	l.fromPeer.send(t, request4.frame(mac, otherMAC))
	settle(t)
	same(t, "the macvlan alone", total(cut(t, s)), in(1, one(request4)))
}

// A bridge has what is for its own address, as its port has.
func TestBridge(t *testing.T) {
	l := newLink(t, "pgeb0")
	netnstest.Run(t, "ip", "link", "add", "pgebb", "address", "02:00:00:00:00:78", "type", "bridge")
	t.Cleanup(func() { netnstest.Run(t, "ip", "link", "del", "pgebb") })
	netnstest.Run(t, "ip", "link", "set", "pgeb0", "master", "pgebb")
	netnstest.Run(t, "ip", "link", "set", "pgebb", "up")
	running(t, netnstest.Run, "pgebb")
	s := openSource(t, target(t, own, "pgebb"))
	mac := []byte{2, 0, 0, 0, 0, 0x78}
	send := newRaw(t, device(t, "pgebb").Index)
	for range 3 {
		l.fromPeer.send(t, request6.frame(mac, otherMAC))
		send.send(t, response4.with(payload(7)).frame(otherMAC, mac))
	}
	settle(t)
	want := in(3, 3*one(request6))
	want.Add(out(3, 3*(one(response4)+7)))
	same(t, "bridge", total(cut(t, s)), want)
}

// The clients of a reading are those of all devices together.
func TestClientOnTwoDevices(t *testing.T) {
	a, b := newLink(t, "pgeb0"), newLink(t, "pgeb1")
	s := openSource(t, target(t, own, "pgeb0", "pgeb1"))
	a.fromPeer.send(t, request4.frame(ownMAC, otherMAC))
	b.fromPeer.send(t, request4.frame(ownMAC, otherMAC))
	b.fromPeer.send(t, request6.frame(ownMAC, otherMAC))
	settle(t)
	r := cut(t, s)
	if len(r.Devices) != 2 || len(r.Clients) != 2 {
		t.Fatalf("%+v", r)
	}
	for _, c := range r.Clients {
		if c.Client == netip.MustParseAddrPort(client4addr).Addr() {
			same(t, "client", c.Counts, in(2, 2*one(request4)))
		}
	}
}
