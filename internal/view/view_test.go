package view

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/engine"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) account.Instant {
	d := time.Duration(seconds) * time.Second
	return account.Instant{Wall: noon.Add(d), Mono: d}
}

func saw(n uint64, devices ...string) engine.Reading {
	r := engine.Reading{Lost: 1}
	for _, d := range devices {
		r.Devices = append(r.Devices, engine.DeviceCounts{Device: d, Counts: engine.Counts{
			PacketsIn: n, PacketsOut: 2 * n, BytesIn: 100 * n, BytesOut: 1000 * n,
		}})
	}
	return r
}

func sampleLedger(seconds int) *account.Ledger {
	l := account.New(at(0), 10*time.Second, 60, 100)
	for s := 5; s <= seconds; s += 5 {
		l.Apply(at(s), at(s).Wall, saw(uint64(s), "eth0", "eth1"))
	}
	return l
}

func snapshots(t *testing.T, l *account.Ledger) map[string][]byte {
	t.Helper()
	m := map[string][]byte{}
	put := func(name string, data []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		m[name] = data
	}
	var h HistoryEncoder
	data, _, err := h.Encode(l, 1<<20)
	put("pg_netstat", data, err)
	data, err = EncodeDevices(l, func(string) string { return "counting" })
	put("pg_netstat_device", data, err)
	data, err = EncodeStatus(Status{State: "counting", Engine: "ebpf"}, l)
	put("pg_netstat_status", data, err)
	return m
}

func TestRowsAreWhatWasCounted(t *testing.T) {
	data := snapshots(t, sampleLedger(25))
	rows, err := History.Decode(data["pg_netstat"])
	if err != nil || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	// 15 packets came in from 0 to 10 s: 5 at 5 s, 10 at 10 s.
	want := []any{"eth0", noon, int64(15), int64(30), 1.5, 3.0, int64(1500), int64(15000), 150.0, 1500.0, noon.Add(10 * time.Second), 10.0}
	for i, w := range want {
		got := rows[0][i]
		if g, ok := got.(time.Time); ok {
			got = g.UTC()
		}
		if !reflect.DeepEqual(got, w) {
			t.Errorf("%s = %v, want %v", History.Columns[i].Name, got, w)
		}
	}
	rows, err = Devices.Decode(data["pg_netstat_device"])
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d devices, %v", len(rows), err)
	}
	if d := rows[1]; d[0] != "eth1" || d[2] != int64(75) || d[4] != 5.0 || d[9] != 5000.0 {
		t.Errorf("device: %v", d)
	}
}

func TestRestoreGivesTheSameAccount(t *testing.T) {
	l := sampleLedger(25)
	l.Uncovered(at(25))
	l.Cover(at(27))
	l.Apply(at(28), at(28).Wall, saw(1, "eth0"))
	before := snapshots(t, l)
	saved, err := Restore(before)
	if err != nil {
		t.Fatal(err)
	}
	again := account.New(at(28), 10*time.Second, 60, 100)
	again.Restore(at(28), saved)
	again.Cover(at(28))
	again.Apply(at(29), at(29).Wall, saw(1, "eth0"))
	l.Apply(at(29), at(29).Wall, saw(1, "eth0"))
	for i, d := range l.Devices() {
		a := again.Devices()[i]
		if a.Name != d.Name || a.Total != d.Total || a.Open != d.Open || len(a.History()) != len(d.History()) {
			t.Errorf("restored %+v, was %+v", a, d)
		}
	}
	if g, want := again.Gaps(), l.Gaps(); g.Count != want.Count+1 || g.Total != want.Total {
		t.Errorf("restored gaps %+v, were %+v", g, want)
	}
	if again.Lost() != l.Lost() || !again.ResetAt().Equal(l.ResetAt()) {
		t.Errorf("restored %d lost since %s", again.Lost(), again.ResetAt())
	}
}

