package ebpf

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/engine"
)

// Frames are sent into the device and out of it as fast as the machine can,
// while the halves change as often as they can: the readings together have each
// frame once, and each reading adds up.
func TestBoundariesUnderLoad(t *testing.T) {
	l := newLink(t, "pgeb0")
	s := openSource(t, target(t, own, "pgeb0"))
	var requests, responses [][]byte
	for i := range 64 {
		request := flow(fmt.Sprintf("198.51.100.%d:40000", i+1), server4)
		if i%4 == 0 {
			request = flow(fmt.Sprintf("[2001:db8:ffff::%x]:40000", i+1), server6)
		}
		response := packet{from: request.to, to: request.from}
		requests = append(requests, request.frame(ownMAC, otherMAC))
		responses = append(responses, response.with(payload(i)).frame(otherMAC, ownMAC))
	}
	load := [2]*load{
		{socket: l.fromPeer, frames: requests},
		{socket: newRaw(t, device(t, "pgeb0").Index), frames: responses},
	}
	// Where a processor has no room in its queue between two devices, a frame
	// that was sent is not received: such a run says nothing.
	for dropped := ^uint64(0); dropped > 0; {
		dropped = framesDropped(t)
		sum := flip(t, s, 400, load[:])
		dropped = framesDropped(t) - dropped
		if dropped == 0 {
			want := in(load[0].packets, load[0].bytes)
			want.Add(out(load[1].packets, load[1].bytes))
			same(t, "sum of the readings", sum, want)
		}
		load[0].packets, load[0].bytes, load[1].packets, load[1].bytes = 0, 0, 0, 0
	}
}

// load sends frames in turn, and says how many it has sent.
type load struct {
	socket         *raw
	frames         [][]byte
	packets, bytes int
}

func (l *load) run(t testing.TB, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		frame := l.frames[l.packets%len(l.frames)]
		l.socket.send(t, frame)
		l.packets++
		if l.packets%256 == 0 {
			drained(t) // a queue has room for some hundred frames
		}
		l.bytes += len(frame)
	}
}

// flip ends periods under load until n of them had packets, and gives the sum of
// their readings.
func flip(t *testing.T, s *Source, n int, loads []*load) (sum engine.Counts) {
	t.Helper()
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for _, l := range loads {
		senders.Go(func() { l.run(t, stop) })
	}
	begin, all := time.Now(), 0
	for busy := 0; busy < n; all++ {
		c := total(cut(t, s))
		if !c.Zero() {
			busy++
		}
		sum.Add(c)
	}
	t.Logf("%d periods in %v, %d of them with packets: %s", all, time.Since(begin), n, show(sum))
	close(stop)
	senders.Wait()
	settle(t)
	for range 2 {
		sum.Add(total(cut(t, s)))
	}
	return sum
}
