package test

import (
	"testing"

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
