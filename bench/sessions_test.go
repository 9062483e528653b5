package bench

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/internal/session"
	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// manySessions is how many are live where many are.
const manySessions = 10000

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// made makes n sockets as the kernel dumps them, of clients at as many addresses.
func made(n int) []sockdiag.Socket {
	local := netip.MustParseAddrPort("10.0.0.1:5432")
	sockets := make([]sockdiag.Socket, n)
	for i := range sockets {
		sockets[i] = sockdiag.Known(sockdiag.Socket{
			Cookie: uint64(i) + 1, State: sockdiag.Established, Local: local,
			Remote:        netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 40000),
			BytesReceived: 1000, BytesSent: 20000, SegsIn: 20, SegsOut: 20, DataSegsIn: 10, DataSegsOut: 15,
			RTT: 300, MinRTT: 200, SendWindow: 64512, LastDataSent: 100, LastDataRecv: 101, BusyTime: 4000,
		})
	}
	return sockets
}

// work makes each connection carry some more.
func work(sockets []sockdiag.Socket) {
	for i := range sockets {
		s := &sockets[i]
		s.BytesReceived += 100
		s.BytesSent += 2000
		s.SegsIn += 2
		s.SegsOut += 2
		s.DataSegsIn++
		s.DataSegsOut += 2
		s.BusyTime += 4000
	}
}

// registered makes a register that has a live session for each socket: in 20
// databases, of 50 roles with 5 applications each.
func registered(sockets []sockdiag.Socket) *session.Register {
	flows := session.NewFlows(len(sockets))
	r := session.NewRegister(0, flows)
	for i, s := range sockets {
		r.Live(link.Live{
			Serial: uint64(i) + 1, PID: uint32(1000 + i), Cookie: s.Cookie, RemotePort: uint32(s.Remote.Port()),
			ConnectedAt: began,
			Account: link.Account{
				DatabaseID: uint32(16384 + i%20), Database: fmt.Sprintf("database_%d", i%20),
				RoleID: uint32(17000 + i%50), Role: fmt.Sprintf("role_%d", i%50),
				Application: fmt.Sprintf("application %d", i%250),
				Local:       link.Address{IP: s.Local.Addr()}, Remote: link.Address{IP: s.Remote.Addr()},
			},
		})
	}
	r.Apply(link.Taken{}, began)
	r.Refresh(sockets, began, 0)
	return r
}

// tables makes the snapshots of the sessions, each in its buffer of the last time.
func tables(t testing.TB, r *session.Register, buffers map[string][]byte) (size int) {
	t.Helper()
	m := view.Moment{Reset: began, Measured: true}
	for name, encode := range map[string]func([]byte) ([]byte, error){
		view.Databases.Name:    func(b []byte) ([]byte, error) { return view.EncodeDatabases(b, r.Who, m) },
		view.Roles.Name:        func(b []byte) ([]byte, error) { return view.EncodeRoles(b, r.Who, m) },
		view.Applications.Name: func(b []byte) ([]byte, error) { return view.EncodeApplications(b, r.Who, m) },
		view.Clients.Name:      func(b []byte) ([]byte, error) { return view.EncodeClients(b, r.Who, m) },
		view.Networks.Name:     func(b []byte) ([]byte, error) { return view.EncodeNetworks(b, r.Who, m) },
		view.Activity.Name: func(b []byte) ([]byte, error) {
			data, left, err := view.EncodeActivity(b, r, 1<<30)
			if left > 0 {
				t.Errorf("%d sessions are left out", left)
			}
			return data, err
		},
	} {
		data, err := encode(buffers[name])
		if err != nil {
			t.Fatal(err)
		}
		buffers[name] = data
		size += len(data)
	}
	return size
}

// ownCPU gives the time that this process has run until now.
func ownCPU(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
