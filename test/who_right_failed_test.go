package test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// hba puts lines before those that let everyone in.
func hba(t *testing.T, s *harness.Server, lines string) {
	t.Helper()
	path := filepath.Join(s.Data, "pg_hba.conf")
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append([]byte(lines), old...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := harness.Value[time.Time](t, s, "SELECT clock_timestamp() FROM pg_reload_conf()")
	harness.Until(t, patience, "pg_hba.conf being read", func() error {
		if at := harness.Value[time.Time](t, s, "SELECT pg_conf_load_time()"); !at.After(before) {
			return errors.New("not yet")
		}
		return nil
	})
}

// TestFailedConnections: each kind counts once, for its address, and its bytes
// belong to nobody.
func TestFailedConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "locked", "rejected", "fine")
	w.s.Exec(t, "ALTER ROLE locked PASSWORD 'secret'")
	hba(t, w.s, "host all locked all scram-sha-256\nhost all rejected all reject\n")
	var in, out, failed int64
	for _, settings := range []string{
		"user=locked password=wrong", "user=nobody", "user=fine dbname=nowhere", "user=rejected", "user=\xff\xfe",
	} {
		for range 4 {
			c, err := harness.TryClient(settings, func() (net.Conn, error) { return w.client().Dial(anywhere, w.v4()) })
			if err == nil {
				t.Fatalf("%s could connect", settings)
			}
			in, out, failed = in+c.In.Load(), out+c.Out.Load(), failed+1
		}
	}
	good := w.as(t, "locked", "password=secret")
	good.Close()
	w.s.Over(t)
	want := harness.Usage{Failed: failed, BytesIn: in, BytesOut: out}
	for view, rows := range map[string]harness.Usages{"role": w.s.Roles(t), "database": w.s.Databases(t), "application": w.s.Applications(t)} {
		got := rows[harness.None]
		if got.Failed != want.Failed || got.BytesIn != in || got.BytesOut != out || got.Sessions != 0 || got.Live != 0 {
			t.Errorf("%s: %+v, the truth is %+v", view, got, want)
		}
		if sum := rows.Sum(); sum.Failed != failed {
			t.Errorf("%s: %d failed, the truth is %d", view, sum.Failed, failed)
		}
	}
	got := w.s.Clients(t)[w.link.Client.V4.String()]
	if got.Failed != failed || got.Sessions != 1 || got.BytesIn != in+good.In.Load() || got.BytesOut != out+good.Out.Load() {
		t.Errorf("the client: %+v, the truth is %+v and one session", got, want)
	}
	owns(t, "locked", w.s.Roles(t)["locked"], good)
	sumsAgree(t, w.s)
}

// TestAsksForPassword: one that goes away when it is asked for a password, as psql
// does before it asks its user, has not failed.
func TestAsksForPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "locked")
	w.s.Exec(t, "ALTER ROLE locked PASSWORD 'secret'")
	hba(t, w.s, "host all locked all scram-sha-256\n")
	conn, err := w.client().Dial(anywhere, w.v4())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "locked", "database": "postgres"}}).Encode(nil)
	if err == nil {
		_, err = conn.Write(hello)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1000)
	n, err := conn.Read(answer)
	if err != nil || answer[0] != 'R' {
		t.Fatalf("the answer is %q: %v", answer[:n], err)
	}
	conn.Close()
	w.s.Over(t)
	harness.Until(t, patience, "the end of it", func() error {
		w.s.CaughtUp(t)
		got := w.s.Roles(t)[harness.None]
		if got.Failed != 0 || got.Sessions != 0 || got.BytesIn != int64(len(hello)) || got.BytesOut != int64(n) {
			return fmt.Errorf("%+v, the truth is %d in, %d out", got, len(hello), n)
		}
		return nil
	})
	sumsAgree(t, w.s)
}

// TestTooManyClients: those that find no place have failed, even before they are
// anybody for the server.
func TestTooManyClients(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf", harness.Settings{"max_connections": "8", "superuser_reserved_connections": "3", "max_wal_senders": "0"})
	w.roles(t, "alice")
	var clients []*harness.Client
	var failed int64
	for range 12 {
		c, err := harness.TryClient("user=alice", func() (net.Conn, error) { return w.client().Dial(anywhere, w.v4()) })
		if err != nil {
			failed++
			continue
		}
		clients = append(clients, c)
	}
	// These fill what is reserved, and the last ones have no place at all.
	for range 6 {
		c, err := harness.TryClient("user="+harness.Account, func() (net.Conn, error) { return w.client().Dial(anywhere, w.v4()) })
		if err != nil {
			failed++
			continue
		}
		clients = append(clients, c)
	}
	opened := int64(len(clients))
	for _, c := range clients {
		c.Close()
	}
	if failed < 10 || opened < 4 {
		t.Fatalf("%d failed, %d opened", failed, opened)
	}
	w.s.Over(t)
	for view := range harness.UsageKeys {
		rows := w.s.Usages(t, view)
		if got := rows.Sum(); got.Failed != failed {
			t.Errorf("%s: %d failed, the truth is %d", view, got.Failed, failed)
		}
	}
	if got := w.s.Clients(t).Sum(harness.Local); got.Sessions != opened || got.Live != 0 {
		t.Errorf("%+v; there were %d sessions", got, opened)
	}
	sumsAgree(t, w.s)
}

// TestCancelRequest: it is no session and no failure, and the query that it ends
// is the session's whose it is.
func TestCancelRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	c := w.as(t, "alice")
	ended := make(chan error, 1)
	go func() {
		_, err := c.PgConn().Exec(context.Background(), "SELECT pg_sleep(600)").ReadAll()
		ended <- err
	}()
	harness.Until(t, patience, "the query running", func() error {
		if n := harness.Value[int64](t, w.s, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"); n != 1 {
			return errors.New("it does not")
		}
		return nil
	})
	request := binary.BigEndian.AppendUint32(nil, uint32(12+len(c.PgConn().SecretKey())))
	request = binary.BigEndian.AppendUint32(request, 80877102)
	request = binary.BigEndian.AppendUint32(request, c.PgConn().PID())
	request = append(request, c.PgConn().SecretKey()...)
	for range 3 {
		conn, err := w.client().Dial(anywhere, w.v4())
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.Write(request)
		if _, e := io.Copy(io.Discard, conn); err != nil || e != nil {
			t.Fatal(err, e)
		}
		conn.Close()
	}
	if err := <-ended; err == nil {
		t.Error("the query was not cancelled")
	}
	c.Close()
	w.s.Over(t)
	owns(t, "alice", w.s.Roles(t)["alice"], c)
	for view := range harness.UsageKeys {
		if got := w.s.Usages(t, view).Sum(); got.Failed != 0 {
			t.Errorf("%s: %d failed", view, got.Failed)
		}
	}
	if got := w.s.Clients(t)[w.link.Client.V4.String()]; got.Sessions != 1 {
		t.Errorf("the client: %+v", got)
	}
	sumsAgree(t, w.s)
}
