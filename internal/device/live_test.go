package device

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/netnstest"
)

func TestMain(m *testing.M) { os.Exit(netnstest.Main(m)) }

func ip(t *testing.T, command string) {
	t.Helper()
	netnstest.Run(t, append([]string{"ip"}, strings.Fields(command)...)...)
}

func mustScan(t *testing.T) Snapshot {
	t.Helper()
	s, err := Scan()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// removed deletes a device when the test has ended.
func removed(t *testing.T, name string) {
	t.Cleanup(func() { ip(t, "link del "+name) })
}

func TestScan(t *testing.T) {
	peer := netnstest.NewPeer(t)
	ip(t, "link set lo up")
	ip(t, "link add dvs0 type veth peer name dvs1 netns "+peer.Name())
	removed(t, "dvs0")
	ip(t, "addr add 10.77.0.1/24 dev dvs0")
	ip(t, "addr add 2001:db8:77::1/64 dev dvs0 nodad")
	ip(t, "link set dvs0 mtu 1400 up")
	ip(t, "link add dvb0 type bridge")
	removed(t, "dvb0")
	ip(t, "tuntap add dvt0 mode tap")
	removed(t, "dvt0")
	ip(t, "link set dvt0 master dvb0")
	ip(t, "link add link dvs0 name dvm0 type macvlan")
	ip(t, "route add local 192.0.2.0/24 dev lo")
	t.Cleanup(func() { ip(t, "route del local 192.0.2.0/24 dev lo") })
	ip(t, "route add 198.51.100.0/24 dev dvs0")

	s := mustScan(t)
	veth, bridge, tap, macvlan := s.byName("dvs0"), s.byName("dvb0"), s.byName("dvt0"), s.byName("dvm0")
	if veth == nil || bridge == nil || tap == nil || macvlan == nil || s.byName("lo") == nil {
		t.Fatalf("links: %+v", s.Links)
	}
	if veth.Kind != "veth" || !veth.Up || veth.MTU != 1400 || veth.Type != ether || !veth.Elsewhere || veth.Loopback {
		t.Errorf("veth: %+v", veth)
	}
	for _, a := range []string{"10.77.0.1/24", "2001:db8:77::1/64"} {
		if !slices.Contains(veth.Addrs, netip.MustParsePrefix(a)) {
			t.Errorf("%s is not among %v", a, veth.Addrs)
		}
	}
	if bridge.Kind != "bridge" || tap.Kind != "tun" || tap.Master != bridge.Index || bridge.Up {
		t.Errorf("bridge %+v, tap %+v", bridge, tap)
	}
	if macvlan.Kind != "macvlan" || macvlan.Parent != veth.Index || macvlan.Elsewhere {
		t.Errorf("macvlan: %+v", macvlan)
	}
	if l := s.byName("lo"); !l.Loopback || l.target().LinkHeader != 14 || l.Parent != 0 {
		t.Errorf("lo: %+v", l)
	}
	for _, p := range []string{"192.0.2.0/24", "127.0.0.0/8", "10.77.0.1/32", "2001:db8:77::1/128", "::1/128"} {
		if !slices.Contains(s.Local, netip.MustParsePrefix(p)) {
			t.Errorf("%s is not among %v", p, s.Local)
		}
	}
	if slices.Contains(s.Local, netip.MustParsePrefix("198.51.100.0/24")) {
		t.Error("an ordinary route is local")
	}
}

func TestScanOffload(t *testing.T) {
	peer := netnstest.NewPeer(t)
	ip(t, "link add dvo0 type veth peer name dvo1 netns "+peer.Name())
	removed(t, "dvo0")
	if s := mustScan(t); !s.byName("dvo0").Offload {
		t.Error("a new veth has TSO on")
	}
	netnstest.Run(t, "ethtool", "-K", "dvo0", "tso", "off", "gro", "off")
	if s := mustScan(t); s.byName("dvo0").Offload {
		t.Error("offload is off")
	}
	netnstest.Run(t, "ethtool", "-K", "dvo0", "gro", "on")
	if s := mustScan(t); !s.byName("dvo0").Offload {
		t.Error("GRO is on")
	}
}

func TestScanPointToPoint(t *testing.T) {
	netnstest.Need(t)
	ip(t, "tuntap add dvp0 mode tun")
	removed(t, "dvp0")
	ip(t, "addr add 10.78.0.1 peer 10.78.0.2/32 dev dvp0")
	s := mustScan(t)
	l := s.byName("dvp0")
	if l.target().LinkHeader != 0 || !slices.Equal(l.Addrs, []netip.Prefix{netip.MustParsePrefix("10.78.0.1/32")}) {
		t.Errorf("%+v", l)
	}
}

func TestListeners(t *testing.T) {
	netnstest.Need(t)
	ip(t, "link set lo up")
	first, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	port := uint16(first.Addr().(*net.TCPAddr).Port)
	sixth, err := net.Listen("tcp6", net.JoinHostPort("::", strconv.Itoa(int(port))))
	if err != nil {
		t.Fatal(err)
	}
	defer sixth.Close()
	// Another server with the port on another address, and a connection.
	other := foreignListener(t, "127.0.0.2", port)
	conn, err := net.Dial("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	got, doubt := Listeners(os.Getpid(), port, "")
	if want := addrList("127.0.0.1 ::"); !slices.Equal(got, want) || doubt != "" {
		t.Errorf("own: %v, doubt %q", got, doubt)
	}
	got, doubt = Listeners(other, port, "")
	if want := addrList("127.0.0.2"); !slices.Equal(got, want) || doubt != "" {
		t.Errorf("the other: %v, doubt %q", got, doubt)
	}
	got, doubt = Listeners(1<<30, port, "")
	slices.SortFunc(got, netip.Addr.Compare)
	if want := addrList("127.0.0.1 127.0.0.2 ::"); !slices.Equal(got, want) || doubt == "" {
		t.Errorf("no process: %v, doubt %q", got, doubt)
	}
}

// foreignListener makes another process listen, and gives its id.
func foreignListener(t *testing.T, addr string, port uint16) int {
	t.Helper()
	l, err := net.Listen("tcp4", net.JoinHostPort(addr, strconv.Itoa(int(port))))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/bin/cat", []string{"cat"}, &os.ProcAttr{Files: []*os.File{in, os.Stderr, os.Stderr, f}})
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	t.Cleanup(func() {
		out.Close()
		_, _ = p.Wait()
	})
	return p.Pid
}

func TestWatch(t *testing.T) {
	peer := netnstest.NewPeer(t)
	ip(t, "link set lo up")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	calls := make(chan struct{}, 100)
	if err := Watch(ctx, func() { calls <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	change := func(what, command string) {
		t.Helper()
		ip(t, command)
		select {
		case <-calls:
		case <-time.After(5 * time.Second):
			t.Errorf("no call for %s", what)
		}
		quiet(calls)
	}
	change("a new device", "link add dvw0 type veth peer name dvw1 netns "+peer.Name())
	change("a device going up", "link set dvw0 up")
	change("a new address", "addr add 10.79.0.1/24 dev dvw0")
	change("a local route", "route add local 203.0.113.0/24 dev lo")
	ip(t, "route add 198.51.100.0/24 dev dvw0")
	select {
	case <-calls:
		t.Error("a call for a route that is not local")
	case <-time.After(3 * settle):
	}
	change("a local route that goes", "route del local 203.0.113.0/24 dev lo")
	change("a renamed device", "link set dvw0 name dvw9")
	change("a device that goes", "link del dvw9")
	cancel()
	quiet(calls)
	ip(t, "addr add 127.0.0.9/32 dev lo")
	defer ip(t, "addr del 127.0.0.9/32 dev lo")
	select {
	case <-calls:
		t.Error("a call after the end")
	case <-time.After(3 * settle):
	}
}

// quiet takes calls until none comes any more.
func quiet(calls <-chan struct{}) {
	for {
		select {
		case <-calls:
		case <-time.After(4 * settle):
			return
		}
	}
}

// A hundred devices at once overflow no more than one call.
func TestWatchStorm(t *testing.T) {
	netnstest.Need(t)
	var script strings.Builder
	for i := range 300 {
		n := strconv.Itoa(i)
		script.WriteString("tuntap add dvx" + n + " mode tap\nlink set dvx" + n + " up\nlink del dvx" + n + "\n")
	}
	name := t.TempDir() + "/batch"
	if err := os.WriteFile(name, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	calls := make(chan struct{}, 1000)
	if err := Watch(t.Context(), func() { calls <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	ip(t, "-batch "+name)
	took := time.Since(start)
	<-calls
	quiet(calls)
	if n, limit := len(calls), int(took/settle)+2; n > limit {
		t.Errorf("%d calls in %v", n, took)
	}
}

// Messages of any kind decode without a panic.
func FuzzMessages(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add([]byte("\x20\x00\x00\x00\x18\x00\x00\x00aaaaaaaabbbbbbbbbbbbbbbb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		relevant(b)
		_, _ = parseLink(b)
		_, _, _ = parseRoute(b)
		_, _ = parseListener(b, 5432)
		s := Snapshot{Links: []Link{lo}}
		_ = addAddr(&s, b)
	})
}
