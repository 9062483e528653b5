package view

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// crowd is a server with n sessions, of a hundred applications and a thousand clients.
func crowd(n int) (*session.Register, []sockdiag.Socket) {
	r := session.NewRegister(0, session.NewFlows(20000))
	sockets := make([]sockdiag.Socket, n)
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i % 1000 >> 8), byte(i % 1000)})
		r.Live(link.Live{
			Serial: uint64(i + 1), PID: uint32(i), Cookie: uint64(1<<40 + i), RemotePort: 40000, ConnectedAt: noon,
			Account: link.Account{
				DatabaseID: uint32(1 + i%10), RoleID: uint32(1 + i%20), Database: fmt.Sprint("database", i%10),
				Role: fmt.Sprint("role", i%20), Application: fmt.Sprint("application", i%100), Remote: link.Address{IP: addr},
				Local: link.Address{IP: netip.MustParseAddr("10.1.0.1")},
			},
		})
		sockets[i] = sockdiag.Known(sockdiag.Socket{
			Cookie: uint64(1<<40 + i), State: sockdiag.Established, RTT: 100, MinRTT: 90, LastDataSent: 5, LastDataRecv: 6,
		})
	}
	r.Apply(link.Taken{}, noon)
	return r, sockets
}

// BenchmarkRefresh is all that a refresh of 10,000 busy sessions costs besides the dump.
func BenchmarkRefresh(b *testing.B) {
	r, sockets := crowd(10000)
	buffers := [2][]sockdiag.Socket{sockets, append([]sockdiag.Socket(nil), sockets...)}
	m := Moment{Reset: noon, Measured: true}
	var made [6][]byte
	now := 0
	b.ReportAllocs()
	for b.Loop() {
		now++
		next := buffers[now%2]
		for i := range next {
			n := uint64(now) * 1000
			next[i].BytesReceived, next[i].BytesSent, next[i].SegsIn, next[i].SegsOut = n, 2*n, uint32(n), uint32(n)
		}
		r.Refresh(next, noon, time.Second)
		var err error
		for i, encode := range []func([]byte) ([]byte, error){
			func(buf []byte) ([]byte, error) { return EncodeDatabases(buf, r.Who, m) },
			func(buf []byte) ([]byte, error) { return EncodeRoles(buf, r.Who, m) },
			func(buf []byte) ([]byte, error) { return EncodeApplications(buf, r.Who, m) },
			func(buf []byte) ([]byte, error) { return EncodeClients(buf, r.Who, m) },
			func(buf []byte) ([]byte, error) { return EncodeNetworks(buf, r.Who, m) },
			func(buf []byte) ([]byte, error) {
				data, _, err := EncodeActivity(buf, r, 1<<30)
				return data, err
			},
		} {
			if made[i], err = encode(made[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(made[5]))/10000, "bytes/session")
}
