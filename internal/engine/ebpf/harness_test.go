package ebpf

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/pg-netstat/pg_netstat/internal/capability"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

const (
	server4, client4addr = "192.0.2.1:5432", "198.51.100.7:40000"
	server6, client6addr = "[2001:db8::1]:5432", "[2001:db8:ffff::7]:40000"
)

var ownPrefixes = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.1/32"),
	netip.MustParsePrefix("192.0.2.64/26"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("2001:db8::1/128"),
	netip.MustParsePrefix("2001:db8:1::/64"),
	netip.MustParsePrefix("::1/128"),
}

// runner runs the program over crafted packets, as the kernel's test run does.
type runner struct {
	*Source
	program *ebpf.Program
	context skb
}

// skb is the part of struct __sk_buff that a test run takes: where its fields are.
type skb [192]byte

func newRunner(t testing.TB, c constants) *runner {
	t.Helper()
	netnstest.Need(t)
	var r runner
	err := capability.With(needed, func() (err error) {
		if r.Source, err = open(slog.New(slog.DiscardHandler)); err != nil {
			return err
		}
		r.program, err = r.shared.instance(c)
		return err
	})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		r.program.Close()
		r.Close()
	})
	if err := r.Retarget(engine.Target{Port: 5432, Local: ownPrefixes}); err != nil {
		t.Fatal(err)
	}
	return &r
}

// segmented makes the next packets super-packets.
func (r *runner) segmented(segments, size uint32) {
	r.context = skb{}
	if segments|size != 0 {
		putNative(r.context[164:], segments)
		putNative(r.context[176:], size)
	}
}

func (r *runner) run(t testing.TB, p packet, tags ...uint16) {
	t.Helper()
	r.runFrame(t, p.frame(ownMAC, otherMAC, tags...))
}

func (r *runner) runFrame(t testing.TB, frame []byte) {
	t.Helper()
	options := ebpf.RunOptions{Data: frame}
	if r.context != (skb{}) {
		options.Context = r.context
	}
	kept, err := r.program.Run(&options)
	if err != nil {
		t.Fatalf("running the program: %v", err)
	}
	if kept != 0 {
		t.Fatalf("the program lets %d bytes through to the socket", kept)
	}
}

// reading ends a period and checks that it adds up.
func (r *runner) reading(t testing.TB, devices ...seen) engine.Reading {
	t.Helper()
	if len(devices) == 0 {
		devices = []seen{{slot: 0, device: "test"}}
	}
	reading, err := r.read(r.flip(), devices)
	if err != nil {
		t.Fatal(err)
	}
	addsUp(t, reading)
	return reading
}

// addsUp checks what must be true of every reading.
func addsUp(t testing.TB, r engine.Reading) {
	t.Helper()
	devices, clients := total(r), r.Other
	for _, c := range r.Clients {
		clients.Add(c.Counts)
	}
	if devices != clients {
		t.Errorf("devices have %+v, clients and other %+v", devices, clients)
	}
}

// total is the sum of the devices.
func total(r engine.Reading) (sum engine.Counts) {
	for _, d := range r.Devices {
		sum.Add(d.Counts)
	}
	return sum
}

func in(packets, bytes int) engine.Counts {
	return engine.Counts{PacketsIn: uint64(packets), BytesIn: uint64(bytes)}
}

func out(packets, bytes int) engine.Counts {
	return engine.Counts{PacketsOut: uint64(packets), BytesOut: uint64(bytes)}
}

func one(p packet) int { return len(p.bytes()) + linkHeader }
