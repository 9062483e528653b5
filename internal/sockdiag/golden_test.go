package sockdiag

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "record a dump of this kernel and what it is decoded to")

const (
	recorded = "testdata/dump.bin" // reads, each behind its length in 4 bytes, little endian
	golden   = "testdata/dump.golden"
)

// TestGolden decodes a dump recorded on a kernel of 64 bits, little endian.
func TestGolden(t *testing.T) {
	if *update {
		record(t)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the recorded dump is little endian")
	}
	raw, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	var sockets []Socket
	for len(raw) >= 4 {
		size := binary.LittleEndian.Uint32(raw)
		var a answer
		if sockets, a, err = decode(raw[4:4+size], 1, sockets); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "read of %d bytes: %d sockets, %+v\n", size, len(sockets), a)
		raw = raw[4+size:]
	}
	for _, s := range sockets {
		fmt.Fprintf(&text, "%+v\n", s)
	}
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}

// record writes down what the kernel sends.
func record(t *testing.T) {
	d := setup(t)
	var raw []byte
	for _, host := range []string{"127.0.0.1", "::1"} {
		idle, busy, closing, slow := connect(t, host), connect(t, host), connect(t, host), connect(t, host)
		_ = idle
		for range 20 {
			flow(t, busy.client, busy.server, 500)
			flow(t, busy.server, busy.client, 70000)
		}
		flow(t, closing.client, closing.server, 77)
		closing.client.CloseWrite()
		fill(t, slow.server)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		d.seq = 1
		if err := d.ask(family, port); err != nil {
			t.Fatal(err)
		}
		for done := false; !done; {
			b, err := d.read()
			if err != nil {
				t.Fatal(err)
			}
			raw = binary.LittleEndian.AppendUint32(raw, uint32(len(b)))
			raw = append(raw, b...)
			_, a, err := decode(b, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			done = a.done
		}
	}
	if err := os.WriteFile(recorded, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}
