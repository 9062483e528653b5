package pcap

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcap"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// form is a way that a packet may look, and what it counts.
type form struct {
	name   string
	frames [][]byte
	want   engine.Counts
}

func in(packets, bytes uint64) engine.Counts {
	return engine.Counts{PacketsIn: packets, BytesIn: bytes}
}

func out(packets, bytes uint64) engine.Counts {
	return engine.Counts{PacketsOut: packets, BytesOut: bytes}
}

const somebody = 40001

var (
	toServer   = four{src: clientAddr, dst: serverAddr, proto: 6}
	fromServer = four{src: serverAddr, dst: clientAddr, proto: 6}
	ask        = tcp(somebody, port, 100) // 120 bytes
	reply      = tcp(port, somebody, 100)
)

func (h four) as(change func(*four)) four { change(&h); return h }

// ethernetForms are those that also travel over a veth pair.
func ethernetForms() []form {
	one := func(frame []byte) [][]byte { return [][]byte{frame} }
	v6 := func(next int, payload []byte) []byte { return six(clientSix, serverSix, next, payload) }
	chain := extension(protoDestination, 8, extension(protoTCP, 24, ask))
	piece := func(h four, offset, size int, more bool, whole []byte) []byte {
		h.id, h.offset, h.more = 70+int(whole[3]), offset, more // one for each port
		return ether(h.ip(whole[offset : offset+size]))
	}
	piece6 := func(offset, size int, more bool, whole []byte) []byte {
		return ether(v6(protoFragment, fragmentHeader(protoTCP, offset, more, 88, whole[offset:offset+size])))
	}
	udp := toServer.as(func(h *four) { h.proto = 17 })
	return []form{
		{"IPv4 in", one(ether(toServer.ip(ask))), in(1, 154)},
		{"IPv4 out", one(ether(fromServer.ip(reply))), out(1, 154)},
		{"padded", one(cat(ether(toServer.ip(tcp(somebody, port, 0))), make([]byte, 6))), in(1, 60)},
		{"IPv4 options", one(ether(toServer.as(func(h *four) { h.options = 40 }).ip(ask))), in(1, 194)},
		{"IPv4 authenticated", one(ether(toServer.as(func(h *four) { h.proto = 51 }).ip(auth(protoTCP, ask)))), in(1, 178)},
		{"IPv6 in", one(ether(v6(protoTCP, ask))), in(1, 174)},
		{"IPv6 out", one(ether(six(serverSix, clientSix, protoTCP, reply))), out(1, 174)},
		{"IPv6 hop by hop, destination", one(ether(v6(protoHopByHop, chain))), in(1, 206)},
		{"IPv6 routing", one(ether(v6(protoRouting, extension(protoTCP, 24, ask)))), in(1, 198)},
		{"IPv6 authenticated", one(ether(v6(protoAuth, auth(protoTCP, ask)))), in(1, 198)},
		{"IPv6 atomic fragment", one(ether(v6(protoFragment, fragmentHeader(protoTCP, 0, false, 1, ask)))), in(1, 182)},
		{"VLAN", one(ether(toServer.ip(ask), 0x8100)), in(1, 158)},
		{"VLAN IPv6 out", one(ether(six(serverSix, clientSix, protoTCP, reply), 0x8100)), out(1, 178)},
		{"QinQ", one(ether(toServer.ip(ask), 0x88a8, 0x8100)), in(1, 162)},
		{"QinQ IPv6 extension", one(ether(v6(protoHopByHop, extension(protoTCP, 8, ask)), 0x88a8, 0x8100)), in(1, 190)},
		{"fragments", [][]byte{
			piece(toServer, 0, 40, true, ask), piece(toServer, 40, 40, true, ask), piece(toServer, 80, 40, false, ask),
		}, in(3, 3*74)},
		{"fragments, the first last", [][]byte{
			piece(toServer, 80, 40, false, ask), piece(toServer, 40, 40, true, ask), piece(toServer, 0, 40, true, ask),
		}, in(3, 3*74)},
		{"fragments to another port", [][]byte{
			piece(toServer, 80, 40, false, tcp(somebody, 80, 100)), piece(toServer, 0, 40, true, tcp(somebody, 80, 100)),
			piece(toServer, 40, 40, true, tcp(somebody, 80, 100)),
		}, engine.Counts{}},
		{"fragments out", [][]byte{
			piece(fromServer, 0, 64, true, reply), piece(fromServer, 64, 56, false, reply),
		}, out(2, 98+90)},
		{"IPv6 fragments", [][]byte{
			piece6(64, 56, false, ask), piece6(0, 64, true, ask),
		}, in(2, 62+56+62+64)},
		{"another port", one(ether(toServer.ip(tcp(somebody, 5432, 10)))), engine.Counts{}},
		{"this host as a client of the port", one(ether(fromServer.ip(tcp(somebody, port, 10)))), engine.Counts{}},
		{"another host's server", one(ether(toServer.as(func(h *four) { h.dst = "10.66.0.77" }).ip(ask))), engine.Counts{}},
		{"UDP", one(ether(udp.ip(ask))), engine.Counts{}},
		{"cut in the TCP header", one(ether(toServer.ip(ask[:2]))), engine.Counts{}},
	}
}

