package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// pooler is a pgbouncer on the client's host.
type pooler struct {
	*harness.Running
	port int
	w    *world
}

// pool starts one that is before the server at an address.
func (w *world) pool(t *testing.T, server harness.Address) *pooler {
	t.Helper()
	p := &pooler{port: 6432, w: w}
	dir := harness.AccountDir(t)
	ini := fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
admin_users = %s
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
server_reset_query =
server_check_query =
logfile = %s/log
`, server.Addr, server.Port, p.port, harness.Account, dir)
	// With auth_type any each database needs a user.
	ini = strings.Replace(ini, "* = host", "postgres = user=pooled host", 1)
	path := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(path, []byte(ini), 0o644); err != nil {
		t.Fatal(err)
	}
	p.Running = w.client().StartAsAccount(t, "pgbouncer", path)
	harness.Until(t, patience, "the pooler answering", func() error {
		if p.Done() {
			return errors.New(p.Output())
		}
		return p.admin("SHOW VERSION").Run()
	})
	return p
}

func (p *pooler) admin(command string) *exec.Cmd {
	return p.w.client().Command("psql", "-X", "-q", "-A", "-t", "-F", "|", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-c", command, "pgbouncer")
}

// TestPooler compares with what pgbouncer itself says that its servers sent. It counts
// from when they are ready.
func TestPooler(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ebpf")
	w.prepare(t)
	w.s.Exec(t, "CREATE ROLE pooled LOGIN; GRANT pg_read_all_data TO pooled")
	witness, server := w.witness(t, w.link.Client.V4, proxy.Options{Messages: true})
	p := w.pool(t, server)
	w.client().Run(t, "pgbench", "-n", "-S", "-c", "20", "-j", "2", "-t", "200", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "postgres")
	out, err := p.admin("SHOW STATS").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Database, transactions, queries, bytes from clients, bytes from servers …
	var said int64
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(strings.TrimSpace(line), "|"); f[0] == "postgres" {
			if said, err = strconv.ParseInt(f[4], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.Signal(syscall.SIGTERM)
	harness.Until(t, patience, "the pooler's end", func() error {
		if !p.Done() {
			return errors.New("it runs")
		}
		return nil
	})
	sum := witness.Done(t)
	sessions := int64(len(witness.Sessions()))
	w.s.Over(t)
	got := w.s.Roles(t)["pooled"]
	is(t, "pooled", got, sessions, sum.In, sum.Out)
	if messages := harness.SumOf(w.s.Statements(t, "usename = 'pooled'")); messages.BytesOut != sum.Out {
		t.Errorf("statements have %d bytes, the truth is %d", messages.BytesOut, sum.Out)
	}
	greeting := w.as(t, "pooled").Out.Load()
	if got.BytesOut-sessions*greeting != said || said < 200_000 {
		t.Errorf("the pooler says that it was sent %d bytes, the role has %d, %d of them in each of %d greetings", said, got.BytesOut, greeting, sessions)
	}
	sumsAgree(t, w.s)
}
