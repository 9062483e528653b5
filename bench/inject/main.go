// Command inject sends TCP segments to a server's port as fast as one core can,
// past the queueing discipline, and prints how many it sent. It is the highest
// rate that the machine makes. It must run in a namespace of the caller's own.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

func main() {
	device := flag.String("device", "eth0", "device to send on")
	mac := flag.String("mac", "", "link address of the server")
	from := flag.String("from", "", "address to send from")
	to := flag.String("to", "", "address of the server")
	port := flag.Uint("port", 5432, "port of the server")
	seconds := flag.Float64("seconds", 5, "how long to send")
	flag.Parse()
	sent, err := run(*device, *mac, *from, *to, uint16(*port), time.Duration(*seconds*float64(time.Second)))
	if err != nil {
		fmt.Fprintln(os.Stderr, "inject:", err)
		os.Exit(1)
	}
	fmt.Println(sent)
}

// batch is how many packets one system call sends.
const batch = 64

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

func run(device, mac, from, to string, port uint16, length time.Duration) (sent uint64, err error) {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return 0, err
	}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return 0, err
	}
	packet, err := segment(link.HardwareAddr, hw, from, to, port)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: link.Index}); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return 0, err
	}
	messages := make([]mmsghdr, batch)
	piece := unix.Iovec{Base: &packet[0]}
	piece.SetLen(len(packet))
	for i := range messages {
		messages[i].hdr.Iov = &piece
		messages[i].hdr.SetIovlen(1)
	}
	for end := time.Now().Add(length); time.Now().Before(end); {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[0])), batch, 0, 0, 0)
		switch errno {
		case 0:
			sent += uint64(n)
		case unix.ENOBUFS, unix.EAGAIN, unix.EINTR:
		default:
			return sent, errno
		}
	}
	return sent, nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func segment(source, target net.HardwareAddr, from, to string, port uint16) ([]byte, error) {
	src, err := netip.ParseAddr(from)
	if err != nil {
		return nil, err
	}
	dst, err := netip.ParseAddr(to)
	if err != nil {
		return nil, err
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(port), Seq: 1, Ack: 1, ACK: true, Window: 1000}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	eth := &layers.Ethernet{SrcMAC: source, DstMAC: target, EthernetType: layers.EthernetTypeIPv4}
	err = gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp)
	return b.Bytes(), err
}
