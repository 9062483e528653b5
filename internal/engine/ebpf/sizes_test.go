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
	for _, c := range []struct{ cpus, room4, room6 int }{
		{1, 60000, 24000}, {2, 30000, 12000}, {4, 15000, 6000}, {16, 3800, 1450}, {64, 950, 340}, {128, 480, 170}, {1024, 50, 16},
	} {
		s := sizesFor(c.cpus)
		memory := s.devicesBytes()
		for _, e := range []extent{s.v4, s.v6} {
			memory += 2 * int(e.Part) * c.cpus
			if int(e.Part)*c.cpus > maxTable || e.Part%cacheLine != 0 {
				t.Errorf("%d processors: a table of %d bytes", c.cpus, int(e.Part)*c.cpus)
			}
		}
		t.Logf("%4d processors: %+v, %d bytes", c.cpus, s, memory)
		if memory > tablesMemory {
			t.Errorf("%d processors: %d bytes", c.cpus, memory)
		}
		if int(s.v4.Room) < c.room4 || int(s.v6.Room) < c.room6 || s.devices < minDevices {
			t.Errorf("%d processors: %+v", c.cpus, s)
		}
	}
}

// All that is in a part of a table is within it.
func TestExtents(t *testing.T) {
	for cpus := 1; cpus <= 8192; cpus++ {
		s := sizesFor(cpus)
		for keySize, e := range map[int]extent{key4Size: s.v4, key6Size: s.v6} {
			end := headSize + (int(e.Homes)-1+search)*(keySize+countersSize)
			if e.Homes < 1 || e.Room < 1 || int(e.Places) < end || int(e.Places+e.Room*placeSize) > int(e.Part) {
				t.Fatalf("%d processors, keys of %d bytes: %+v", cpus, keySize, e)
			}
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
