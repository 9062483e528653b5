package ebpf

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// On loopback the port alone says the direction.
func TestLoopbackDirection(t *testing.T) {
	r := newRunner(t, constants{linkHeader: linkHeader, loopback: true})
	request, response := flow("127.0.0.1:40000", "127.0.0.1:5432"), flow("127.0.0.1:5432", "127.0.0.1:40000")
	both := flow("127.0.0.1:5432", "127.0.0.1:5432")
	r.run(t, request.with(payload(10)))
	r.run(t, response)
	r.run(t, response)
	r.run(t, both)
	r.run(t, flow("127.0.0.1:40000", "127.0.0.1:40001"))
	r.run(t, flow("[::1]:5432", "[::1]:40000"))
	want := in(2, one(request)+10+one(both))
	want.Add(out(3, 2*one(response)+40+20+linkHeader))
	same(t, "loopback", total(r.reading(t)), want)
}

// A super-packet counts as the segments it becomes, each with all headers.
func TestSegments(t *testing.T) {
	tagged := request4.with(payload(2500))
	options := request4.with(func(p *packet) { p.payload, p.tcpOptions, p.ipOptions = 2500, 12, 4 })
	destination := extension{protocol: 60, body: 6}
	extended := request6.with(func(p *packet) { p.payload, p.extensions = 2500, []extension{destination} })
	// What the kernel puts in front of a buffer of more than 64 KB, and off again.
	jumbo := request6.with(func(p *packet) {
		p.payload, p.extensions = 2500, []extension{{protocol: 0, body: 6, data: []byte{194, 4}}}
	})
	r := newRunner(t, constants{linkHeader: linkHeader})
	for _, c := range []struct {
		name          string
		packet        packet
		segments      uint32
		size          uint32
		tags          []uint16
		want, headers int
	}{
		{"not segmented", request4.with(payload(1000)), 0, 0, nil, 1, 0},
		{"number given", request4.with(payload(2500)), 3, 1000, nil, 3, 54},
		{"number to be found", request4.with(payload(2500)), 0, 1000, nil, 3, 54},
		{"exact multiple", request4.with(payload(3000)), 0, 1000, nil, 3, 54},
		{"one segment", request4.with(payload(900)), 0, 1000, nil, 1, 54},
		{"no payload", request4, 0, 1000, nil, 1, 54},
		{"options", options, 0, 1000, nil, 3, 70},
		{"tag", tagged, 0, 1000, []uint16{5}, 3, 58},
		{"IPv6", request6.with(payload(2500)), 3, 1000, nil, 3, 74},
		{"IPv6, number to be found", request6.with(payload(2500)), 0, 1000, nil, 3, 74},
		{"IPv6, extension", extended, 0, 1000, nil, 3, 82},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.segmented(c.segments, c.size)
			r.run(t, c.packet, c.tags...)
			bytes := one(c.packet) + 4*len(c.tags) + (c.want-1)*c.headers
			same(t, c.name, total(r.reading(t)), in(c.want, bytes))
		})
	}
	t.Run("jumbo option", func(t *testing.T) {
		r.segmented(3, 1000)
		frame := jumbo.frame(ownMAC, otherMAC)
		frame[linkHeader+4], frame[linkHeader+5] = 0, 0 // the payload's length is in the option
		r.runFrame(t, frame)
		same(t, "jumbo option", total(r.reading(t)), in(3, one(request6)+2500+2*74))
	})
}

// Each half has its own counts, and a reading leaves none behind.
func TestHalves(t *testing.T) {
	r := newRunner(t, constants{linkHeader: linkHeader, slot: 3})
	place := seen{slot: 3, device: "eth0"}
	for round := 1; round <= 5; round++ {
		for range round {
			r.run(t, request4)
			r.run(t, request6)
		}
		reading := r.reading(t, place)
		same(t, fmt.Sprint("round ", round), total(reading), in(2*round, round*(one(request4)+one(request6))))
		if len(reading.Clients) != 2 || len(reading.Devices) != 1 || reading.Devices[0].Device != "eth0" {
			t.Errorf("round %d: %+v", round, reading)
		}
	}
	if reading := r.reading(t, place); !total(reading).Zero() || len(reading.Clients) > 0 {
		t.Errorf("nothing passed, and %+v was counted", reading)
	}
}

// A client that uses several addresses of this host is one client.
func TestClientOfSeveralLocalAddresses(t *testing.T) {
	r := newRunner(t, constants{linkHeader: linkHeader})
	r.run(t, request4)
	r.run(t, flow(client4addr, "192.0.2.77:5432"))
	r.run(t, flow("198.51.100.7:40001", "192.0.2.78:5432"))
	reading := r.reading(t)
	if len(reading.Clients) != 1 {
		t.Fatalf("%+v", reading.Clients)
	}
	same(t, "client", reading.Clients[0].Counts, in(3, 3*one(request4)))
}

