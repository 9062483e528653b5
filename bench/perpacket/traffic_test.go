package perpacket

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

// way is a pair of devices, and sockets that send into it at both ends.
type way struct {
	here          int // index
	send, receive *sender
}

func newWay(b *testing.B) *way {
	b.Helper()
	peer := netnstest.NewPeer(b)
	netnstest.Run(b, "ip", "link", "add", "pgpp0", "type", "veth", "peer", "name", "pgpp1", "netns", peer.Name())
	netnstest.Run(b, "ip", "link", "set", "pgpp0", "addrgenmode", "none", "up")
	peer.Run(b, "ip", "link", "set", "pgpp1", "addrgenmode", "none", "up")
	w := &way{}
	i, err := net.InterfaceByName("pgpp0")
	if err != nil {
		b.Fatal(err)
	}
	w.here = i.Index
	w.send = newSender(b, i.Index)
	peer.Do(b, func() {
		if i, err = net.InterfaceByName("pgpp1"); err == nil {
			w.receive = newSender(b, i.Index)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// frames are one for each client, in an order that no cache foresees.
func (l line) frames() [][]byte {
	all := make([][]byte, l.clients)
	for i := range all {
		all[i] = l.frame(i)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (l line) frame(i int) []byte {
	client, server := []byte{10, byte(i >> 16), byte(i >> 8), byte(i)}, server4.AsSlice()
	if l.ipv6 {
		client, server = append([]byte{0xfd, 11: 0}, client...), server6.AsSlice()
	}
	from, to := client, server
	ports := []uint16{40000, l.port}
	if l.sent {
		from, to = server, client
		slices.Reverse(ports)
	}
	protocol := byte(unix.IPPROTO_TCP)
	if l.udp {
		protocol = unix.IPPROTO_UDP
	}
	f := append(make([]byte, 12), 0x08, 0x00)
	h := make([]byte, 12, 40)
	h[0], h[3], h[8], h[9] = 0x45, 90, 64, protocol
	if l.ipv6 {
		f[12], f[13] = 0x86, 0xdd
		h = h[:8]
		h[0], h[5], h[6], h[7], h[3] = 0x60, 70, protocol, 64, 0
	}
	f = slices.Concat(f, h, from, to)
	for _, p := range ports {
		f = binary.BigEndian.AppendUint16(f, p)
	}
	tcp := make([]byte, 16)
	tcp[8], tcp[9] = 0x50, 0x10
	return slices.Concat(f, tcp, make([]byte, 50))
}

// unit names the line as testing wants it.
func (l line) unit() string {
	return string(slices.DeleteFunc([]byte(l.name), func(c byte) bool { return c == ' ' || c == ',' }))
}

// sender sends frames out of a device, many with a call.
type sender struct {
	socket   int
	messages []message
}

// message is a struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

const batch = 64

func newSender(b *testing.B, index int) *sender {
	b.Helper()
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		b.Fatal(err)
	}
	return &sender{socket: socket, messages: make([]message, batch)}
}

func (s *sender) run(b *testing.B, frames [][]byte, n int) {
	b.Helper()
	vectors := make([]unix.Iovec, batch)
	for next := 0; n > 0; n -= batch {
		for i := range s.messages {
			frame := frames[next%len(frames)]
			next++
			vectors[i].Base = &frame[0]
			vectors[i].SetLen(len(frame))
			s.messages[i].header.Iov = &vectors[i]
			s.messages[i].header.SetIovlen(1)
		}
		for done := 0; done < batch; {
			sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.socket),
				uintptr(unsafe.Pointer(&s.messages[done])), uintptr(batch-done), 0, 0, 0)
			if errno != 0 && errno != unix.ENOBUFS {
				b.Fatalf("sending: %v", errno)
			}
			if errno == 0 {
				done += int(sent)
			}
		}
	}
}
