package test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// TestHarness is the least that every other test relies on.
func TestHarness(t *testing.T) {
	link := harness.NewLink(t, harness.NewHost(t), harness.NewHost(t))
	s := harness.NewServer(t, harness.Options{Host: link.Server.Host})
	truth := harness.NewTruth(t, link, s.Port)
	if got := link.Client.Host.Psql(t, s.At(link.Server.V4), "SELECT 1"); got != "1\n" {
		t.Errorf("the client got %q", got)
	}
	if c := truth.Quiet(t); c.PacketsIn < 5 || c.PacketsOut < 4 || c.BytesIn <= 54*c.PacketsIn {
		t.Errorf("counted %+v", c)
	}
	if st := s.Await(t, ""); st.Devices != link.Server.Device {
		t.Errorf("the devices are %q", st.Devices)
	}
}

// TestLongLink: an answer takes the time of the way, there and back.
func TestLongLink(t *testing.T) {
	t.Parallel()
	const each = 60 * time.Millisecond
	link := harness.NewLongLink(t, harness.NewHost(t), harness.NewHost(t), each)
	s := harness.NewServer(t, harness.Options{Host: link.Server.Host, Settings: harness.Settings{"shared_preload_libraries": ""}})
	for _, a := range []netip.Addr{link.Server.V4, link.Server.V6} {
		c := link.Client.Host.NewClient(t, s.At(a), "")
		begin := time.Now()
		c.Exec(t, "SELECT 1")
		if took := time.Since(begin); took < 2*each {
			t.Errorf("an answer from %s took %s", a, took)
		}
	}
}