func testView(d engine.Device) *view {
	return &view{device: d, port: port, local: newLocals([]netip.Prefix{
		netip.MustParsePrefix(serverAddr + "/32"), netip.MustParsePrefix("fd66::/127"),
	})}
}

// replay counts the frames of a capture file, as if they came one by one.
func replay(t *testing.T, link layers.LinkType, d engine.Device, frames [][]byte) engine.Counts {
	t.Helper()
	name := filepath.Join(t.TempDir(), "frames.pcap")
	if err := os.WriteFile(name, captureFile(link, frames), 0o600); err != nil {
		t.Fatal(err)
	}
	var all engine.Counts
	for _, dir := range []direction{inward, outward} {
		all.Add(replayOne(t, name, d, dir))
	}
	if c := replayOne(t, name, d, both); c != all {
		t.Errorf("both directions in one have %+v, apart %+v", c, all)
	}
	return all
}

func replayOne(t *testing.T, name string, d engine.Device, dir direction) engine.Counts {
	t.Helper()
	h, err := pcap.OpenOffline(name)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	handles := []*pcap.Handle{h}
	r := &reader{captures: &captures{dirs: []direction{dir}}, view: testView(d), ledger: newLedger(d.Name)}
	r.link = int(h.LinkType())
	core := expression(port, dir)
	if err := h.SetBPFFilter(tagged(core)); err != nil {
		if err := h.SetBPFFilter(core); err != nil {
			t.Fatal(err)
		}
	}
	if r.pump, err = newPump(handles, 256, newRing(defaults)); err != nil {
		t.Fatal(err)
	}
	defer r.pump.close()
	for question := r.pump.ask(); r.pump.answered() < question; {
		r.pump.wait(0, time.Time{})
	}
	r.packets(time.Now().UnixNano())
	return r.ledger.open[0].counts
}

var veth = engine.Device{Index: 2, Name: "eth0", LinkHeader: 14, MTU: 1500}

func TestForms(t *testing.T) {
	for _, f := range ethernetForms() {
		t.Run(f.name, func(t *testing.T) {
			if got := replay(t, layers.LinkTypeEthernet, veth, f.frames); got != f.want {
				t.Errorf("got %+v, want %+v", got, f.want)
			}
		})
	}
}

