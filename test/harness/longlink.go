package harness

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NewLongLink connects two hosts like NewLink, by a way that takes a time in each
// direction. The test carries the frames from one to the other itself.
func NewLongLink(t testing.TB, server, client *Host, each time.Duration) *Link {
	t.Helper()
	l := newEnds(t, server, client)
	var taps [2]*os.File
	for i, e := range []End{l.Server, l.Client} {
		tap, err := newTap(e)
		if err != nil {
			t.Fatal(err)
		}
		taps[i] = tap
		e.up(t)
	}
	done := make(chan struct{}, 2)
	for i := range taps {
		go func() {
			carry(taps[1-i], taps[i], each)
			done <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		_ = errors.Join(taps[0].Close(), taps[1].Close())
		<-done
		<-done
	})
	return l
}

// newTap makes the device of an end. Who reads the file gets what the host sends.
func newTap(e End) (*os.File, error) {
	var tap *os.File
	err := e.Host.In(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(e.Device)
		if err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		// It can be waited for only when it is that of a device.
		tap = os.NewFile(uintptr(fd), e.Device)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making the device %s: %w", e.Device, err)
	}
	return tap, nil
}

// carry hands on each frame when its time has come, until one end is closed.
func carry(to, from *os.File, after time.Duration) {
	type frame struct {
		data []byte
		due  time.Time
	}
	under := make(chan frame, 10000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range under {
			time.Sleep(time.Until(f.due))
			_, _ = to.Write(f.data)
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			break
		}
		under <- frame{append([]byte(nil), buffer[:n]...), time.Now().Add(after)}
	}
	close(under)
	<-done
}
