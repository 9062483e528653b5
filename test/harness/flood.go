package harness

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Flood sends one SYN to the server's port from each of n addresses, that is from
// first and those that follow. Nobody is there to take an answer.
func (l *Link) Flood(t testing.TB, port int, first netip.Addr, n int) {
	t.Helper()
	// Name, state, link address: what /sys shows may be another namespace's.
	shown := strings.Fields(must(t, "ip", "-n", l.Server.Host.Name, "-br", "link", "show", l.Server.Device))
	server, err := net.ParseMAC(shown[2])
	if err != nil {
		t.Fatal(err)
	}
	err = l.Client.Host.In(func() error {
		device, err := net.InterfaceByName(l.Client.Device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Ifindex: device.Index}
		from := first.As4()
		number := binary.BigEndian.Uint32(from[:])
		for i := range n {
			packet, err := syn(device.HardwareAddr, server, number+uint32(i), l.Server.V4, port)
			if err == nil {
				err = unix.Sendto(fd, packet, 0, to)
			}
			if err != nil {
				return fmt.Errorf("packet %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal("flooding: ", err)
	}
}

func syn(source, target net.HardwareAddr, from uint32, to netip.Addr, port int) ([]byte, error) {
	ip := &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP,
		SrcIP: binary.BigEndian.AppendUint32(nil, from), DstIP: to.AsSlice(),
	}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), Seq: 1, SYN: true, Window: 1000}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: source, DstMAC: target, EthernetType: layers.EthernetTypeIPv4}, ip, tcp)
	return b.Bytes(), err
}
