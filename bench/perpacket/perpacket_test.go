package perpacket

//go:generate sh -c "go tool bpf2go -cc $DOLLAR{BPF_CLANG:-clang-19} -strip $DOLLAR{BPF_STRIP:-llvm-strip-19} -target amd64,arm64 -no-global-types -go-package perpacket alternatives bpf/alternatives.bpf.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu"

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

const (
	port   = 5432
	rounds = 21
	packet = 40000 // packets of one round
)

// line is a kind of traffic to measure.
type line struct {
	name    string
	clients int
	sent    bool // by this host, instead of received
	ipv6    bool
	port    uint16
	udp     bool
	budget  int // ns, 0 for none
}

var lines = []line{
	{name: "1 client, in", clients: 1, port: port, budget: 60},
	{name: "1,000 clients, in", clients: 1000, port: port, budget: 60},
	{name: "1,000 clients, out", clients: 1000, sent: true, port: port, budget: 60},
	{name: "5,000 clients, in", clients: 5000, port: port, budget: 120},
	{name: "20,000 clients, in", clients: 20000, port: port, budget: 220},
	{name: "1,000 clients by IPv6, in", clients: 1000, ipv6: true, port: port},
	{name: "another port, in", clients: 1000, port: 443, budget: 15},
	{name: "UDP, in", clients: 1000, port: port, udp: true, budget: 15},
}

// BenchmarkPerPacket prints a table of ns for a packet.
func BenchmarkPerPacket(b *testing.B) {
	netnstest.Need(b)
	p := load(b)
	way := newWay(b)
	stop, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stop.Close()
	for b.Loop() {
		fmt.Printf("\nns for a packet, less the empty program: the lowest quarter of %d rounds of %d packets\n", rounds, packet)
		fmt.Printf("%-26s %8s %11s %8s %8s\n", "", "empty", "pg_netstat", "plain", "budget")
		for _, l := range lines {
			way.measure(b, p, l)
		}
	}
}

func (w *way) measure(b *testing.B, p *programs, l line) {
	frames := l.frames()
	device, socket := w.here, w.receive
	if l.sent {
		socket = w.send
	}
	p.expect(b, l.clients)
	took := map[*ebpf.Program][]float64{}
	all := []*ebpf.Program{p.empty, p.netstat, p.plain}
	for range rounds {
		for _, program := range all {
			took[program] = append(took[program], w.round(b, program, device, socket, frames))
		}
	}
	p.clear(b)
	empty := low(took[p.empty])
	plain := "-"
	if !l.ipv6 {
		plain = fmt.Sprintf("%.0f", low(took[p.plain])-empty)
	}
	budget := ""
	if l.budget > 0 {
		budget = fmt.Sprint(l.budget)
	}
	net := low(took[p.netstat]) - empty
	fmt.Printf("%-26s %8.0f %11.0f %8s %8s\n", l.name, empty, net, plain, budget)
	b.ReportMetric(net, "ns/"+l.unit())
}

// round sends packets past a program that is alone on the device.
func (w *way) round(b *testing.B, program *ebpf.Program, device int, out *sender, frames [][]byte) float64 {
	tap, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(tap)
	if err := unix.SetsockoptInt(tap, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, program.FD()); err != nil {
		b.Fatal(err)
	}
	if err := unix.Bind(tap, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: device}); err != nil {
		b.Fatal(err)
	}
	out.run(b, frames, max(len(frames), packet/4)) // the caches have forgotten it
	before, err := program.Stats()
	if err != nil {
		b.Fatal(err)
	}
	out.run(b, frames, packet)
	after, err := program.Stats()
	if err != nil {
		b.Fatal(err)
	}
	runs := after.RunCount - before.RunCount
	if runs < packet {
		b.Fatalf("the program ran %d times for %d packets", runs, packet)
	}
	return float64(after.Runtime-before.Runtime) / float64(runs)
}

// low is the first quartile: what others do on the machine only adds.
func low(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/4]
}
