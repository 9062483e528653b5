package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// lookup is the statement of "pgbench -S".
const lookup = "SELECT abalance FROM pgbench_accounts WHERE aid = $1"

// asker is a session that executes the prepared lookup, as "pgbench -S -M prepared"
// does, but takes next to no time itself: what it sends is made before, and of what
// comes it reads no more than the messages' types. It shares one processor with the
// server's process, so that nothing depends on where the two happen to run.
type asker struct {
	pid  int
	on   unix.CPUSet
	conn *os.File // blocks, so that its thread is the one that waits
	from *bufio.Reader
}

// newAsker connects by the Unix socket, for a processor.
func newAsker(t testing.TB, s *harness.Server, processor int) *asker {
	t.Helper()
	ctx := context.Background()
	c, err := s.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prepare(ctx, "lookup", lookup); err != nil {
		t.Fatal(err)
	}
	h, err := c.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	file, err := h.Conn.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{pid: int(h.PID), conn: file, from: bufio.NewReaderSize(file, 1<<16)}
	a.on.Set(processor)
	err = errors.Join(h.Conn.Close(), unix.SetNonblock(int(file.Fd()), false), unix.SchedSetaffinity(a.pid, &a.on))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// request makes what asks for n lookups at once.
func request(t testing.TB, n int) []byte {
	t.Helper()
	messages := []pgproto3.FrontendMessage{}
	for i := range n {
		aid := fmt.Sprint(1 + i*7919%100000)
		messages = append(messages, &pgproto3.Bind{PreparedStatement: "lookup", Parameters: [][]byte{[]byte(aid)}},
			&pgproto3.Describe{ObjectType: 'P'}, &pgproto3.Execute{})
	}
	var out []byte
	for _, m := range append(messages, &pgproto3.Sync{}) {
		var err error
		if out, err = m.Encode(out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// ask sends a request so many times, each when the one before was answered.
func (a *asker) ask(request []byte, times int) error {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	if err := unix.SchedSetaffinity(0, &a.on); err != nil {
		return err
	}
	for range times {
		if _, err := a.conn.Write(request); err != nil {
			return err
		}
		for kind := byte(0); kind != 'Z'; {
			header, err := a.from.Peek(5)
			if err != nil {
				return err
			}
			kind = header[0]
			if kind == 'E' {
				return fmt.Errorf("an error came instead of a row")
			}
			if _, err := a.from.Discard(1 + int(binary.BigEndian.Uint32(header[1:]))); err != nil {
				return err
			}
		}
	}
	return nil
}

// close returns when the server's process has closed the connection.
func (a *asker) close() {
	if _, err := a.conn.Write([]byte{'X', 0, 0, 0, 4}); err == nil {
		_, _ = io.Copy(io.Discard, a.from)
	}
	a.conn.Close()
}

// askAll lets sessions ask at the same time, and gives the processor time that their
// processes took in all.
func askAll(t testing.TB, askers []*asker, request []byte, times int) time.Duration {
	t.Helper()
	before := time.Duration(0)
	for _, a := range askers {
		before += cpu(t, a.pid)
	}
	errs := make([]error, len(askers))
	var group sync.WaitGroup
	for i, a := range askers {
		group.Go(func() { errs[i] = a.ask(request, times) })
	}
	group.Wait()
	after := time.Duration(0)
	for i, a := range askers {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		after += cpu(t, a.pid)
	}
	return after - before
}
