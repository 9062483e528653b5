package ebpf

import (
	"encoding/binary"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

// newTun makes a device whose packets are what is written to the file, each
// behind a header of virtio as of a virtual machine's.
func newTun(t *testing.T, name string, kind int) *os.File {
	t.Helper()
	netnstest.Need(t)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(uint16(kind | unix.IFF_NO_PI | unix.IFF_VNET_HDR))
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	netnstest.Run(t, "ip", "link", "set", name, "addrgenmode", "none", "up")
	return f
}

// virtio is a struct virtio_net_hdr that says the size of the segments of TCP
// behind headers bytes, of which ip are before TCP.
func virtio(kind byte, headers, ip, size int) []byte {
	const needsChecksum = 1
	h := []byte{needsChecksum, kind}
	h = binary.NativeEndian.AppendUint16(h, uint16(headers))
	h = binary.NativeEndian.AppendUint16(h, uint16(size))
	h = binary.NativeEndian.AppendUint16(h, uint16(ip))
	return binary.NativeEndian.AppendUint16(h, 16) // of the checksum in TCP's header
}

const tcpv4, tcpv6 = 1, 4 // VIRTIO_NET_HDR_GSO_

// Super-packets of a virtual machine say the size of their segments and not
// their number.
func TestTapSegments(t *testing.T) {
	f := newTun(t, "pgebt", unix.IFF_TAP)
	s := openSource(t, target(t, own, "pgebt"))
	for _, c := range []struct {
		name    string
		packet  packet
		tags    []uint16
		kind    byte
		size    int
		packets int
		headers int
	}{
		{"IPv4", request4.with(payload(30000)), nil, tcpv4, 1448, 21, 54},
		{"IPv4, TCP options", request4.with(func(p *packet) { p.payload, p.tcpOptions = 30000, 12 }), nil, tcpv4, 1000, 30, 66},
		{"IPv6", request6.with(payload(30001)), nil, tcpv6, 1000, 31, 74},
		{"IPv4, tag", request4.with(payload(30000)), []uint16{5}, tcpv4, 1448, 21, 58},
		{"one segment", request4.with(payload(500)), nil, tcpv4, 1448, 1, 54},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := c.packet.frame(ownMAC, otherMAC, c.tags...)
			headers := len(frame) - c.packet.payload
			header := virtio(c.kind, headers, headers-20-c.packet.tcpOptions, c.size)
			if _, err := f.Write(append(header, frame...)); err != nil {
				t.Fatal(err)
			}
			settle(t)
			same(t, c.name, total(cut(t, s)), in(c.packets, len(frame)+(c.packets-1)*c.headers))
		})
	}
}

// A tunnel device has no link header: a packet is what it is.
func TestTunnelDevice(t *testing.T) {
	f := newTun(t, "pgebu", unix.IFF_TUN)
	lonely := device(t, "pgebu")
	lonely.LinkHeader = 0
	s := openSource(t, engine.Target{Port: 5432, Devices: []engine.Device{lonely}, Local: ownPrefixes})
	var want engine.Counts
	for _, p := range []packet{request4.with(payload(10)), request6, request6.with(extend(extension{protocol: 60, body: 6}))} {
		if _, err := f.Write(append(make([]byte, 10), p.bytes()...)); err != nil {
			t.Fatal(err)
		}
		want.Add(in(1, len(p.bytes())))
	}
	big := request4.with(payload(5000))
	if _, err := f.Write(append(virtio(tcpv4, 40, 20, 1000), big.bytes()...)); err != nil {
		t.Fatal(err)
	}
	want.Add(in(5, 5000+5*40))
	// What this host sends has no header in front of it either.
	netnstest.Run(t, "ip", "address", "add", "192.0.2.1/32", "peer", "198.51.100.7", "dev", "pgebu")
	sendTCP(t, response4.with(payload(30)))
	want.Add(out(1, len(response4.with(payload(30)).bytes())))
	settle(t)
	same(t, "tunnel", total(cut(t, s)), want)
}

// sendTCP sends a packet by the routing table.
func sendTCP(t *testing.T, p packet) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	if err := unix.Sendto(socket, p.bytes(), 0, &unix.SockaddrInet4{Addr: p.to.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
}
