package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Listeners gives the addresses on which the process with this id listens for
// TCP connections to port. doubt says, where the answer is not sure to be right,
// why: if the process' sockets cannot be told from others', those of all that
// listen on the port; if the kernel does not list sockets, what listenAddresses
// (a value of PostgreSQL's setting) says.
func Listeners(pid int, port uint16, listenAddresses string) (addrs []netip.Addr, doubt string) {
	all, err := listening(port)
	if err != nil {
		return namedAddresses(listenAddresses),
			fmt.Sprintf("the addresses to count at are those of listen_addresses, since listening sockets cannot be listed: %v", err)
	}
	own, err := socketInodes(pid)
	if err != nil {
		return addresses(all), fmt.Sprintf(
			"a second server on port %d of this host would be counted too, since the server's own sockets cannot be told: %v", port, err)
	}
	all = slices.DeleteFunc(all, func(l listener) bool { return !own[l.inode] })
	return addresses(all), ""
}

type listener struct {
	addr  netip.Addr
	inode uint32
}

func addresses(from []listener) []netip.Addr {
	var addrs []netip.Addr
	for _, l := range from {
		if !slices.Contains(addrs, l.addr) {
			addrs = append(addrs, l.addr)
		}
	}
	return addrs
}

// socketInodes gives the inodes of the sockets that a process has open.
func socketInodes(pid int) (map[uint32]bool, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	inodes := make(map[uint32]bool)
	var refused error
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if errors.Is(err, os.ErrPermission) {
			refused = err
		}
		number, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
			inodes[uint32(n)] = true // sock_diag tells 32 bits of it
		}
	}
	if len(inodes) == 0 && refused != nil {
		return nil, refused
	}
	return inodes, nil
}

const (
	tcpListen = 10 // TCP_LISTEN in net/tcp_states.h
	diagIDs   = 4  // offset of struct inet_diag_sockid in a message
	diagLen   = 72 // length of struct inet_diag_msg
	reqLen    = 56 // length of struct inet_diag_req_v2
)

// listening asks sock_diag for the listening TCP sockets on a port, in the
// calling thread's network namespace.
func listening(port uint16) ([]listener, error) {
	var found []listener
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		ask := make([]byte, reqLen)
		ask[0], ask[1] = family, unix.IPPROTO_TCP
		binary.NativeEndian.PutUint32(ask[4:], 1<<tcpListen)
		binary.BigEndian.PutUint16(ask[8:], port)
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddRawData(ask)
		err := req.ExecuteIter(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY, func(m []byte) bool {
			if l, ok := parseListener(m, port); ok {
				found = append(found, l)
			}
			return true
		})
		if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
			return nil, fmt.Errorf("asking sock_diag: %w", err)
		}
	}
	return found, nil
}

func parseListener(m []byte, port uint16) (listener, bool) {
	if len(m) < diagLen || m[1] != tcpListen || binary.BigEndian.Uint16(m[diagIDs:]) != port {
		return listener{}, false
	}
	src := m[diagIDs+4:]
	l := listener{inode: binary.NativeEndian.Uint32(m[diagLen-4:])}
	if m[0] == unix.AF_INET {
		l.addr = netip.AddrFrom4([4]byte(src))
	} else {
		l.addr = netip.AddrFrom16([16]byte(src)).Unmap()
	}
	return l, true
}

// namedAddresses reads a value of listen_addresses. Names are resolved as the
// server did, in a second at most; one that cannot be is left out.
func namedAddresses(value string) []netip.Addr {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var addrs []netip.Addr
	for name := range strings.SplitSeq(value, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		switch name {
		case "":
		case "*":
			addrs = append(addrs, netip.IPv4Unspecified(), netip.IPv6Unspecified())
		default:
			if a, err := netip.ParseAddr(name); err == nil {
				addrs = append(addrs, a.Unmap().WithZone(""))
				continue
			}
			found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
			if err != nil {
				continue
			}
			for _, a := range found {
				addrs = append(addrs, a.Unmap().WithZone(""))
			}
		}
	}
	return addrs
}
