package ebpf

import (
	"testing"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

var (
	request4  = flow(client4addr, server4)
	request6  = flow(client6addr, server6)
	response4 = flow(server4, client4addr)
)

func payload(n int) func(*packet)           { return func(p *packet) { p.payload = n } }
func extend(all ...extension) func(*packet) { return func(p *packet) { p.extensions = all } }
func cutAt(n int) func(*packet)             { return func(p *packet) { p.cut = n } }

// What one received packet counts. The test run knows no packets that are
// sent and no tags beside the packet: live tests have those.
func TestOnePacket(t *testing.T) {
	hopByHop, routing, destination := extension{protocol: 0, body: 6}, extension{protocol: 43, body: 22}, extension{protocol: 60, body: 14}
	authentication := extension{protocol: 51, body: 22}
	many := make([]extension, 9)
	for i := range many {
		many[i] = destination
	}
	r := newRunner(t, constants{linkHeader: linkHeader})
	for _, c := range []struct {
		name    string
		packet  packet
		tags    []uint16 // in front of the packet
		counted bool
	}{
		{"IPv4", request4, nil, true},
		{"IPv4 with payload", request4.with(payload(1000)), nil, true},
		{"IPv4, TCP options", request4.with(func(p *packet) { p.tcpOptions = 12 }), nil, true},
		{"IPv4, IP options", request4.with(func(p *packet) { p.ipOptions = 40 }), nil, true},
		{"IPv4, authentication header", request4.with(extend(authentication)), nil, true},
		{"IPv4, AnyIP prefix", flow(client4addr, "192.0.2.127:5432"), nil, true},
		{"IPv4, behind the prefix", flow(client4addr, "192.0.2.128:5432"), nil, false},
		{"IPv4, another port", flow(client4addr, "192.0.2.1:5433"), nil, false},
		{"IPv4, the port is the sender's", flow("198.51.100.7:5432", "192.0.2.1:40000"), nil, false},
		{"IPv4, forwarded", flow(client4addr, "203.0.113.9:5432"), nil, false},
		{"IPv4, this host's own packet come back", response4, nil, false},
		{"IPv4, UDP", request4.with(func(p *packet) { p.protocol = protoUDP }), nil, false},
		{"IPv4, cut in the TCP header behind the ports", request4.with(cutAt(24)), nil, true},
		{"IPv4, cut in the ports", request4.with(cutAt(23)), nil, false},
		{"IPv6", request6, nil, true},
		{"IPv6 with payload", request6.with(payload(1400)), nil, true},
		{"IPv6, prefix", flow(client6addr, "[2001:db8:1::99]:5432"), nil, true},
		{"IPv6, forwarded", flow(client6addr, "[2001:db8:2::99]:5432"), nil, false},
		{"IPv6, another port", flow(client6addr, "[2001:db8::1]:5433"), nil, false},
		{"IPv6, UDP", request6.with(func(p *packet) { p.protocol = protoUDP }), nil, false},
		{"IPv6, hop by hop", request6.with(extend(hopByHop)), nil, true},
		{"IPv6, routing", request6.with(extend(routing)), nil, true},
		{"IPv6, destination", request6.with(extend(destination)), nil, true},
		{"IPv6, authentication", request6.with(extend(authentication)), nil, true},
		{"IPv6, all of them", request6.with(extend(hopByHop, destination, routing, authentication, destination)), nil, true},
		{"IPv6, too many", request6.with(extend(many...)), nil, false},
		{"IPv6, extension and UDP", request6.with(func(p *packet) { p.protocol = protoUDP; p.extensions = []extension{hopByHop} }), nil, false},
		{"IPv6, cut in an extension", request6.with(func(p *packet) { p.extensions = []extension{routing}; p.cut = 45 }), nil, false},
		{"IPv6, cut in the TCP header", request6.with(cutAt(50)), nil, true},
		{"IPv4, a second tag", request4, []uint16{7}, true},
		{"IPv4, a second tag that looks like IPv4", request4, []uint16{0x4500}, true},
		{"IPv4, three tags", request4, []uint16{0x6007, 3, 9}, true},
		{"IPv6, a second tag", request6, []uint16{0x4007}, true},
		{"IPv6, two tags and an extension", request6.with(extend(destination)), []uint16{1, 2}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.run(t, c.packet, c.tags...)
			reading := r.reading(t)
			want := engine.Counts{}
			if c.counted {
				// The first tag is a part of the link header of a test run.
				want = in(1, one(c.packet)+4*len(c.tags))
				if len(reading.Clients) != 1 || reading.Clients[0].Client != c.packet.from.Addr() {
					t.Errorf("clients: %v", reading.Clients)
				}
			}
			same(t, "device", total(reading), want)
			if reading.Lost > 0 {
				t.Errorf("lost %d", reading.Lost)
			}
		})
	}
}