// oneProcessor keeps the test on one, where all it runs has one part of the tables.
func oneProcessor(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var before, first unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; first.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			first.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	})
}

// What the tables have no room for is in Other: nothing is lost or forgotten.
func TestFullTables(t *testing.T) {
	oneProcessor(t)
	r := newRunner(t, constants{linkHeader: linkHeader})
	const more = 100
	room4, room6 := int(r.shared.v4.Room), int(r.shared.v6.Room)
	n4, n6 := room4+more, room6+more
	for range 2 { // twice, so that those in the table are met again
		for i := range n4 {
			r.run(t, request4.with(func(p *packet) {
				p.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
			}))
		}
		for i := range n6 {
			r.run(t, request6.with(func(p *packet) {
				p.from = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 40000)
			}))
		}
	}
	reading := r.reading(t)
	same(t, "devices", total(reading), in(2*(n4+n6), 2*(n4*one(request4)+n6*one(request6))))
	have4, have6 := 0, 0
	for _, c := range reading.Clients {
		if c.Client.Is4() {
			have4++
			same(t, c.Client.String(), c.Counts, in(2, 2*one(request4)))
		} else {
			have6++
			same(t, c.Client.String(), c.Counts, in(2, 2*one(request6)))
		}
	}
	// A few find no room near their home, before all of it is used.
	t.Logf("%d of %d and %d of %d", have4, room4, have6, room6)
	if have4 > room4 || have4 < room4*98/100 || have6 > room6 || have6 < room6*98/100 {
		t.Errorf("%d of %d IPv4 clients, %d of %d", have4, room4, have6, room6)
	}
	same(t, "other", reading.Other, in(2*(n4-have4+n6-have6), 2*((n4-have4)*one(request4)+(n6-have6)*one(request6))))
	r.run(t, request4)
	r.run(t, request6)
	if reading := r.reading(t); len(reading.Clients) != 2 || !reading.Other.Zero() {
		t.Errorf("after the full table: %d clients, other %+v", len(reading.Clients), reading.Other)
	}
}

// Many more clients than there were before find room as well, and so do few.
func TestMoreClientsThanExpected(t *testing.T) {
	oneProcessor(t)
	r := newRunner(t, constants{linkHeader: linkHeader})
	for _, n := range []int{1, 1000, 1000, 9000, 20000, 20000, 10} {
		for range 2 {
			for i := range n {
				r.run(t, request4.with(func(p *packet) {
					p.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 40000)
				}))
				if i < n/2 {
					r.run(t, request6.with(func(p *packet) {
						p.from = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xfd, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}), 40000)
					}))
				}
			}
		}
		reading := r.reading(t)
		same(t, "device", total(reading), in(2*(n+n/2), 2*(n*one(request4)+n/2*one(request6))))
		// Luck may have it that all entries near a home are used long before the others.
		have4 := 0
		for _, c := range reading.Clients {
			if c.Client.Is4() {
				have4++
			}
		}
		missing4, missing6 := n-have4, n/2-(len(reading.Clients)-have4)
		t.Logf("of %d IPv4 clients %d have no room, of %d others %d", n, missing4, n/2, missing6)
		if missing4 > n/100 || missing6 > n/200 {
			t.Error("too many clients have no room")
		}
	}
}

// An address that marks free entries is no client's, and is counted all the same.
func TestUnspecifiedClient(t *testing.T) {
	oneProcessor(t)
	r := newRunner(t, constants{linkHeader: linkHeader})
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	if err := r.Retarget(engine.Target{Port: 5432, Local: everything}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.run(t, flow("0.0.0.0:40000", "0.0.0.0:5432"))
		r.run(t, flow("[::]:40000", "[2001:db8::1]:5432"))
		r.run(t, flow("0.0.0.0:40000", "192.0.2.1:5432"))
		r.run(t, flow("[fd00::]:40000", "[::]:5432"))
		reading := r.reading(t)
		same(t, "device", total(reading), in(4, 2*one(request4)+2*one(request6)))
		same(t, "other", reading.Other, in(2, one(request4)+one(request6)))
		if len(reading.Clients) != 2 {
			t.Errorf("clients: %+v", reading.Clients)
		}
	}
}

// The other way to wait for runs of the program.
func TestGraceWithoutMembarrier(t *testing.T) {
	r := newRunner(t, constants{linkHeader: linkHeader})
	if err := r.grace.open(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		r.run(t, request4)
		same(t, "device", total(r.reading(t)), in(1, one(request4)))
	}
}

