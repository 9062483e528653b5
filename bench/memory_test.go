package bench

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// idleSessions is how many real ones there are.
const idleSessions = 2000

// BenchmarkMemory shows what pg_netstat takes of the shared memory, in all and for each
// backend that there may be, and what the agent takes of the memory and of a
// processor, without sessions and with many idle ones.
func BenchmarkMemory(bm *testing.B) {
	s := harness.NewServer(bm, harness.Options{Settings: harness.Settings{
		"max_connections": strconv.Itoa(idleSessions + 100), "shared_buffers": "16MB", "autovacuum": "off",
	}})
	st := s.AwaitStatus(bm, "an agent", func(st harness.Status) bool { return st.AgentPID != nil })
	backends := harness.Value[int64](bm, s, `SELECT sum(setting::int8)::int8 + 1 FROM pg_settings WHERE name IN
		('max_connections', 'autovacuum_max_workers', 'max_worker_processes', 'max_wal_senders')`)
	for _, part := range harness.Rows[struct {
		Name string
		Size int64
	}](bm, s, "SELECT name, allocated_size FROM pg_shmem_allocations WHERE name LIKE 'pg_netstat%' ORDER BY name") {
		fmt.Printf("shared memory %q: %d bytes\n", part.Name, part.Size)
		if part.Name == "pg_netstat slots" {
			fmt.Printf("  for each of %d backends: %d\n", backends, part.Size/backends)
		}
	}
	var clients []*harness.Client
	for _, n := range []int{0, idleSessions} {
		for len(clients) < n {
			c, err := harness.TryClient("", func() (net.Conn, error) {
				return s.Host.Dial(netip.AddrPort{}, s.At(netip.AddrFrom4([4]byte{127, 0, 0, 1})))
			})
			if err != nil {
				bm.Fatal(err)
			}
			clients = append(clients, c)
		}
		s.CaughtUp(bm)
		idle(bm, s, n, int(*st.AgentPID))
	}
	for _, c := range clients {
		c.Close()
	}
}

// idle shows what happens while nothing does.
func idle(t testing.TB, s *harness.Server, sessions, agent int) {
	t.Helper()
	const wait = 20 * time.Second
	worker := named(t, s.Postmaster(), "pg_netstat worker")[0]
	byAgent, byWorker := cpu(t, agent), cpu(t, worker)
	time.Sleep(wait)
	byAgent, byWorker = cpu(t, agent)-byAgent, cpu(t, worker)-byWorker
	now, highest := resident(t, agent)
	fmt.Printf("%d idle sessions: agent %.1f MB resident (%.1f at most), %.1f ms of CPU a second; worker %.1f ms\n",
		sessions, now, highest, byAgent.Seconds()/wait.Seconds()*1000, byWorker.Seconds()/wait.Seconds()*1000)
}