func TestOtherLinkTypes(t *testing.T) {
	bare := engine.Device{Index: 3, Name: "tun0", MTU: 1500}
	fabric := engine.Device{Index: 4, Name: "ib0", LinkHeader: 4, MTU: 2044}
	v6 := six(serverSix, clientSix, protoTCP, reply)
	for _, c := range []struct {
		name  string
		link  layers.LinkType
		d     engine.Device
		frame []byte
		want  engine.Counts
	}{
		{"raw IPv4", layers.LinkTypeRaw, bare, toServer.ip(ask), in(1, 140)},
		{"raw IPv6", layers.LinkTypeRaw, bare, v6, out(1, 160)},
		{"IPv4 only", layers.LinkTypeIPv4, bare, toServer.ip(ask), in(1, 140)},
		{"IPv6 only", layers.LinkTypeIPv6, bare, v6, out(1, 160)},
		{"cooked", layers.LinkTypeLinuxSLL, bare, cooked(toServer.ip(ask)), in(1, 140)},
		{"cooked InfiniBand", layers.LinkTypeLinuxSLL, fabric, cooked(v6), out(1, 164)},
		{"cooked, the second kind", linkCooked2, bare, cooked2(toServer.ip(ask)), in(1, 140)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := replay(t, c.link, c.d, [][]byte{c.frame}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// A packet larger than the MTU counts as the segments that it becomes.
func TestSegments(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		want  engine.Counts
	}{
		{"as large as fits", ether(toServer.ip(tcp(somebody, port, 1460))), in(1, 1514)},
		{"one byte more", ether(toServer.ip(tcp(somebody, port, 1461))), in(2, 1515+54)},
		{"three and a bit", ether(fromServer.ip(tcp(port, somebody, 3*1460+1))), out(4, 3*1460+1+4*54)},
		{"with time stamps", ether(toServer.ip(tcpStamped(somebody, port, 2*1448))), in(2, 2*1514)},
		{"IPv6 with a tag", ether(six(clientSix, serverSix, protoTCP, tcp(somebody, port, 2*1440)), 0x8100), in(2, 2*1518)},
		{"larger than its length can say", ether(toServer.ip(tcp(somebody, port, 100*1460))), in(100, 100*1514)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := replay(t, layers.LinkTypeEthernet, veth, [][]byte{c.frame}); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// The same frames count the same when they come over a real device, where the
// kernel takes off the outer tag and its filter decides.
func TestFormsOnTheWire(t *testing.T) {
	w := newWire(t)
	s := mustOpen(t, defaults, target(t, "pcn0"))
	const times = 5
	for _, f := range ethernetForms() {
		t.Run(f.name, func(t *testing.T) {
			reading(t, s)
			for range times {
				for _, frame := range f.frames {
					if f.want.PacketsOut > 0 {
						inject(t, "pcn0", frame)
					} else {
						w.peer.Do(t, func() { inject(t, "pcf0", frame) })
					}
				}
			}
			time.Sleep(50 * time.Millisecond)
			want := f.want
			for range times - 1 {
				want.Add(f.want)
			}
			got := total(reading(t, s))
			// The host's own answers to what arrived are not part of it.
			if f.want.PacketsOut == 0 {
				got.PacketsOut, got.BytesOut = 0, 0
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// inject sends a frame by a device of the calling thread's namespace.
func inject(t *testing.T, name string, frame []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		t.Error(err)
		return
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		t.Error(err)
		return
	}
	to := &unix.SockaddrLinklayer{Ifindex: int(req.Uint32()), Protocol: uint16(frame[12]) | uint16(frame[13])<<8}
	if err := unix.Sendto(fd, frame, 0, to); err != nil {
		t.Error(err)
	}
}

// No frame makes the parser panic or see what is not there.
func FuzzParse(f *testing.F) {
	for _, form := range ethernetForms() {
		for _, frame := range form.frames {
			f.Add(uint16(linkEthernet), frame)
			f.Add(uint16(linkRaw), frame[14:])
		}
	}
	f.Add(uint16(linkCooked), cooked(toServer.ip(ask)))
	f.Add(uint16(linkCooked2), cooked2(toServer.ip(ask)))
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		var p packet
		if !p.parse(int(link), data, len(data)) {
			return
		}
		if p.ip < 0 || p.ip >= len(data) || p.size != len(data)-p.ip || p.headers < 20 || p.tags > 4*maxTags {
			t.Errorf("%+v of %d bytes", p, len(data))
		}
		if n := p.segments(1500); n < 1 {
			t.Errorf("%d segments", n)
		}
		r := &reader{
			captures: &captures{link: int(link), dirs: []direction{both}},
			view:     testView(veth), ledger: newLedger("eth0"),
		}
		r.packet(0, 1, data, len(data))
	})
}
