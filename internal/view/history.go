package view

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
)

// HistoryEncoder makes the snapshots of the intervals. A row never changes
// once it is complete, so each is encoded once: with the longest history
// allowed that is what makes a row a second cheap.
type HistoryEncoder struct {
	devices map[string][]encodedRow
}

type encodedRow struct {
	start, created time.Time
	data           []byte
}

// Encode makes the snapshot of the newest rows that fit into limit bytes, and
// tells how many were left out.
func (h *HistoryEncoder) Encode(l *account.Ledger, limit int) (data []byte, left int, err error) {
	next := make(map[string][]encodedRow, len(h.devices))
	size, total := 0, 0
	for _, d := range l.Devices() {
		rows, err := h.rows(d)
		if err != nil {
			return nil, 0, err
		}
		if len(rows) == 0 {
			continue
		}
		next[d.Name] = rows
		total += len(rows)
		for _, r := range rows {
			size += len(r.data)
		}
	}
	h.devices = next
	buf := History.Head(make([]byte, 0, min(size+64*len(History.Columns), limit)))
	perDevice := total
	if room := limit - len(buf) - 2; size > room {
		perDevice = max(room/(size/total+1)/len(next), 1)
	}
	for _, d := range l.Devices() {
		rows := next[d.Name]
		over := max(len(rows)-perDevice, 0)
		left += over
		for _, r := range rows[over:] {
			buf = append(buf, r.data...)
		}
	}
	return History.Tail(buf), left, nil
}

// rows gives the device's rows, encoding those that are new.
func (h *HistoryEncoder) rows(d *account.Device) ([]encodedRow, error) {
	intervals, known := d.History(), h.devices[d.Name]
	if len(intervals) == 0 {
		return nil, nil
	}
	first := intervals[0]
	for len(known) > 0 && !known[0].is(first) {
		known = known[1:]
	}
	if len(known) > len(intervals) {
		known = nil
	}
	for _, i := range intervals[len(known):] {
		data, err := History.Append(nil, historyRow(i))
		if err != nil {
			return nil, err
		}
		known = append(known, encodedRow{i.Start, i.Created, data})
	}
	return known, nil
}

func (r encodedRow) is(i account.Interval) bool {
	return r.start.Equal(i.Start) && r.created.Equal(i.Created)
}