// A change of port and addresses is in force at once.
func TestRetargetPortAndAddresses(t *testing.T) {
	r := newRunner(t, constants{linkHeader: linkHeader})
	other := flow(client4addr, "203.0.113.5:6543")
	r.run(t, other)
	target := engine.Target{Port: 6543, Local: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("::ffff:203.0.113.0/120")}}
	if err := r.Retarget(target); err != nil {
		t.Fatal(err)
	}
	r.run(t, other)
	r.run(t, request4)
	r.run(t, flow(client4addr, "192.0.2.1:6543"))
	same(t, "new target", total(r.reading(t)), in(1, one(other)))
	if got := len(r.locals.have); got != 1 {
		t.Errorf("%d prefixes are local", got)
	}
}

// partsOf gives a datagram of TCP as fragments of size bytes.
func partsOf(p packet, id uint32, size int) []packet {
	var parts []packet
	all := 20 + p.payload
	for at := 0; at < all; at += size {
		n := min(size, all-at)
		parts = append(parts, p.with(func(q *packet) {
			q.fragment = fragment{id: id, offset: at, more: at+n < all}
			q.payload = n
			if at == 0 {
				q.payload = n - 20
			}
		}))
	}
	return parts
}

func bytesOf(parts []packet) (n int) {
	for _, p := range parts {
		n += one(p)
	}
	return n
}

// Fragments count for the server as soon as their first has told the ports,
// in whatever order they arrive.
func TestFragments(t *testing.T) {
	for _, request := range []packet{request4, request6} {
		parts := partsOf(request.with(payload(3000)), 77, 1000)
		want := in(len(parts), bytesOf(parts))
		for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}} {
			t.Run(fmt.Sprint(request.from.Addr(), order), func(t *testing.T) {
				r := newRunner(t, constants{linkHeader: linkHeader})
				for _, i := range order {
					r.run(t, parts[i])
				}
				reading := r.reading(t)
				same(t, "device", total(reading), want)
				if len(reading.Clients) != 1 || reading.Clients[0].Client != request.from.Addr() {
					t.Errorf("clients: %+v", reading.Clients)
				}
				if again := r.reading(t); !total(again).Zero() {
					t.Errorf("counted again: %s", show(total(again)))
				}
			})
		}
	}
}

// A period may end in the middle of a datagram.
func TestFragmentsAcrossPeriods(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}} {
		r := newRunner(t, constants{linkHeader: linkHeader})
		parts := partsOf(request4.with(payload(3000)), 78, 1000)
		var sum engine.Counts
		for _, i := range order {
			r.run(t, parts[i])
			sum.Add(total(r.reading(t)))
		}
		sum.Add(total(r.reading(t)))
		same(t, fmt.Sprint(order), sum, in(len(parts), bytesOf(parts)))
	}
}

// Fragments of others count nothing, nor as lost.
func TestFragmentsOfOthers(t *testing.T) {
	r := newRunner(t, constants{linkHeader: linkHeader})
	clock := time.Now()
	r.pieces.now = func() time.Time { return clock }
	for i, p := range []packet{
		flow(client4addr, "192.0.2.1:80"), flow(client4addr, "203.0.113.9:5432"),
		flow(client6addr, "[2001:db8::1]:80"), flow(client6addr, "[2001:db8:2::1]:5432"),
		request4.with(func(p *packet) { p.protocol = protoUDP }), request6.with(func(p *packet) { p.protocol = protoUDP }),
	} {
		parts := partsOf(p.with(payload(3000)), uint32(i), 1000)
		slices.Reverse(parts)
		for _, part := range parts {
			r.run(t, part)
		}
	}
	for range 5 {
		reading := r.reading(t)
		if !total(reading).Zero() || reading.Lost > 0 {
			t.Errorf("counted %s, lost %d", show(total(reading)), reading.Lost)
		}
		clock = clock.Add(time.Minute)
	}
	if len(r.pieces.have) > 0 {
		t.Errorf("%d datagrams are remembered", len(r.pieces.have))
	}
}

// Fragments without a first, and those that found no room, are said to be lost.
func TestLostFragments(t *testing.T) {
	r := newRunner(t, constants{linkHeader: linkHeader})
	clock := time.Now()
	r.pieces.now = func() time.Time { return clock }
	const datagrams = 4096 // as many as the program remembers
	for i := range datagrams + 100 {
		r.run(t, partsOf(request4.with(payload(3000)), uint32(i), 1000)[1])
	}
	if reading := r.reading(t); reading.Lost != 100 {
		t.Errorf("%d found no room", reading.Lost)
	}
	clock = clock.Add(unknownAge - 1)
	if reading := r.reading(t); reading.Lost != 0 {
		t.Errorf("%d were given up too early", reading.Lost)
	}
	clock = clock.Add(1)
	if reading := r.reading(t); reading.Lost != datagrams {
		t.Errorf("%d were given up", reading.Lost)
	}
	parts := partsOf(request4.with(payload(3000)), 1, 1000)
	for _, p := range parts {
		r.run(t, p)
	}
	same(t, "after that", total(r.reading(t)), in(len(parts), bytesOf(parts)))
}
