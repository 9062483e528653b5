package ebpf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

// request sends a request from the peer n times.
func (l *link) request(t testing.TB, n int) {
	t.Helper()
	for range n {
		l.fromPeer.send(t, request4.frame(ownMAC, otherMAC))
	}
	settle(t)
}

// up sets the device up, and waits until both ends know it.
func (l *link) up(t testing.TB, name string) {
	t.Helper()
	netnstest.Run(t, "ip", "link", "set", name, "up")
	running(t, netnstest.Run, name)
	running(t, l.peer.Run, l.here+"p")
}

func requests(n int) engine.Counts { return in(n, n*one(request4)) }

func retarget(t testing.TB, s *Source, target engine.Target) {
	t.Helper()
	if err := s.Retarget(target); err != nil {
		t.Fatal(err)
	}
}

// What a device counted before it was no longer wanted is in the next reading,
// and its name in no later one.
func TestDeviceRemovedAndAdded(t *testing.T) {
	a, b := newLink(t, "pgeb0"), newLink(t, "pgeb1")
	s := openSource(t, target(t, own, "pgeb0"))
	a.request(t, 2)
	b.request(t, 1)
	retarget(t, s, target(t, own, "pgeb1"))
	a.request(t, 4)
	b.request(t, 8)
	got := map[string]engine.Counts{}
	for _, d := range cut(t, s).Devices {
		got[d.Device] = d.Counts
	}
	same(t, "removed", got["pgeb0"], requests(2))
	same(t, "added", got["pgeb1"], requests(8))
	if r := cut(t, s); len(r.Devices) != 1 || r.Devices[0].Device != "pgeb1" {
		t.Errorf("devices: %+v", r.Devices)
	}
	retarget(t, s, engine.Target{Port: 5432})
	cut(t, s)
	if r := cut(t, s); len(r.Devices) != 0 {
		t.Errorf("devices: %+v", r.Devices)
	}
}

// A call that changes nothing interrupts nothing, and neither does a new name.
func TestDeviceKeptAndRenamed(t *testing.T) {
	l := newLink(t, "pgeb0")
	s := openSource(t, target(t, own, "pgeb0"))
	l.request(t, 1)
	socket := s.slots.tapOf(device(t, "pgeb0").Index).socket
	retarget(t, s, target(t, own, "pgeb0", "pgeb0"))
	l.request(t, 2)
	netnstest.Run(t, "ip", "link", "set", "pgeb0", "down")
	netnstest.Run(t, "ip", "link", "set", "pgeb0", "name", "pgebr")
	l.up(t, "pgebr")
	t.Cleanup(func() { netnstest.Run(t, "ip", "link", "set", "pgebr", "name", "pgeb0") })
	l.request(t, 4)
	retarget(t, s, target(t, own, "pgebr"))
	l.request(t, 8)
	if tap := s.slots.tapOf(device(t, "pgebr").Index); tap.socket != socket {
		t.Error("the socket has changed")
	}
	r := cut(t, s)
	same(t, "all of it", total(r), requests(15))
	if len(r.Devices) != 1 || r.Devices[0].Device != "pgebr" {
		t.Errorf("devices: %+v", r.Devices)
	}
}

// A device that goes down and comes up again counts on without a call, as does
// one that is down at first.
func TestDeviceDownAndUp(t *testing.T) {
	l := newLink(t, "pgeb0")
	netnstest.Run(t, "ip", "link", "set", "pgeb0", "down")
	s := openSource(t, target(t, own, "pgeb0"))
	for n := 1; n <= 3; n++ {
		l.up(t, l.here)
		l.request(t, n)
		netnstest.Run(t, "ip", "link", "set", "pgeb0", "down")
		same(t, fmt.Sprint("time ", n), total(cut(t, s)), requests(n))
	}
	l.up(t, l.here)
	retarget(t, s, target(t, own, "pgeb0"))
	l.request(t, 5)
	same(t, "after a call", total(cut(t, s)), requests(5))
}

