package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/link"
	"github.com/pg-netstat/pg_netstat/test/harness"
	"github.com/pg-netstat/pg_netstat/test/proxy"
)

// TestEventsOfWalsender: one outlives the worker at a shutdown. Its last figures
// are in the file all the same.
func TestEventsOfWalsender(t *testing.T) {
	t.Parallel()
	p := newPlayed(t)
	p.s.Exec(t, "CREATE ROLE replica LOGIN REPLICATION; CREATE TABLE much (line text)")
	puppet, l := p.begin(t)
	truth, at := p.witness(t, p.link.Client.V4, proxy.Options{})
	receiver := p.client().Start(t, "pg_receivewal", "-D", t.TempDir(), "-U", "replica", "-n",
		"-h", at.Addr.String(), "-p", fmt.Sprint(at.Port))
	var live []link.Live
	harness.Until(t, patience, "the walsender being live", func() error {
		l.Apply(t, puppet.Take(t))
		if live = liveOf(l, "replica"); len(live) != 1 {
			return fmt.Errorf("%d are", len(live))
		}
		return nil
	})
	if s := live[0]; s.Kind != link.WALSender || s.DatabaseID != 0 || s.Database != "" || s.Application != "pg_receivewal" {
		t.Errorf("the walsender is %+v", s)
	}
	p.s.Exec(t, "INSERT INTO much SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
	p.s.Stop(t, "fast")
	harness.Until(t, patience, "the receiver's end", func() error {
		if !receiver.Done() {
			return errors.New("it runs")
		}
		return nil
	})
	want := truth.Done(t)
	if want.Out < 5_000_000 {
		t.Errorf("the receiver was sent %d bytes", want.Out)
	}
	p.s.Start(t)
	_, l = p.begin(t)
	// The receiver's farewell, of five bytes, comes when the session may be over.
	got := l.Sum(ofRole("replica"))
	if got.BytesIn == uint64(want.In)-5 {
		want.In -= 5
	}
	has(t, "replica", got, 1, 1, 0, want.In, want.Out)
}

// TestEventsOfNewerProtocol: the server answers the offer of a newer protocol before
// the backend has a slot.
func TestEventsOfNewerProtocol(t *testing.T) {
	t.Parallel()
	p := newPlayed(t)
	p.roles(t, "newer")
	puppet, l := p.begin(t)
	conn, err := p.client().Dial(anywhere, p.v4())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const newer = 3<<16 | 9999
	message := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 0}, newer)
	message = append(message, "user\x00newer\x00database\x00postgres\x00\x00"...)
	binary.BigEndian.PutUint32(message, uint32(len(message)))
	_, err = conn.Write(message)
	if err := errors.Join(err, conn.SetDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	var in, out int64 = int64(len(message)), 0
	seen := map[byte]bool{}
	for !seen['Z'] {
		head := make([]byte, 5)
		if _, err := io.ReadFull(conn, head); err != nil {
			t.Fatal(err)
		}
		body, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[1:]))-4)
		if err != nil {
			t.Fatal(err)
		}
		seen[head[0]] = true
		out += 5 + body
	}
	if !seen['v'] {
		t.Error("the server did not answer that it speaks an older one")
	}
	n, err := conn.Write([]byte{'X', 0, 0, 0, 4})
	if err != nil {
		t.Fatal(err)
	}
	in += int64(n)
	drain(t, conn)
	over(t, puppet, l, "newer")
	has(t, "newer", l.Sum(ofRole("newer")), 1, 1, 0, in, out)
	user := harness.Value[uint32](t, p.s, "SELECT 'newer'::regrole::oid")
	if sent := int64(l.SentFor(user)); sent != out {
		t.Errorf("statements sent %d bytes, the client read %d", sent, out)
	}
}