func TestDamagedSnapshotIsLeftOut(t *testing.T) {
	data := snapshots(t, sampleLedger(25))
	data["pg_netstat"] = data["pg_netstat"][:50]
	s, err := Restore(data)
	if err == nil || len(s.History) != 0 || len(s.Devices) != 2 {
		t.Errorf("%d rows, %d devices, %v", len(s.History), len(s.Devices), err)
	}
}

func TestOpenGapIsRestoredFromItsStart(t *testing.T) {
	l := sampleLedger(25)
	l.Uncovered(at(25))
	saved, err := Restore(snapshots(t, l))
	if err != nil || !saved.Until.Equal(noon.Add(25*time.Second)) || saved.Gaps.Count != 0 {
		t.Errorf("until %s, %+v, %v", saved.Until, saved.Gaps, err)
	}
}

func TestHistoryIsCutToWhatFits(t *testing.T) {
	l := sampleLedger(600)
	var h HistoryEncoder
	all, left, err := h.Encode(l, 1<<20)
	if err != nil || left != 0 {
		t.Fatal(left, err)
	}
	data, left, err := h.Encode(l, len(all)/2)
	if err != nil || left == 0 || len(data) > len(all)/2 {
		t.Errorf("%d bytes of %d, %d rows left out, %v", len(data), len(all)/2, left, err)
	}
	rows, err := History.Decode(data)
	if err != nil || len(rows)+left != 120 {
		t.Errorf("%d rows and %d left out, %v", len(rows), left, err)
	}
	if last := rows[len(rows)-1][1].(time.Time); !last.Equal(noon.Add(590 * time.Second)) {
		t.Errorf("the newest row is of %s", last)
	}
}

func TestEncodedRowsAreKept(t *testing.T) {
	l := sampleLedger(20)
	var h HistoryEncoder
	if _, _, err := h.Encode(l, 1<<20); err != nil {
		t.Fatal(err)
	}
	first := &h.devices["eth0"][0].data[0]
	l.Apply(at(25), at(25).Wall, saw(1, "eth0"))
	l.Apply(at(30), at(30).Wall, saw(1, "eth0"))
	data, _, err := h.Encode(l, 1<<20)
	rows, derr := History.Decode(data)
	if err != nil || derr != nil || len(rows) != 5 {
		t.Errorf("%d rows, %v %v", len(rows), err, derr)
	}
	if &h.devices["eth0"][0].data[0] != first {
		t.Error("a row was encoded twice")
	}
	l.Reset(at(31))
	if data, _, err = h.Encode(l, 1<<20); err != nil {
		t.Fatal(err)
	}
	if rows, _ = History.Decode(data); len(rows) != 0 {
		t.Errorf("%d rows after a reset", len(rows))
	}
}

func TestStatus(t *testing.T) {
	data, err := EncodeStatus(Status{State: "no engine", EngineReason: "why", Warning: "w", Devices: []string{"a", "b"}, Port: 5432}, sampleLedger(25))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := StatusTable.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, c := range StatusTable.Columns[:9] {
		if v := rows[0][i]; v != nil {
			got = append(got, c.Name)
		}
	}
	if want := "state engine_reason devices port warning packets_lost"; strings.Join(got, " ") != want {
		t.Errorf("columns that are not null: %v", got)
	}
}

func TestDeviceThatIsGoneWithNothingHasNoRow(t *testing.T) {
	l := account.New(at(0), 10*time.Second, 60, 100)
	r := saw(1, "eth0")
	r.Devices = append(r.Devices, saw(0, "idle").Devices...)
	l.Apply(at(5), at(5).Wall, r)
	for _, c := range []struct {
		state string
		want  int
	}{{"counting", 2}, {"down", 2}, {Gone, 1}} {
		data, err := EncodeDevices(l, func(string) string { return c.state })
		if err != nil {
			t.Fatal(err)
		}
		if rows, err := Devices.Decode(data); err != nil || len(rows) != c.want {
			t.Errorf("%s: %d rows, want %d (%v)", c.state, len(rows), c.want, err)
		}
	}
}
