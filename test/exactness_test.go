package test

import (
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestExact compares every packet and byte with what the firewall's counters at
// the receiving ends saw, offload switched off.
func TestExact(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			w := newWorld(t, engine)
			w.prepare(t)
			if st := w.s.Await(t, engine); st.Exact == nil || !*st.Exact {
				t.Errorf("not marked as exact: %s", st.InexactReason)
			}
			for _, l := range []load{queries, connections, copyOut, copyIn} {
				for _, at := range []harness.Address{w.v4(), w.v6()} {
					t.Run(l.name+" to "+at.Addr.String(), func(t *testing.T) {
						w.exact(t, func() { l.run(t, w, at) })
					})
				}
			}
			if st := w.s.Status(t); st.PacketsLost == nil || *st.PacketsLost != 0 {
				t.Errorf("packets lost: %v", st.PacketsLost)
			}
		})
	}
}

// TestExactWithOffload lets both ends send super-packets, and compares with what
// they become when they are cut. What the firewall sees at the ends themselves tells
// that there were some.
func TestExactWithOffload(t *testing.T) {
	w := newWorld(t, "ebpf")
	w.prepare(t)
	w.link.Offload(t, true)
	whole := w.truth
	w.truth = harness.NewSegments(t, w.link, w.s.Port)
	for _, l := range []load{queries, copyOut, copyIn} {
		for _, at := range []harness.Address{w.v4(), w.v6()} {
			t.Run(l.name+" to "+at.Addr.String(), func(t *testing.T) {
				before, cut := whole.Read(t), w.truth.Read(t)
				w.exact(t, func() { l.run(t, w, at) })
				before, cut = whole.Read(t).Sub(before), w.truth.Read(t).Sub(cut)
				if l.name != queries.name && cut.PacketsIn+cut.PacketsOut < 2*(before.PacketsIn+before.PacketsOut) {
					t.Errorf("%+v before they were cut, %+v after: too few super-packets", before, cut)
				}
			})
		}
	}
	if st := w.s.Status(t); st.Exact == nil || !*st.Exact {
		t.Errorf("not marked as exact: %s", st.InexactReason)
	}
}

// TestPcapSaysThatItIsInexact: libpcap does not tell of what super-packets are
// made, so where there may be any the counts are marked.
func TestPcapSaysThatItIsInexact(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "pcap")
	w.link.Offload(t, true)
	w.s.Set(t, nil)
	st := w.s.AwaitStatus(t, "the counts being marked", func(st harness.Status) bool { return st.Exact != nil && !*st.Exact })
	t.Log(st.InexactReason)
	w.link.Offload(t, false)
	w.s.Set(t, nil)
	w.s.AwaitStatus(t, "the mark being removed", func(st harness.Status) bool {
		return st.Exact != nil && *st.Exact && st.InexactReason == ""
	})
}
