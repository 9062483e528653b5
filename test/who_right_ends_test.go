package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// raw takes the connection from a client, to be read and written by hand. What
// passes is counted as before.
func raw(t *testing.T, c *harness.Client) net.Conn {
	t.Helper()
	h, err := c.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	return h.Conn
}

// ask sends a query and reads nothing.
func ask(t *testing.T, conn net.Conn, sql string) {
	t.Helper()
	message, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err == nil {
		_, err = conn.Write(message)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// drain reads all that comes until the server has closed the connection.
func drain(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal("reading to the end: ", err)
	}
}

// blocked waits until the server waits for a client to read.
func blocked(t *testing.T, s *harness.Server, pid int) {
	t.Helper()
	harness.Until(t, patience, "the server waiting for its client", func() error {
		rows, err := harness.TryRows[struct{ Event string }](s, "SELECT coalesce(wait_event, '') FROM pg_stat_activity WHERE pid = $1", pid)
		if err != nil || len(rows) == 0 || rows[0].Event != "ClientWrite" {
			return fmt.Errorf("%v %w", rows, err)
		}
		return nil
	})
}

// much is more than socket buffers hold.
const much = "SELECT repeat('x', 10000) FROM generate_series(1, 10000)"

// TestSlowReaderTerminated: megabytes wait in the kernel when the session ends, and
// its client gets them all later.
func TestSlowReaderTerminated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "slow")
	c := w.as(t, "slow")
	pid := c.Pid()
	conn := raw(t, c)
	ask(t, conn, much)
	blocked(t, w.s, pid)
	w.s.Exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d, 30000)", pid))
	w.s.Over(t)
	early := w.s.Roles(t)["slow"]
	read := c.Out.Load()
	drain(t, conn)
	t.Logf("%d bytes when it ended, of which the client had read %d", early.BytesOut, read)
	owns(t, "what was known at once", early, c)
	if c.Out.Load() < read+100_000 {
		t.Errorf("only %d bytes came after the end", c.Out.Load()-read)
	}
	w.s.CaughtUp(t)
	owns(t, "slow", w.s.Roles(t)["slow"], c)
	sumsAgree(t, w.s)
}

// TestClientKilled: a client is gone without a word, idle or in the middle of an
// answer. What left the server is the truth.
func TestClientKilled(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "ebpf")
		w.roles(t, "victim")
		c := w.as(t, "victim")
		c.Exec(t, "SELECT repeat('x', 100000)")
		raw(t, c).Close()
		w.s.Over(t)
		owns(t, "victim", w.s.Roles(t)["victim"], c)
	})
	t.Run("reset", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "ebpf")
		w.roles(t, "victim")
		before := w.truth.Quiet(t)
		c := w.as(t, "victim")
		pid := c.Pid()
		conn := raw(t, c)
		ask(t, conn, much)
		blocked(t, w.s, pid)
		// There is much that it has not read: the kernel answers with a reset.
		conn.Close()
		w.s.Over(t)
		wire := w.truth.Quiet(t).Sub(before)
		const header, syn = 14 + 20 + 20 + 12, 8
		left := wire.BytesOut - header*wire.PacketsOut - syn
		got := w.s.Roles(t)["victim"]
		if got.Sessions != 1 || got.Live != 0 || got.BytesIn != c.In.Load() || got.BytesOut+got.RetransmittedBytes != left {
			t.Errorf("%+v; the client sent %d, the server's packets bore %d", got, c.In.Load(), left)
		}
		sumsAgree(t, w.s)
	})
}

