package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// world is a server and a client on a link, with the truth about their packets.
type world struct {
	link  *harness.Link
	s     *harness.Server
	truth *harness.Truth
}

// patience is how long a test waits for what should come soon: the machine may be
// busy with other things.
const patience = time.Minute

// engines are those that count packets. What libpcap delivers late is waited
// for, which is for nothing once the link is silent: a second is enough.
var engines = []string{"ebpf", "pcap"}

func settingsFor(engine string) harness.Settings {
	return harness.Settings{
		"pg_netstat.engine": engine, "pg_netstat.interval": "1s", "pg_netstat.history": "3600",
		"pg_netstat.packet_wait_time": "1s", "pg_netstat.pcap_timeout": "100ms",
	}
}

// newWorld makes a server that an engine counts for, and waits until it does.
func newWorld(t *testing.T, engine string, more ...harness.Settings) *world {
	t.Helper()
	w := &world{link: harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))}
	settings := settingsFor(engine)
	for _, m := range more {
		for name, value := range m {
			settings[name] = value
		}
	}
	w.s = harness.NewServer(t, harness.Options{Host: w.link.Server.Host, Settings: settings})
	w.truth = harness.NewTruth(t, w.link, w.s.Port)
	w.s.Await(t, engine)
	return w
}

// client runs on the link's far end.
func (w *world) client() *harness.Host { return w.link.Client.Host }

// v4 is where the server is reached by IPv4, v6 by IPv6.
func (w *world) v4() harness.Address { return w.s.At(w.link.Server.V4) }
func (w *world) v6() harness.Address { return w.s.At(w.link.Server.V6) }

// account resets the server's figures, lets load pass and gives what the truth
// and the server then say of it.
func (w *world) account(t *testing.T, load func()) (truth, got harness.Counts) {
	t.Helper()
	before := w.truth.Quiet(t)
	w.s.Reset(t)
	load()
	truth = w.truth.Quiet(t).Sub(before)
	w.s.CaughtUp(t)
	return truth, w.s.Totals(t)
}

// exact checks that the totals and the sum of intervals are the truth about load.
func (w *world) exact(t *testing.T, load func()) {
	t.Helper()
	truth, totals := w.account(t, load)
	t.Logf("truth %+v", truth)
	if totals != truth {
		t.Errorf("pg_netstat_device has %+v, the truth is %+v: difference %+v", totals, truth, totals.Sub(truth))
	}
	if sum := harness.Sum(w.complete(t)); sum != truth {
		t.Errorf("pg_netstat has %+v, the truth is %+v: difference %+v", sum, truth, sum.Sub(truth))
	}
	if truth.PacketsIn == 0 || truth.PacketsOut == 0 {
		t.Error("there was no traffic")
	}
}

// complete gives the rows of pg_netstat when all that has passed is in them.
func (w *world) complete(t *testing.T) []harness.Interval {
	t.Helper()
	now := time.Now()
	var rows []harness.Interval
	harness.Until(t, time.Minute, "intervals being complete", func() error {
		rows = w.s.History(t)
		for _, r := range rows {
			if !r.Created.Before(now) {
				return nil
			}
		}
		return fmt.Errorf("%d rows", len(rows))
	})
	return rows
}

// A load is something that clients do.
type load struct {
	name string
	run  func(t *testing.T, w *world, at harness.Address)
}

const (
	copyRows = 500_000
	copyLine = 99 // bytes without the line's end: 50 MB in all
)

var (
	queries = load{"queries at full speed", func(t *testing.T, w *world, at harness.Address) {
		w.client().Pgbench(t, at, "-S", "-M", "prepared", "-c", "8", "-j", "2", "-T", "2")
	}}
	connections = load{"short connections", func(t *testing.T, w *world, at harness.Address) {
		w.client().Pgbench(t, at, "-S", "-C", "-c", "4", "-j", "2", "-t", "100")
	}}
	copyOut = load{"COPY of 50 MB out", func(t *testing.T, w *world, at harness.Address) {
		w.client().Psql(t, at, fmt.Sprintf(`\copy (SELECT repeat('x', %d) FROM generate_series(1, %d)) TO '/dev/null'`, copyLine, copyRows))
	}}
	copyIn = load{"COPY of 50 MB in", func(t *testing.T, w *world, at harness.Address) {
		w.client().Psql(t, at, fmt.Sprintf(`\copy sink FROM '%s'`, copyFile(t)))
	}}
)

// copyFile makes a file of 50 MB to copy into the server.
func copyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rows")
	data := strings.Repeat(strings.Repeat("x", copyLine)+"\n", copyRows)
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// prepare makes the tables that the loads use; its traffic is none.
func (w *world) prepare(t *testing.T) {
	t.Helper()
	w.s.Run(t, "pgbench", "-i", "-q", "-h", w.s.Sockets, "-p", fmt.Sprint(w.s.Port), "postgres")
	// What is copied into the table is not kept.
	w.s.Exec(t, `CREATE TABLE sink (line text);
		CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER nothing BEFORE INSERT ON sink FOR EACH ROW EXECUTE FUNCTION nothing()`)
}
