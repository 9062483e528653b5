package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long Watch waits for further changes before it calls: making
// one device is a dozen messages.
const settle = 50 * time.Millisecond

// Watch calls changed soon after devices, addresses or local routes of the
// calling thread's network namespace changed, in a goroutine of its own, one call
// at a time, until ctx is done. What happens after Watch has returned is not
// missed: where the kernel had more to say than it could queue, that is a change.
func Watch(ctx context.Context, changed func()) error {
	f, err := subscribe()
	if err != nil {
		return fmt.Errorf("watching network devices: %w", err)
	}
	news := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { f.Close() })
	go func() {
		defer stop()
		defer f.Close()
		defer close(news)
		listen(ctx, f, news)
	}()
	go func() {
		for range news {
			select {
			case <-time.After(settle):
			case <-ctx.Done():
				return
			}
			// What came in the meantime is part of this call.
			select {
			case <-news:
			default:
			}
			if ctx.Err() == nil {
				changed()
			}
		}
	}()
	return nil
}

func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	groups := []uint{
		unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	}
	addr := unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		addr.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, &addr); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}

// listen turns messages into news until the socket is closed.
func listen(ctx context.Context, f *os.File, news chan<- struct{}) {
	buf := make([]byte, 1<<16)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		// An overflow leaves the subscription as it was.
		overflow := errors.Is(err, unix.ENOBUFS)
		if err != nil && !overflow {
			return
		}
		if overflow || relevant(buf[:n]) {
			select {
			case news <- struct{}{}:
			default:
			}
		}
	}
}

// relevant tells whether one of the messages in b is not just about a route
// that is none of ours: a router may have thousands of those a second.
func relevant(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return true
		}
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			if _, ours, err := parseRoute(b[unix.SizeofNlMsghdr:size]); ours || err != nil {
				return true
			}
		default:
			return true
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return false
}
