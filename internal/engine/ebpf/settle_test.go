package ebpf

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// settle waits until what was sent has passed every device, however slow the
// machine is: no connection is still being closed, no processor has frames
// waiting between two devices, and what it has taken from there is done with.
func settle(t testing.TB) {
	t.Helper()
	for unfinished(t) {
		time.Sleep(time.Millisecond)
	}
	drained(t)
	// Frames are handled in readers' sections of RCU; this waits for those.
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		t.Fatalf("membarrier: %v", errno)
	}
}

// running waits until the kernel knows that a device has its carrier: before, it
// drops what is sent on it.
func running(t testing.TB, run func(testing.TB, ...string) string, device string) {
	t.Helper()
	for !strings.Contains(run(t, "ip", "link", "show", device), "state UP") {
		time.Sleep(5 * time.Millisecond)
	}
}

// unfinished tells whether there are connections that may still send something.
func unfinished(t testing.TB) bool {
	t.Helper()
	const timeWait, listen = 0x06, 0x0a
	for _, name := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			if i == 0 {
				continue
			}
			var state int
			if _, err := fmt.Sscanf(strings.Fields(line)[3], "%x", &state); err != nil {
				t.Fatal(err)
			}
			if state != timeWait && state != listen {
				return true
			}
		}
	}
	return false
}

// drained waits until each processor's queue between two devices has been empty
// once, so that nothing is in it that was there before.
func drained(t testing.TB) {
	t.Helper()
	const waiting = 11 // column of /proc/net/softnet_stat
	empty := map[int]bool{}
	for processors := 1; len(empty) < processors; time.Sleep(100 * time.Microsecond) {
		text, err := os.ReadFile("/proc/net/softnet_stat")
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		processors = len(lines)
		for i, line := range lines {
			var n int
			if _, err := fmt.Sscanf(strings.Fields(line)[waiting], "%x", &n); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				empty[i] = true
			}
		}
	}
}
