package least

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// Every thread of this program, also those of the runtime, has at most the two.
func TestEveryThread(t *testing.T) {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) < 2 {
		t.Fatalf("threads: %v, %v", files, err)
	}
	const kept = 1<<13 | 1<<39
	line := regexp.MustCompile(`(?m)^Cap(Inh|Prm|Eff|Amb):\t([0-9a-f]+)$`)
	for _, name := range files {
		status, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		found := line.FindAllSubmatch(status, -1)
		if len(found) != 4 {
			t.Fatalf("%s has %d sets", name, len(found))
		}
		for _, m := range found {
			set, err := strconv.ParseUint(string(m[2]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			allowed := uint64(0)
			if string(m[1]) == "Prm" {
				allowed = kept
			}
			if set&^allowed != 0 {
				t.Errorf("%s: Cap%s is %x", name, m[1], set)
			}
		}
	}
}