// TestShutdownWithSessions: what sessions brought until a shutdown ended them is
// there after the restart, what they were told of it included.
func TestShutdownWithSessions(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"fast", "smart"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "ebpf")
			w.roles(t, "alice")
			var clients []*harness.Client
			for i := range 5 {
				c := w.as(t, "alice")
				c.Exec(t, fmt.Sprintf("SELECT repeat('x', %d)", 1000*i))
				clients = append(clients, c)
			}
			w.s.Disconnect()
			w.s.Run(t, "pg_ctl", "stop", "-W", "-D", w.s.Data, "-m", mode)
			for _, c := range clients {
				if mode == "smart" {
					c.Exec(t, "SELECT repeat('y', 100000)")
					c.Close()
					continue
				}
				drain(t, raw(t, c))
			}
			harness.Until(t, patience, "the server's end", func() error {
				if w.s.Postmaster() != 0 {
					return errors.New("it runs")
				}
				return nil
			})
			w.s.Start(t)
			w.s.Await(t, "ebpf")
			w.s.CaughtUp(t)
			var in, out int64
			for _, c := range clients {
				in, out = in+c.In.Load(), out+c.Out.Load()
			}
			is(t, "alice", w.s.Roles(t)["alice"], 5, in, out)
			is(t, "the client", w.s.Clients(t)[w.link.Client.V4.String()], 5, in, out)
			sumsAgree(t, w.s)
		})
	}
}

// lost checks that after the server lost its memory the figures are those of before,
// which were saved, and that new ones are added to them as always.
func (w *world) lost(t *testing.T, role string, saved harness.Usage) {
	t.Helper()
	st := w.s.Await(t, "ebpf")
	if st.Restored != "file" {
		t.Errorf("restored is %q", st.Restored)
	}
	w.s.CaughtUp(t)
	if got := w.s.Roles(t)[role]; got != saved {
		t.Errorf("%s has %+v, saved were %+v", role, got, saved)
	}
	c := w.as(t, role)
	c.Exec(t, "SELECT repeat('x', 5000)")
	c.Close()
	w.s.Over(t)
	owns(t, "what came later", w.s.Roles(t)[role].Sub(saved), c)
	sumsAgree(t, w.s)
}

// TestImmediateShutdown: what came after the last save is lost, nothing else, and
// nothing is there twice.
func TestImmediateShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	c := w.as(t, "alice")
	c.Exec(t, "SELECT repeat('x', 5000)")
	c.Close()
	w.s.Over(t)
	w.s.Restart(t)
	st := w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	saved := w.s.Roles(t)["alice"]
	owns(t, "alice", saved, c)
	// One that is over and one that lives.
	w.as(t, "alice").Close()
	live := w.as(t, "alice")
	live.Exec(t, "SELECT repeat('x', 100000)")
	w.s.CaughtUp(t)
	if now := w.s.Status(t); !now.SavedAt.Equal(*st.SavedAt) {
		t.Fatalf("the machine is so slow that the figures were saved again, at %s", now.SavedAt)
	}
	w.s.Stop(t, "immediate")
	w.s.Start(t)
	w.lost(t, "alice", saved)
}

// TestCrashWithLiveSession: when the server crashes a session lives that was there
// when the figures were saved. What it had brought until then is kept.
func TestCrashWithLiveSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.roles(t, "alice")
	c := w.as(t, "alice")
	c.Exec(t, "SELECT repeat('x', 300000)")
	in, out := c.In.Load(), c.Out.Load()
	w.s.CaughtUp(t)
	now := time.Now()
	harness.Until(t, 2*time.Minute, "figures being saved", func() error {
		st, err := w.s.TryStatus()
		if err == nil && (st.SavedAt == nil || st.SavedAt.Before(now)) {
			err = errors.New("not yet")
		}
		return err
	})
	c.Exec(t, "SELECT repeat('y', 100)")
	pid := harness.Value[int32](t, w.s, "SELECT pg_backend_pid()")
	harness.Signal(t, int(pid), syscall.SIGKILL)
	w.s.LogSays(t, 0, "all server processes terminated; reinitializing")
	w.s.Disconnect()
	w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	got := w.s.Roles(t)["alice"]
	is(t, "alice", got, 1, in, out)
	w.lost(t, "alice", got)
}
