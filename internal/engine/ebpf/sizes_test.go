package ebpf

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// The tables keep within their memory on any machine, and have room.
func TestSizes(t *testing.T) {
	for _, c := range []struct{ cpus, clients4, clients6 int }{
		{1, 40000, 15000}, {2, 30000, 13000}, {4, 20000, 9000}, {16, 7000, 3500}, {64, 2000, 1000}, {128, 1000, 550}, {1024, 100, 50}, {8192, 1, 1},
	} {
		s := sizesFor(c.cpus)
		values := countersSize * c.cpus
		memory := s.devices * 2 * values
		for _, half := range [][2]int{{s.clients4, client4Size}, {s.clients6, client6Size}} {
			entry := elementSize + half[1] + pointerSize + values
			memory += 2 * (half[0]*entry + buckets(half[0])*bucketSize)
		}
		t.Logf("%4d processors: %+v, %d bytes", c.cpus, s, memory)
		if c.cpus <= 1024 && memory > tablesMemory {
			t.Errorf("%d processors: %d bytes", c.cpus, memory)
		}
		if s.clients4 < c.clients4 || s.clients6 < c.clients6 || s.clients4 > maxClients || s.devices < minDevices {
			t.Errorf("%d processors: %+v", c.cpus, s)
		}
	}
}

// The kernel agrees about the memory.
func TestMemory(t *testing.T) {
	r := newRunner(t, constants{})
	all := 0
	for name, m := range r.shared.all {
		status, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`(?m)^memlock:\s+(\d+)$`).FindSubmatch(status)
		if found == nil {
			t.Fatalf("no memlock in %s", status)
		}
		bytes, _ := strconv.Atoi(string(found[1]))
		t.Logf("%-16s %9d bytes", name, bytes)
		all += bytes
	}
	t.Logf("%d bytes in all", all)
	if all > 16<<20 {
		t.Errorf("the maps take %d bytes of kernel memory", all)
	}
}
