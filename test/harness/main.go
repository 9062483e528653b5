package harness

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// prefix begins the names of all namespaces and directories of tests.
const prefix = "pgnt-"

// scratch is the directory of this test program.
var scratch string

// serial numbers what this test program makes.
var serial atomic.Int64

// Main runs the tests of a package. Call it from TestMain and exit with what
// it returns.
func Main(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run()
	}
	// Tests that run in parallel mostly wait: more of them than there are processors
	// are of use. Whoever says -parallel has the last word.
	if err := flag.Set("test.parallel", "12"); err != nil {
		fmt.Fprintln(os.Stderr, "running tests in parallel:", err)
	}
	sweep()
	scratch = filepath.Join(os.TempDir(), fmt.Sprintf("%s%d", prefix, os.Getpid()))
	// The server's user has to get through it, whatever the umask.
	err := errors.Join(os.Mkdir(scratch, 0o755), os.Chmod(scratch, 0o755))
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a scratch directory:", err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// needRoot ends a test that cannot work.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces, packet counters and files with capabilities")
	}
	if scratch == "" {
		t.Fatal("TestMain does not call harness.Main")
	}
}

// nextName gives a name that nothing else has.
func nextName() string { return fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), serial.Add(1)) }

// dir makes a directory of the test's that everyone may enter.
func dir(t testing.TB) string {
	t.Helper()
	needRoot(t)
	path := filepath.Join(scratch, strconv.FormatInt(serial.Add(1), 10))
	if err := errors.Join(os.Mkdir(path, 0o755), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

// orphaned tells whether a name is that of something whose maker is gone.
func orphaned(name string) bool {
	number, ours := strings.CutPrefix(name, prefix)
	number, _, _ = strings.Cut(number, "-")
	pid, err := strconv.Atoi(number)
	return ours && err == nil && syscall.Kill(pid, 0) == unix.ESRCH
}

// sweep removes what killed test programs have left: the processes in their
// namespaces, the namespaces, the directories.
func sweep() {
	names, _ := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	for _, path := range names {
		name := filepath.Base(path)
		if !orphaned(name) {
			continue
		}
		end(pidsIn(name))
		if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "removing the namespace %s: %s\n", name, out)
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, path := range dirs {
		if orphaned(filepath.Base(path)) {
			unmount(path)
			os.RemoveAll(path)
		}
	}
}

// unmount frees a directory of the file systems that are mounted in it.
func unmount(path string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], path+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
}

// end kills processes and waits until they are gone.
func end(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		alive := false
		for _, pid := range pids {
			alive = alive || Alive(pid)
		}
		if !alive {
			return
		}
	}
}

// Alive tells whether a process runs; one that only waits to be reaped does not.
func Alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// Until calls done every 50 ms until it gives no error; the last one ends the
// test when the time is over.
func Until(t testing.TB, patience time.Duration, what string, done func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := done()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
	}
}
