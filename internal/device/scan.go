package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// scanTries is how often a scan is begun anew because the kernel said that
// something changed while it was read. Then Watch has another call to come.
const scanTries = 5

// Scan reads the devices, addresses and local routes of the calling thread's
// network namespace. It needs no privilege.
func Scan() (Snapshot, error) {
	var s Snapshot
	var err error
	for range scanTries {
		if s, err = scan(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return s, err
		}
	}
	return s, nil
}

func scan() (Snapshot, error) {
	var s Snapshot
	var interrupted error
	for _, step := range []struct {
		what string
		read func(*Snapshot) error
	}{
		{"network devices", readLinks},
		{"addresses", readAddrs},
		{"local routes", readRoutes},
	} {
		err := step.read(&s)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			interrupted = err
		} else if err != nil {
			return Snapshot{}, fmt.Errorf("reading %s: %w", step.what, err)
		}
	}
	if err := readOffload(s.Links); err != nil {
		return Snapshot{}, fmt.Errorf("reading offload settings: %w", err)
	}
	return s, interrupted
}

// skipStats is RTEXT_FILTER_SKIP_STATS: a third of each message less.
const skipStats = 1 << 3

func readLinks(s *Snapshot) error {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	var bad error
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(m []byte) bool {
		var l Link
		if l, bad = parseLink(m); bad != nil {
			return false
		}
		s.Links = append(s.Links, l)
		return true
	})
	return errors.Join(bad, err)
}

func parseLink(m []byte) (Link, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return Link{}, errShort
	}
	msg := nl.DeserializeIfInfomsg(m)
	l := Link{
		Index:    int(msg.Index),
		Type:     msg.Type,
		Up:       msg.Flags&unix.IFF_UP != 0,
		Running:  msg.Flags&unix.IFF_RUNNING != 0,
		Loopback: msg.Flags&unix.IFF_LOOPBACK != 0,
	}
	for a, err := range attributes(m[unix.SizeofIfInfomsg:]) {
		if err != nil {
			return Link{}, err
		}
		switch a.kind {
		case unix.IFLA_IFNAME:
			l.Name = unix.ByteSliceToString(a.value)
		case unix.IFLA_MTU:
			l.MTU = number(a.value)
		case unix.IFLA_LINK:
			// A device without a lower one may name itself.
			if l.Parent = number(a.value); l.Parent == l.Index {
				l.Parent = 0
			}
		case unix.IFLA_LINK_NETNSID:
			l.Elsewhere = true
		case unix.IFLA_MASTER:
			l.Master = number(a.value)
		case unix.IFLA_LINKINFO:
			if l.Kind, err = parseKind(a.value); err != nil {
				return Link{}, err
			}
		}
	}
	return l, nil
}

func parseKind(info []byte) (string, error) {
	for a, err := range attributes(info) {
		if err != nil {
			return "", err
		}
		if a.kind == unix.IFLA_INFO_KIND {
			return unix.ByteSliceToString(a.value), nil
		}
	}
	return "", nil
}

func number(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(b))
}

func readAddrs(s *Snapshot) error {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	var bad error
	err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWADDR, func(m []byte) bool {
		bad = addAddr(s, m)
		return bad == nil
	})
	return errors.Join(bad, err)
}

func addAddr(s *Snapshot, m []byte) error {
	if len(m) < unix.SizeofIfAddrmsg {
		return errShort
	}
	msg := nl.DeserializeIfAddrmsg(m)
	link := s.byIndex(int(msg.Index))
	if link == nil {
		return nil // came after the devices were read
	}
	// On a point-to-point device IFA_ADDRESS is the peer's and IFA_LOCAL ours;
	// IPv6 often has IFA_ADDRESS alone.
	var addr, local netip.Addr
	for a, err := range attributes(m[unix.SizeofIfAddrmsg:]) {
		if err != nil {
			return err
		}
		switch a.kind {
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(a.value)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.value)
		}
	}
	if local.IsValid() {
		addr = local
	}
	if p := netip.PrefixFrom(addr, int(msg.Prefixlen)); p.IsValid() {
		link.Addrs = append(link.Addrs, p)
	}
	return nil
}

// readRoutes asks for the local table alone: a router's main table may have a
// million routes, and without strict checking the kernel would send them all.
func readRoutes(s *Snapshot) error {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer sock.Close()
	// Fails below Linux 4.20 only, and then the check of each route below does.
	_ = unix.SetsockoptInt(sock.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: sock}}
		ask := &nl.RtMsg{}
		ask.Family, ask.Table, ask.Type = family, unix.RT_TABLE_LOCAL, unix.RTN_LOCAL
		req.AddData(ask)
		var bad error
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
			var p netip.Prefix
			var ours bool
			if p, ours, bad = parseRoute(m); ours && !slices.Contains(s.Local, p) {
				s.Local = append(s.Local, p)
			}
			return bad == nil
		})
		if errors.Is(err, unix.ENOENT) {
			continue // the table of a family that nothing uses
		}
		if err := errors.Join(bad, err); err != nil {
			return err
		}
	}
	return nil
}

// parseRoute gives the destination of a route of type local in the table
// local, and false for every other.
func parseRoute(m []byte) (p netip.Prefix, ours bool, err error) {
	if len(m) < unix.SizeofRtMsg {
		return p, false, errShort
	}
	msg := nl.DeserializeRtMsg(m)
	if msg.Type != unix.RTN_LOCAL || msg.Table != unix.RT_TABLE_LOCAL || msg.Flags&unix.RTM_F_CLONED != 0 {
		return p, false, nil
	}
	dst := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for a, err := range attributes(m[unix.SizeofRtMsg:]) {
		if err != nil {
			return p, false, err
		}
		if a.kind == unix.RTA_DST {
			dst, _ = netip.AddrFromSlice(a.value)
		}
	}
	p = netip.PrefixFrom(dst, int(msg.Dst_len))
	return p, p.IsValid(), nil
}
