package sockdiag

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/netnstest"
	"github.com/pg-netstat/pg_netstat/internal/session"
)

// The addresses of the two ends of a link.
var ends = map[string][2]string{"IPv4": {"10.9.0.1/24", "10.9.0.2/24"}, "IPv6": {"fd09::1/64", "fd09::2/64"}}

// server serves connections as a backend does, and tells of each at its end.
type server struct {
	sync.Mutex
	flows *session.Flows
	live  sync.WaitGroup
}

// serve reads requests of 100 bytes, each beginning with X for the last or the number
// of kilobytes to answer.
func (s *server) serve(c *net.TCPConn) {
	defer s.live.Done()
	defer c.Close()
	request := make([]byte, 100)
	for {
		if _, err := io.ReadFull(c, request); err != nil || request[0] == 'X' {
			break
		}
		if _, err := c.Write(make([]byte, 1000*int(request[0]))); err != nil {
			break
		}
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		in := int64(i.Bytes_received)
		if i.State == 8 { // CLOSE_WAIT
			in--
		}
		s.Lock()
		defer s.Unlock()
		s.flows.Add(address(c.LocalAddr()), address(c.RemoteAddr()), engine.Counted{
			Opened: 1, Closed: 1,
			PayloadIn: in, PayloadOut: int64(i.Bytes_sent - i.Bytes_retrans + uint64(i.Notsent_bytes)),
			SegmentsIn: int64(i.Segs_in), SegmentsOut: int64(i.Segs_out), RetransmittedBytes: int64(i.Bytes_retrans),
		})
	})
}

func address(a net.Addr) netip.Addr { return a.(*net.TCPAddr).AddrPort().Addr().Unmap() }

// ask connects, sends requests and reads their answers.
func ask(t *testing.T, peer *netnstest.Peer, at string, requests, kilobytes int) {
	t.Helper()
	peer.Do(t, func() {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		request, reply := make([]byte, 100), make([]byte, 1000*kilobytes)
		request[0] = byte(kilobytes)
		for range requests {
			c.Write(request)
			if _, err := io.ReadFull(c, reply); err != nil {
				t.Error(err)
				return
			}
		}
		request[0] = 'X'
		c.Write(request)
	})
}

// counter counts by the firewall what one end of the link receives.
func counter(t *testing.T, run func(testing.TB, ...string) string, match string) func() engine.Counts {
	t.Helper()
	run(t, "nft", `table netdev seen {
		counter seen { }
		chain ingress { type filter hook ingress device "eth0" priority 0; `+match+` counter name seen; }
	}`)
	return func() (c engine.Counts) {
		fields := strings.Fields(run(t, "nft", "list", "counter", "netdev", "seen", "seen"))
		for i, f := range fields {
			switch f {
			case "packets":
				c.PacketsIn, _ = strconv.ParseUint(fields[i+1], 10, 64)
			case "bytes":
				c.BytesIn, _ = strconv.ParseUint(fields[i+1], 10, 64)
			}
		}
		c.BytesIn += 14 * c.PacketsIn
		return c
	}
}

// near tells whether a figure is off by no more than some.
func near(got, truth, off uint64) bool { return got <= truth+off && truth <= got+off }

// TestNearTheTruth compares what is derived with what the firewall counts at the
// receiving ends, offload switched off. At its end a connection may have had a packet
// without payload more or less, each way, than is assumed: its FIN may come early or late.
func TestNearTheTruth(t *testing.T) {
	for family, at := range ends {
		for _, load := range []struct {
			name                             string
			connections, requests, kilobytes int
		}{
			{"many short connections", 200, 1, 1},
			{"many requests", 2, 2000, 1},
			{"large answers", 2, 100, 250},
		} {
			t.Run(family+", "+load.name, func(t *testing.T) {
				peer := netnstest.NewPeer(t)
				netnstest.Run(t, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", peer.Name())
				t.Cleanup(func() {
					netnstest.Run(t, "nft", "flush", "ruleset")
					netnstest.Run(t, "ip", "link", "delete", "eth0")
				})
				for i, run := range []func(testing.TB, ...string) string{netnstest.Run, peer.Run} {
					run(t, "ip", "addr", "add", at[i], "dev", "eth0", "nodad")
					run(t, "ip", "link", "set", "eth0", "up")
					run(t, "ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off")
				}
				in := counter(t, netnstest.Run, "tcp dport 5432")
				out := counter(t, peer.Run, "tcp sport 5432")

				s := &server{flows: session.NewFlows(100)}
				s.flows.Begin()
				here := netip.MustParsePrefix(at[0]).Addr()
				l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(here, 5432)))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go func() {
					for {
						c, err := l.AcceptTCP()
						if err != nil {
							return
						}
						go s.serve(c)
					}
				}()
				src, err := Open(s.flows, engine.Target{
					Port: 5432, Devices: []engine.Device{{Index: 2, Name: "eth0", LinkHeader: 14}},
					Bearers: map[netip.Addr]int{here: 2},
				})
				if err != nil {
					t.Fatal(err)
				}
				for range load.connections {
					s.live.Add(1)
					ask(t, peer, l.Addr().String(), load.requests, load.kilobytes)
				}
				s.live.Wait()
				var truth engine.Counts
				for same := 0; same < 5; time.Sleep(50 * time.Millisecond) {
					a, b := in(), out()
					now := engine.Counts{PacketsIn: a.PacketsIn, BytesIn: a.BytesIn, PacketsOut: b.PacketsIn, BytesOut: b.BytesIn}
					if same++; now != truth {
						truth, same = now, 0
					}
				}
				r := read(t, src)
				got := r.Devices[0].Counts
				t.Logf("derived %+v, the truth is %+v", got, truth)
				packets, bytes := uint64(load.connections), uint64(load.connections)*86
				if !near(got.PacketsIn, truth.PacketsIn, packets) || !near(got.PacketsOut, truth.PacketsOut, packets) ||
					!near(got.BytesIn, truth.BytesIn, bytes) || !near(got.BytesOut, truth.BytesOut, bytes) {
					t.Errorf("derived %+v, the truth is %+v", got, truth)
				}
			})
		}
	}
}

// TestTimestamps reads the setting of the host.
func TestTimestamps(t *testing.T) {
	netnstest.Need(t)
	for value, want := range map[string]bool{"0": false, "1": true, "2": true} {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_timestamps", []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
		if timestampsOn() != want {
			t.Errorf("tcp_timestamps = %s gives %t", value, !want)
		}
	}
	os.WriteFile("/proc/sys/net/ipv4/tcp_timestamps", []byte("1"), 0o644)
}
