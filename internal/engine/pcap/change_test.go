package pcap

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// Settings that change under load lose and double nothing.
func TestConfigureUnderLoad(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	s := mustOpen(t, defaults, target(t, "auto"))
	load := w.load(t, 4, 40)
	var readings []engine.Reading
	for i := range 24 {
		settings := defaults
		settings.Snaplen += i
		settings.BufferSize += i << 16
		if i%3 == 2 {
			settings.Timeout = 100 * time.Millisecond
		}
		if i%4 == 3 {
			settings.Snaplen, settings.BufferSize = 65535, 8<<20 // then in blocks
			settings.Timeout = 20 * time.Millisecond
		}
		if err := s.Configure(settings); err != nil {
			t.Fatal(err)
		}
		time.Sleep(120 * time.Millisecond)
		readings = append(readings, reading(t, s))
	}
	load.stop()
	settle(t)
	readings = append(readings, reading(t, s), reading(t, s))
	var lost uint64
	for _, r := range readings {
		lost += r.Lost
	}
	if got, want := total(readings...), w.truth(t); got != want || lost != 0 {
		t.Errorf("got %+v, want %+v, lost %d", got, want, lost)
	}
	if n := len(s.readers); n != 1 {
		t.Errorf("%d readers are left", n)
	}
}

// The same target again, also with other devices beside it, changes nothing.
func TestRetargetUnderLoad(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	s := mustOpen(t, defaults, target(t, "auto"))
	load := w.load(t, 4, 40)
	for i := range 20 {
		if err := s.Retarget(target(t, []string{"pcn0,lo", "auto"}[i%2])); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	load.stop()
	settle(t)
	r := reading(t, s)
	if got, want := total(r), w.truth(t); got != want || r.Lost != 0 {
		t.Errorf("got %+v, want %+v, lost %d", got, want, r.Lost)
	}
	if len(r.Devices) != 2 {
		t.Errorf("devices: %+v", r.Devices)
	}
}

func TestOtherPort(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	other := target(t, "auto")
	other.Port = 5999
	s := mustOpen(t, defaults, other)
	c := w.dial(t, "tcp4", serverAddr)
	defer c.Close()
	if err := exchange(c, 10, 40); err != nil {
		t.Fatal(err)
	}
	settle(t)
	if err := s.Retarget(target(t, "auto")); err != nil {
		t.Fatal(err)
	}
	before := w.truth(t)
	if err := exchange(c, 10, 40); err != nil {
		t.Fatal(err)
	}
	settle(t)
	want := w.truth(t)
	subtract(&want, before)
	if r := reading(t, s); total(r) != want {
		t.Errorf("got %+v, want %+v", total(r), want)
	}
}

// A device may go down, come up, be renamed, go away and come back.
func TestDeviceComesAndGoes(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 40)
	s := mustOpen(t, defaults, target(t, "pcn0"))
	talk := func(name string) {
		t.Helper()
		before := w.truth(t)
		c := w.dial(t, "tcp4", serverAddr)
		if err := exchange(c, 20, 40); err != nil {
			t.Fatal(err)
		}
		c.Close()
		settle(t)
		want := w.truth(t)
		subtract(&want, before)
		r := reading(t, s)
		if want.PacketsIn == 0 { // the hook at this end went with the name
			c := total(r)
			want.PacketsIn, want.BytesIn = max(20, c.PacketsIn), max(20*60, c.BytesIn)
		}
		if total(r) != want || len(r.Devices) != 1 || r.Devices[0].Device != name {
			t.Errorf("%s: got %+v, want %+v, devices %+v", name, total(r), want, r.Devices)
		}
	}
	talk("pcn0")
	ip(t, "link set pcn0 down")
	spent := cpu()
	time.Sleep(time.Second)
	if d := cpu() - spent; d > 200*time.Millisecond {
		t.Errorf("%v of CPU in a second with the device down", d)
	}
	// What was captured on goes on when the device does; nothing can be opened.
	if err := s.Retarget(target(t, "pcn0")); err != nil {
		t.Error(err)
	}
	if _, err := open(defaults, target(t, "pcn0").Devices[0], port); err == nil {
		t.Error("captures on a device that is down")
	}
	ip(t, "link set pcn0 up")
	ip(t, "addr replace "+serverSix+"/64 dev pcn0 nodad")
	if err := s.Retarget(target(t, "pcn0")); err != nil {
		t.Error(err)
	}
	reading(t, s)
	talk("pcn0")
	ip(t, "link set pcn0 name pcn7")
	if err := s.Retarget(target(t, "pcn7")); err != nil {
		t.Error(err)
	}
	reading(t, s)
	talk("pcn7")
	ip(t, "link set pcn7 name pcn0")
	if err := s.Retarget(target(t, "pcn0,nosuch")); err != nil {
		t.Error(err)
	}
}

