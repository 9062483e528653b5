package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// receiver is a client that takes the server's log as it is written, with a witness.
type receiver struct {
	*harness.Running
	witness *proxy.Proxy
	pid     int
	dir     string
}

// receive starts one, and waits until it has its session.
func (w *world) receive(t *testing.T, options string) *receiver {
	t.Helper()
	w.s.Exec(t, "CREATE ROLE replicator LOGIN REPLICATION")
	r := &receiver{dir: t.TempDir()}
	var at harness.Address
	r.witness, at = w.witness(t, w.link.Client.V4, proxy.Options{})
	r.Running = w.client().Start(t, "pg_receivewal", "-n", "-D", r.dir, "-d",
		fmt.Sprintf("host=%s port=%d user=replicator application_name=receiver %s", at.Addr, at.Port, options))
	harness.Until(t, patience, "the receiver's session", func() error {
		rows, err := harness.TryRows[struct{ PID int32 }](w.s, "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'")
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("%d sessions", len(rows))
		}
		if err == nil {
			r.pid = int(rows[0].PID)
		}
		return err
	})
	return r
}

// write makes the server write some log, and waits until the receiver has it.
func (w *world) write(t *testing.T, megabytes int) {
	t.Helper()
	w.s.Exec(t, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS much (line text);
		INSERT INTO much SELECT repeat('x', 1000) FROM generate_series(1, %d)`, megabytes*1000))
	w.replicated(t, harness.Value[string](t, w.s, "SELECT pg_current_wal_lsn()::text"))
}

// replicated waits until the one receiver that there is was sent the log up to a place.
func (w *world) replicated(t *testing.T, at string) {
	t.Helper()
	harness.Until(t, patience, "replication", func() error {
		rows, err := harness.TryRows[struct{ Done bool }](w.s, "SELECT sent_lsn >= $1::text::pg_lsn FROM pg_stat_replication", at)
		if err == nil && (len(rows) != 1 || !rows[0].Done) {
			err = errors.New("it is behind")
		}
		return err
	})
}

// TestWalsender: a receiver of the log is a session like others, while it lives and
// when it has ended.
func TestWalsender(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf", harness.Settings{"wal_level": "replica"})
	r := w.receive(t, "")
	w.write(t, 30)
	w.s.CaughtUp(t)
	sum, _ := r.witness.Total()
	l := w.s.Live(t)[r.pid]
	if l.BackendType != "walsender" || l.Usename != "replicator" || l.Application != "receiver" || l.BytesOut < 30_000_000 || l.BytesOut > sum.Out+1_000_000 {
		t.Errorf("the session is %+v; the receiver counted %+v", l, sum)
	}
	r.Signal(syscall.SIGINT)
	r.Wait(t)
	sum = r.witness.Done(t)
	w.s.Over(t)
	is(t, "replicator", w.s.Roles(t)["replicator"], int64(len(r.witness.Sessions())), sum.In, sum.Out)
	is(t, "receiver", w.s.Applications(t)["receiver"], int64(len(r.witness.Sessions())), sum.In, sum.Out)
	sumsAgree(t, w.s)
}

// TestWalsenderAtShutdown: it is the last to leave, when no worker runs any more, and
// it is sent what the shutdown itself writes.
func TestWalsenderAtShutdown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf", harness.Settings{"wal_level": "replica"})
	r := w.receive(t, "")
	w.write(t, 5)
	w.s.Stop(t, "fast")
	sum := r.witness.Done(t)
	w.s.Start(t)
	w.s.Await(t, "ebpf")
	w.s.CaughtUp(t)
	got := w.s.Roles(t)["replicator"]
	// Its client answers the end with its own, for which nobody waits.
	const end, goodbye = 5, 5
	if late := sum.In - got.BytesIn; got.Sessions != int64(len(r.witness.Sessions())) || got.BytesOut != sum.Out || late < 0 || late > end+goodbye {
		t.Errorf("replicator: %+v, the truth is %+v", got, sum)
	}
	sumsAgree(t, w.s)
}

// TestBaseBackup takes one by TLS, whose two sessions are hidden to all but the server.
func TestBaseBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf", harness.Settings{"wal_level": "replica"})
	w.s.EnableTLS(t)
	w.s.Exec(t, "CREATE ROLE replicator LOGIN REPLICATION")
	p, at := w.witness(t, w.link.Client.V4, proxy.Options{})
	w.client().Run(t, "pg_basebackup", "-D", filepath.Join(t.TempDir(), "backup"), "-c", "fast", "-X", "stream", "-d",
		fmt.Sprintf("host=%s port=%d user=replicator sslmode=require", at.Addr, at.Port))
	sum := p.Done(t)
	sessions := int64(len(p.Sessions()))
	w.s.Over(t)
	got := w.s.Roles(t)["replicator"]
	// pg_basebackup's second process, at its end, says goodbye on the first one's
	// connection, too: one of the two comes when the session is over.
	const goodbye = 27
	if late := sum.In - got.BytesIn; got.Sessions != sessions || sessions != 2 || got.BytesOut != sum.Out-closingAlert*sessions ||
		late < 0 || late > closingAlert*(sessions+1)+goodbye {
		t.Errorf("%+v; the witness counted %d sessions, %+v", got, sessions, sum)
	}
	if sum.Out < 20_000_000 {
		t.Errorf("the backup was %d bytes", sum.Out)
	}
}

// TestLogicalReplication: a session that belongs to a database.
func TestLogicalReplication(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf", harness.Settings{"wal_level": "logical"})
	w.s.Exec(t, "CREATE ROLE replicator LOGIN REPLICATION")
	w.s.Exec(t, "CREATE TABLE little (i int, line text)")
	w.s.Exec(t, "SELECT pg_create_logical_replication_slot('changes', 'test_decoding')")
	p, at := w.witness(t, w.link.Client.V4, proxy.Options{})
	r := w.client().Start(t, "pg_recvlogical", "--start", "-S", "changes", "-f", "/dev/null", "-F", "0", "-s", "1", "-d",
		fmt.Sprintf("host=%s port=%d user=replicator dbname=postgres application_name=receiver", at.Addr, at.Port))
	w.s.Exec(t, "INSERT INTO little SELECT i, repeat('x', 100) FROM generate_series(1, 20000) AS i")
	w.replicated(t, harness.Value[string](t, w.s, "SELECT pg_current_wal_lsn()::text"))
	w.s.CaughtUp(t)
	for _, l := range w.s.Live(t) {
		if l.Usename == "replicator" && (l.BackendType != "walsender" || l.Datname != "postgres" || l.BytesOut < 2_000_000) {
			t.Errorf("the session is %+v", l)
		}
	}
	r.Signal(syscall.SIGINT)
	r.Wait(t)
	sum := p.Done(t)
	w.s.Over(t)
	is(t, "replicator", w.s.Roles(t)["replicator"], int64(len(p.Sessions())), sum.In, sum.Out)
	is(t, "receiver", w.s.Applications(t)["receiver"], int64(len(p.Sessions())), sum.In, sum.Out)
	sumsAgree(t, w.s)
}

// TestStandbysWalsender: what a real standby is sent while its primary is under load.
func TestStandbysWalsender(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.prepare(t)
	w.s.Exec(t, "CREATE ROLE replicator LOGIN REPLICATION")
	p, at := w.witness(t, w.link.Client.V4, proxy.Options{})
	data := baseBackup(t, w.s, at.Addr.String())
	primary := fmt.Sprintf("primary_conninfo = 'host=%s port=%d user=replicator sslmode=disable'\n", at.Addr, at.Port)
	if err := os.WriteFile(filepath.Join(data, "postgresql.auto.conf"), []byte(primary), 0o644); err != nil {
		t.Fatal(err)
	}
	standby := harness.NewServer(t, harness.Options{Host: w.client(), Data: data, Port: 5433, Settings: harness.Settings{"hot_standby": "on"}})
	harness.Until(t, patience, "the standby's session", func() error {
		rows, err := harness.TryRows[struct{ PID int32 }](w.s, "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'")
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("%d sessions", len(rows))
		}
		return err
	})
	w.s.Run(t, "pgbench", "-n", "-h", w.s.Sockets, "-p", fmt.Sprint(w.s.Port), "-c", "4", "-T", "4", "postgres")
	w.write(t, 5)
	standby.Stop(t, "fast")
	sum := p.Done(t)
	w.s.Over(t)
	got := w.s.Roles(t)["replicator"]
	is(t, "replicator", got, int64(len(p.Sessions())), sum.In, sum.Out)
	if got.BytesOut < 5_000_000 {
		t.Errorf("the standby was sent %d bytes", got.BytesOut)
	}
	sumsAgree(t, w.s)
}