// A device that was deleted is gone with what it counted told; one of the same
// name, even of the same index, is another and is counted on from the call.
func TestDeviceRecreated(t *testing.T) {
	netnstest.Need(t)
	peer := netnstest.NewPeer(t)
	create := func() *link {
		netnstest.Run(t, "ip", "link", "add", "pgeb0", "index", "4242", "type", "veth", "peer", "name", "far", "netns", peer.Name())
		netnstest.Run(t, "ip", "link", "set", "pgeb0", "addrgenmode", "none", "up")
		peer.Run(t, "ip", "link", "set", "far", "addrgenmode", "none", "up")
		running(t, netnstest.Run, "pgeb0")
		running(t, peer.Run, "far")
		l := &link{peer: peer}
		peer.Do(t, func() { l.fromPeer = newRaw(t, device(t, "far").Index) })
		return l
	}
	l := create()
	s := openSource(t, target(t, own, "pgeb0"))
	l.request(t, 3)
	netnstest.Run(t, "ip", "link", "del", "pgeb0")
	l = create()
	t.Cleanup(func() { netnstest.Run(t, "ip", "link", "del", "pgeb0") })
	l.request(t, 5)
	retarget(t, s, target(t, own, "pgeb0"))
	l.request(t, 7)
	r := cut(t, s)
	same(t, "both", total(r), requests(10))
	if len(r.Devices) != 1 {
		t.Errorf("devices: %+v", r.Devices)
	}
}

// Another link header is another program: what a packet takes on the wire has
// changed.
func TestLinkHeaderChanged(t *testing.T) {
	l := newLink(t, "pgeb0")
	to := target(t, own, "pgeb0")
	s := openSource(t, to)
	l.request(t, 1)
	to.Devices[0].LinkHeader = 18
	retarget(t, s, to)
	l.request(t, 1)
	same(t, "both", total(cut(t, s)), in(2, 2*one(request4)+4))
}

// A device that cannot be used is named, and the others are counted on.
func TestUnusableDevice(t *testing.T) {
	l := newLink(t, "pgeb0")
	to := target(t, own, "pgeb0")
	to.Devices = append([]engine.Device{{Index: 987654, Name: "nothere"}}, to.Devices...)
	s := openSource(t, to)
	l.request(t, 2)
	err := s.Retarget(to)
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "nothere") {
		t.Errorf("the error is %v", err)
	}
	l.request(t, 2)
	r := cut(t, s)
	same(t, "the other", total(r), requests(4))
	if len(r.Devices) != 1 {
		t.Errorf("devices: %+v", r.Devices)
	}
}

// There is room for so many devices, and their places are used again.
func TestManyDevices(t *testing.T) {
	l := newLink(t, "pgeb0")
	s := openSource(t, target(t, own, "pgeb0"))
	s.slots.max = 2
	to := target(t, own, "pgeb0", "lo")
	to.Devices = append(to.Devices, engine.Device{Index: device(t, "pgeb0").Index + 1000, Name: "third"})
	if err := s.Retarget(to); err == nil || !strings.Contains(err.Error(), "device third: no more than 2 devices") {
		t.Errorf("the error is %v", err)
	}
	for n := 1; n <= 5; n++ {
		retarget(t, s, target(t, own, "lo"))
		cut(t, s)
		retarget(t, s, target(t, own, "lo", "pgeb0"))
		l.request(t, n)
		same(t, fmt.Sprint("round ", n), total(cut(t, s)), requests(n))
	}
}

// Nothing is queued on the sockets, and the filter cannot be taken off.
func TestSocket(t *testing.T) {
	l := newLink(t, "pgeb0")
	s := openSource(t, target(t, own, "pgeb0"))
	l.request(t, 100)
	socket := s.slots.tapOf(device(t, "pgeb0").Index).socket
	buffer := make([]byte, 100)
	if n, _, err := unix.Recvfrom(socket, buffer, unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Errorf("received %d bytes, %v", n, err)
	}
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DETACH_BPF, 0); err != unix.EPERM {
		t.Errorf("detaching: %v", err)
	}
	same(t, "counted", total(cut(t, s)), requests(100))
}

// After Close there is nothing left, and a reading not yet taken says so.
func TestClose(t *testing.T) {
	l := newLink(t, "pgeb0")
	s := openSource(t, target(t, own, "pgeb0"))
	l.request(t, 1)
	take := s.Cut(now())
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := take(); err == nil {
		t.Error("a reading after Close")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}
