package sockdiag

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// answering gives a Dumper whose kernel is the test: to each request it sends the next
// of answers, one message a read, with the request's number.
func answering(t *testing.T, answers ...[][]byte) (d *Dumper, asked *atomic.Int32) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, asked = &Dumper{fd: fds[0]}, new(atomic.Int32)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer unix.Close(fds[1])
		var request [sizeRequest]byte
		for _, reads := range answers {
			if n, err := unix.Read(fds[1], request[:]); n != sizeRequest || err != nil {
				return
			}
			asked.Add(1)
			for _, b := range reads {
				b = slices.Clone(b)
				if len(b) >= unix.SizeofNlMsghdr {
					copy(b[8:12], request[8:12])
				}
				if _, err := unix.Write(fds[1], b); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		d.Close()
		<-done
	})
	return d, asked
}

func socketMessage(flags uint16, cookie uint64) []byte {
	return message(sockDiagByFamily, unix.NLM_F_MULTI|flags, body(Established, cookie, local4, remote4, attr(attrInfo, info())))
}

func doneMessage(flags uint16) []byte {
	return message(unix.NLMSG_DONE, unix.NLM_F_MULTI|flags, make([]byte, 4))
}

func errorMessage(errno unix.Errno) []byte {
	return message(unix.NLMSG_ERROR, 0, binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno))))
}

// TestInterrupted: what the kernel says is not whole is asked for again.
func TestInterrupted(t *testing.T) {
	d, asked := answering(t,
		[][]byte{socketMessage(unix.NLM_F_DUMP_INTR, 1), socketMessage(0, 2), doneMessage(0)},
		[][]byte{socketMessage(0, 1), doneMessage(unix.NLM_F_DUMP_INTR)},
		[][]byte{socketMessage(0, 1), socketMessage(0, 3), doneMessage(0)},
		[][]byte{socketMessage(0, 4), doneMessage(0)})
	sockets, err := d.Dump(5432, nil)
	if err != nil || len(sockets) != 3 || sockets[0].Cookie != 1 || sockets[1].Cookie != 3 || sockets[2].Cookie != 4 || asked.Load() != 4 {
		t.Errorf("asked %d times: %+v, %v", asked.Load(), sockets, err)
	}
}

// TestAlwaysInterrupted: in the end the dump is taken as it is.
func TestAlwaysInterrupted(t *testing.T) {
	torn := [][]byte{socketMessage(unix.NLM_F_DUMP_INTR, 1), doneMessage(0)}
	d, asked := answering(t, slices.Concat(slices.Repeat([][][]byte{torn}, tries), [][][]byte{{doneMessage(0)}})...)
	sockets, err := d.Dump(5432, nil)
	if err != nil || len(sockets) != 1 || asked.Load() != tries+1 {
		t.Errorf("asked %d times: %+v, %v", asked.Load(), sockets, err)
	}
}

func TestNoIPv6(t *testing.T) {
	d, _ := answering(t, [][]byte{socketMessage(0, 1), doneMessage(0)}, [][]byte{errorMessage(unix.ENOENT)})
	sockets, err := d.Dump(5432, nil)
	if err != nil || len(sockets) != 1 {
		t.Errorf("%+v, %v", sockets, err)
	}
}

// TestLost: after an overflow it is asked again, on another socket.
func TestLost(t *testing.T) {
	setup(t)
	d, asked := answering(t, [][]byte{socketMessage(0, 1), errorMessage(unix.ENOBUFS)})
	p := connect(t, "127.0.0.1")
	sockets, err := d.Dump(port, nil)
	if err != nil || len(sockets) != 1 || sockets[0].Cookie != cookie(t, p.server) || asked.Load() != 1 {
		t.Errorf("asked %d times: %+v, %v", asked.Load(), sockets, err)
	}
}

func TestBadAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		reads [][]byte
		err   error
	}{
		"no module":  {[][]byte{errorMessage(unix.ENOENT)}, unix.ENOENT},
		"refused":    {[][]byte{errorMessage(unix.EPERM)}, unix.EPERM},
		"cut off":    {[][]byte{socketMessage(0, 1)[:100]}, ErrMalformed},
		"too long":   {[][]byte{make([]byte, readSize+1)}, ErrMalformed},
		"the end":    {[][]byte{socketMessage(0, 1)}, ErrMalformed},
		"no message": {[][]byte{make([]byte, 16)}, ErrMalformed},
	} {
		d, _ := answering(t, c.reads)
		sockets, err := d.Dump(5432, nil)
		if !errors.Is(err, c.err) || len(sockets) != 0 || d.fd >= 0 {
			t.Errorf("%s: %+v, %v", name, sockets, err)
		}
	}
}