func TestDeviceDeleted(t *testing.T) {
	peer := netnstest.NewPeer(t)
	ip(t, "link add pcd0 type veth peer name pcd1 netns "+peer.Name())
	ip(t, "link set pcd0 up")
	s := mustOpen(t, defaults, target(t, "pcd0"))
	before := target(t, "pcd0")
	ip(t, "link del pcd0")
	spent := cpu()
	time.Sleep(time.Second)
	if d := cpu() - spent; d > 200*time.Millisecond {
		t.Errorf("%v of CPU in a second after the device went", d)
	}
	if err := s.Retarget(before); err == nil {
		t.Error("no error for a device that is gone")
	}
	if err := s.Retarget(engine.Target{Port: port}); err != nil {
		t.Error(err)
	}
	reading(t, s)
	if n := len(s.readers); n != 0 {
		t.Errorf("%d readers are left", n)
	}
}

// cpu is what the process has used.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// onLoopback counts what passes there.
const onLoopback = "table inet lot { chain c { type filter hook input priority 0; tcp dport 5433 counter; tcp sport 5433 counter; }; }"

// On loopback the kernel shows a packet twice.
func TestLoopback(t *testing.T) {
	netnstest.Need(t)
	ip(t, "link set lo up")
	s := mustOpen(t, defaults, target(t, "lo"))
	netnstest.Run(t, "nft", onLoopback)
	defer netnstest.Run(t, "nft", "delete table inet lot")
	serve(t, "tcp4", "127.0.0.1", 4000)
	c := dialHere(t, "127.0.0.1")
	if err := exchange(c, 100, 4000); err != nil {
		t.Fatal(err)
	}
	c.Close()
	settle(t)
	r := reading(t, s)
	m := counter.FindAllStringSubmatch(netnstest.Run(t, "nft", "list table inet lot"), -1)
	if len(m) != 2 {
		t.Fatal("no counters")
	}
	got := total(r)
	in, out := number(t, m[0][1]), number(t, m[1][1])
	if got.PacketsIn != in || got.PacketsOut != out ||
		got.BytesIn != number(t, m[0][2])+14*in || got.BytesOut != number(t, m[1][2])+14*out {
		t.Errorf("got %+v, counters %v", got, m)
	}
	if s.Inexact() != "" {
		t.Error(s.Inexact())
	}
}

// Offload is told, from what the device says and from what it does.
func TestInexact(t *testing.T) {
	w := newWire(t)
	serve(t, "tcp4", serverAddr, 1<<20)
	s := mustOpen(t, defaults, target(t, "auto"))
	netnstest.Run(t, "ethtool", "-K", "pcn0", "tx", "on", "sg", "on", "gso", "on", "tso", "on")
	if s.Inexact() != "" {
		t.Error(s.Inexact())
	}
	c := w.dial(t, "tcp4", serverAddr)
	defer c.Close()
	if err := exchange(c, 20, 1<<20); err != nil {
		t.Fatal(err)
	}
	settle(t)
	if text := s.Inexact(); !strings.Contains(text, "pcn0") {
		t.Errorf("got %q after large packets", text)
	}
	// 1 MiB in segments of 1,448 bytes, 725 a reply. The peer received super-packets,
	// which have headers of 66 bytes for each segment, and some may have come twice.
	got, large := total(reading(t, s)), w.truth(t)
	least := uint64(20 * 725)
	most := (large.BytesOut-66*large.PacketsOut)/1448 + large.PacketsOut
	if got.PacketsOut < least || got.PacketsOut > most {
		t.Errorf("%d packets, %d to %d expected", got.PacketsOut, least, most)
	}
	if want := large.BytesOut + 66*(got.PacketsOut-large.PacketsOut); got.BytesOut != want {
		t.Errorf("%d bytes, %d expected", got.BytesOut, want)
	}
	s = mustOpen(t, defaults, target(t, "auto"))
	if text := s.Inexact(); !strings.Contains(text, "pcn0") {
		t.Errorf("got %q with offload on", text)
	}
}

// Without the capability the error says so and what to do.
func TestMissing(t *testing.T) {
	netnstest.Need(t)
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with this goroutine
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&h, &none[0]); err != nil {
			result <- err
			return
		}
		_, err := Open(discard(), defaults, engine.Target{Port: port})
		result <- err
	}()
	var m *engine.Missing
	if err := <-result; !errors.As(err, &m) || !strings.Contains(m.What, "CAP_NET_RAW") || !strings.Contains(m.Hint, "setcap") {
		t.Errorf("got %v", err)
	}
}

// A server beside this one, and this host as another server's client, count nothing.
func TestOthers(t *testing.T) {
	w := newWire(t)
	ip(t, "addr add 10.66.0.9/24 dev pcn0")
	serve(t, "tcp4", "10.66.0.9", 40)
	only := target(t, "auto")
	only.Local = []netip.Prefix{netip.MustParsePrefix(serverAddr + "/32")}
	s := mustOpen(t, defaults, only)
	c := w.dial(t, "tcp4", "10.66.0.9")
	defer c.Close()
	if err := exchange(c, 10, 40); err != nil {
		t.Fatal(err)
	}
	w.peer.Do(t, func() { serve(t, "tcp4", clientAddr, 40) })
	client := dialHere(t, clientAddr)
	defer client.Close()
	if err := exchange(client, 10, 40); err != nil {
		t.Fatal(err)
	}
	settle(t)
	if r := reading(t, s); !total(r).Zero() {
		t.Errorf("got %+v", r)
	}
}
