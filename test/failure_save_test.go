package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pg-netstat/pg_netstat/test/harness"
)

// Offsets in the file that figures are saved in, see extension/src/save.c. It is
// in the machine's byte order.
const (
	savedCRC, savedVersion, savedCount = 4, 8, 12
	savedResets                        = 24     // requested; applied ones follow
	savedLast, savedEvents             = 56, 64 // number of the last event, bytes of the events
	savedSessions, savedSessionSize    = 72, 76
	savedHeader                        = 80
	savedName                          = 64 // bytes of a snapshot's name, its length follows
)

func (v *victim) savedFile() string { return filepath.Join(v.Data, "pg_stat_tmp", "pg_netstat.stat") }

// seal makes the checksum right again.
func seal(b []byte) []byte {
	binary.NativeEndian.PutUint32(b[savedCRC:], crc32.Checksum(b[savedVersion:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// add changes a number by some amount.
func add(b []byte, at int, n int32) []byte {
	binary.NativeEndian.PutUint32(b[at:], binary.NativeEndian.Uint32(b[at:])+uint32(n))
	return b
}

// put puts something in place of the saved file; nil is a directory.
func put(content []byte, mode os.FileMode) func(t *testing.T, path string, saved []byte) {
	return func(t *testing.T, path string, _ []byte) {
		t.Helper()
		err := os.Remove(path)
		if content == nil {
			err = errors.Join(err, os.Mkdir(path, mode))
		} else {
			err = errors.Join(err, os.WriteFile(path, content, mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// edit changes the saved file.
func edit(change func(b []byte) []byte) func(t *testing.T, path string, saved []byte) {
	return func(t *testing.T, path string, saved []byte) {
		t.Helper()
		if err := os.WriteFile(path, change(bytes.Clone(saved)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

var damages = []struct {
	name, says string
	do         func(t *testing.T, path string, saved []byte)
}{
	{"empty", "it is too short", edit(func([]byte) []byte { return nil })},
	{"a few bytes", "it is too short", edit(func(b []byte) []byte { return b[:10] })},
	{"half", "its checksum is wrong", edit(func(b []byte) []byte { return b[:len(b)/2] })},
	{"longer", "its checksum is wrong", edit(func(b []byte) []byte { return append(b, b...) })},
	{"a bit", "its checksum is wrong", edit(func(b []byte) []byte { b[len(b)/2] ^= 4; return b })},
	{"zeroes", "it is no such file", edit(func(b []byte) []byte { return make([]byte, len(b)) })},
	{"text", "it is no such file", put(bytes.Repeat([]byte("something else\n"), 100), 0o644)},
	{"another version", "it was written by another version of pg_netstat", edit(func(b []byte) []byte { return seal(add(b, savedVersion, 1)) })},
	{"huge", "its checksum is wrong", edit(func(b []byte) []byte { return append(b, make([]byte, 32<<20)...) })},
	{"unreadable", "it cannot be opened", put([]byte("secret"), 0)},
	{"a directory", "it is no regular file", put(nil, 0o755)},
	{"a pipe", "it is no regular file", func(t *testing.T, path string, _ []byte) {
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o666), os.Chmod(path, 0o666)); err != nil {
			t.Fatal(err)
		}
	}},
	{"more said than there is", "it is cut short", edit(func(b []byte) []byte { return seal(add(b, savedCount, 1)) })},
	{"less said than there is", "it is longer than what it says", edit(func(b []byte) []byte { return seal(add(b, savedCount, -1)) })},
	{"resets of the future", "its numbers are wrong", edit(func(b []byte) []byte { return seal(add(b, savedResets+8, 1000)) })},
	{"an event less", "events are missing in it", edit(func(b []byte) []byte { return seal(add(b, savedLast, 1)) })},
	{"events of no length", "it is cut short", edit(func(b []byte) []byte { return seal(add(b, savedEvents, 1<<30)) })},
	{"a session more", "it is cut short", edit(func(b []byte) []byte { return seal(add(b, savedSessions, 1)) })},
	{"sessions of another size", "its numbers are wrong", edit(func(b []byte) []byte { return seal(add(b, savedSessionSize, 8)) })},
	{"a name", "a snapshot has no valid name", edit(func(b []byte) []byte { b[savedHeader] = 'X'; return seal(b) })},
	{"a name without end", "a snapshot has no valid name", edit(func(b []byte) []byte {
		copy(b[savedHeader:], strings.Repeat("x", savedName))
		return seal(b)
	})},
	{"a length", "it is cut short", edit(func(b []byte) []byte { b[savedHeader+savedName+7] = 0xff; return seal(b) })},
	{"the columns", "a snapshot has no valid number of columns", edit(func(b []byte) []byte {
		copy(b[savedHeader+savedName+8:], "\xff\xff")
		return seal(b)
	})},
}

// TestSavedFileDamaged starts the server with files that are not what was saved:
// it starts all the same, begins anew, says why and keeps the file.
func TestSavedFileDamaged(t *testing.T) {
	t.Parallel()
	v := newVictim(t)
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			v.traffic(t)
			v.CaughtUp(t)
			v.witness.stop(t)
			v.Stop(t, "fast")
			path := v.savedFile()
			saved, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			d.do(t, path, saved)
			from := len(v.Log(t))
			v.Start(t)
			v.witness = newWitness(t, v.Server)
			st := v.Await(t, "")
			says := `could not use file "pg_stat_tmp/pg_netstat.stat": ` + d.says
			if st.LastError != says || st.Restored != "" || st.Restarts != 0 {
				t.Errorf("the status is %+v", st)
			}
			v.LogSays(t, from, says)
			if err := os.RemoveAll(path + ".damaged"); err != nil {
				t.Error(err)
			}
			v.witness.answered(t)
		})
	}
}

// obstacles keep the file from being written.
var obstacles = []struct {
	name, says string
	harm, mend func(t *testing.T, dir string)
}{
	{"full disk", "No space left on device", func(t *testing.T, dir string) {
		fill(t, filepath.Join(dir, "filler"))
	}, func(t *testing.T, dir string) {
		if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
			t.Fatal(err)
		}
	}},
	{"missing directory", "No such file or directory", func(t *testing.T, dir string) {
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
	}, func(t *testing.T, dir string) {
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
	}},
	{"directory not writable", "Permission denied", func(t *testing.T, dir string) { chmod(t, dir, 0o500) },
		func(t *testing.T, dir string) { chmod(t, dir, 0o700) }},
}

// TestSaveFails takes away what the file is saved to: a disk that is full, a
// directory that is missing or not to be written into.
func TestSaveFails(t *testing.T) {
	t.Parallel()
	for _, c := range obstacles {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := &victim{Server: harness.NewServer(t, harness.Options{Stopped: true, Settings: victimSettings()})}
			dir := filepath.Join(v.Data, "pg_stat_tmp")
			if c.name == "full disk" {
				mountSmall(t, dir)
			}
			v.Start(t)
			v.witness = newWitness(t, v.Server)
			v.Await(t, "")
			v.Reset(t)
			harness.Until(t, patience, "a first save", func() error { _, err := os.Stat(v.savedFile()); return err })
			saved := *v.Status(t).SavedAt

			c.harm(t, dir)
			v.Reset(t)
			v.AwaitStatus(t, "status saying that nothing is saved", func(st harness.Status) bool {
				return st.State == "counting" && st.LastError == "the snapshots could not be saved; see the server's log"
			})
			harness.Until(t, patience, "more tries", func() error {
				if n := strings.Count(v.Log(t), c.says); n < 3 {
					return fmt.Errorf("the log says %d times %q", n, c.says)
				}
				return nil
			})
			if st := v.Status(t); !st.SavedAt.Equal(saved) {
				t.Errorf("saved at %s, then at %s", saved, st.SavedAt)
			}
			// Neither the end nor the start of the server is kept by it.
			v.witness.stop(t)
			v.Stop(t, "fast")
			v.gone(t)
			v.Start(t)
			v.witness = newWitness(t, v.Server)
			v.Await(t, "")

			c.mend(t, dir)
			v.Reset(t)
			v.AwaitStatus(t, "a save", func(st harness.Status) bool { return st.SavedAt != nil && st.SavedAt.After(saved) })
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// mountSmall makes a directory of the server a file system of its own.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("size=256k,mode=700,uid=%d,gid=%d", st.Uid, st.Gid)
	if err := syscall.Mount("none", dir, "tmpfs", 0, options); err != nil {
		t.Fatal("mounting: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error("unmounting: ", err)
		}
	})
}
