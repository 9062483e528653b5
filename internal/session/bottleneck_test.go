package session

import (
	"testing"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/sockdiag"
)

// second is a connection and what a second changes of it.
type second func(*sockdiag.Socket)

// quiet is a connection on which nothing has happened for long.
func quiet() sockdiag.Socket {
	return sockdiag.Known(sockdiag.Socket{
		Cookie: 1, State: sockdiag.Established, SendWindow: 64512, RTT: 100, MinRTT: 50,
		BytesReceived: 10000, BytesSent: 20000, SegsIn: 40, SegsOut: 30, DataSegsIn: 20, DataSegsOut: 20,
		BusyTime: 40000, LastDataSent: 5000, LastDataRecv: 5004,
	})
}

func older(s *sockdiag.Socket) {
	s.LastDataSent += 1000
	s.LastDataRecv += 1000
}

// asked: a request came some ms ago; answered: an answer was sent.
func asked(s *sockdiag.Socket, ago uint32) {
	older(s)
	s.BytesReceived += 100
	s.SegsIn++
	s.DataSegsIn++
	s.LastDataRecv = ago
}

func answered(s *sockdiag.Socket, ago uint32) {
	s.BytesSent += 100
	s.SegsOut++
	s.DataSegsOut++
	s.LastDataSent = ago
}

func TestBottleneck(t *testing.T) {
	ms := uint64(1000)
	for name, c := range map[string]struct {
		seconds   []second
		walsender bool
		want      string
	}{
		"idle": {[]second{older, older}, false, BottleneckNone},
		"window full for most of the time": {[]second{func(s *sockdiag.Socket) {
			s.BusyTime += 900 * ms
			s.RwndLimited += 500 * ms
		}}, false, BottleneckClient},
		"window full for some of the time": {[]second{func(s *sockdiag.Socket) {
			s.BusyTime += 900 * ms
			s.RwndLimited += 499 * ms
		}}, false, BottleneckNone},
		"window shut at both": {[]second{
			func(s *sockdiag.Socket) { s.SendWindow, s.NotsentBytes, s.WriteQueue = 0, 10, 10 }, older,
		}, false, BottleneckClient},
		"window shut just now": {[]second{
			func(s *sockdiag.Socket) { s.SendWindow, s.NotsentBytes, s.WriteQueue = 0, 10, 10 },
		}, false, BottleneckNone},
		"window shut with nothing to say": {[]second{func(s *sockdiag.Socket) { s.SendWindow = 0 }, older}, false, BottleneckNone},
		"loss does not excuse a client": {[]second{func(s *sockdiag.Socket) {
			s.RwndLimited += 1000 * ms
			s.TotalRetrans++
		}}, false, BottleneckClient},
		"one of 50 sent again": {[]second{func(s *sockdiag.Socket) {
			s.DataSegsOut += 50
			s.TotalRetrans++
		}}, false, BottleneckNetwork},
		"one of 51 sent again": {[]second{func(s *sockdiag.Socket) {
			s.DataSegsOut += 51
			s.TotalRetrans++
		}}, false, BottleneckNone},
		"what came was out of order": {[]second{func(s *sockdiag.Socket) {
			s.DataSegsIn += 100
			s.OutOfOrder += 2
		}}, false, BottleneckNetwork},
		"nothing comes back": {[]second{func(s *sockdiag.Socket) { s.Retransmits, s.WriteQueue = 3, 10 }}, false, BottleneckNetwork},
		"more to send than goes": {[]second{func(s *sockdiag.Socket) {
			s.BusyTime += 900 * ms
			s.RwndLimited += 300 * ms
			s.NotsentBytes = 1
		}}, false, BottleneckNetwork},
		"all is under way": {[]second{func(s *sockdiag.Socket) { s.BusyTime += 1000 * ms }}, false, BottleneckNone},
		"half of the time in round trips": {[]second{func(s *sockdiag.Socket) {
			s.DataSegsIn += 10000
			s.DataSegsOut += 10000
		}}, false, BottleneckNetwork},
		"less than half of the time in round trips": {[]second{func(s *sockdiag.Socket) {
			s.DataSegsIn += 9999
			s.DataSegsOut += 99999
		}}, false, BottleneckNone},
		"late acknowledgments are no long path": {[]second{func(s *sockdiag.Socket) {
			s.MinRTT = 20000
			s.DataSegsIn += 50
			s.DataSegsOut += 50
		}}, false, BottleneckNone},
		"a request waits":                 {[]second{func(s *sockdiag.Socket) { asked(s, 250) }}, false, BottleneckServer},
		"a request has just come":         {[]second{func(s *sockdiag.Socket) { asked(s, 249) }}, false, BottleneckNone},
		"a request still waits":           {[]second{func(s *sockdiag.Socket) { asked(s, 100) }, older}, false, BottleneckServer},
		"a standby says that it is there": {[]second{func(s *sockdiag.Socket) { asked(s, 100) }, older}, true, BottleneckNone},
		"an answer is on its way": {[]second{func(s *sockdiag.Socket) {
			asked(s, 900)
			answered(s, 300)
			s.WriteQueue = 100
		}}, false, BottleneckNone},
		"a request came with the answer to the former": {[]second{func(s *sockdiag.Socket) {
			asked(s, 400)
			asked(s, 400)
			answered(s, 400)
		}}, false, BottleneckServer},
		"it waits on, and the client proves that it lives": {[]second{func(s *sockdiag.Socket) {
			asked(s, 400)
			answered(s, 400)
		}, func(s *sockdiag.Socket) {
			older(s)
			s.SegsIn++
		}}, false, BottleneckServer},
		"an answer and its acknowledgment": {[]second{func(s *sockdiag.Socket) {
			asked(s, 400)
			answered(s, 400)
			s.SegsIn++
		}, older}, false, BottleneckNone},
		"an answer that is acknowledged late": {[]second{func(s *sockdiag.Socket) {
			asked(s, 20)
			answered(s, 20)
		}, func(s *sockdiag.Socket) {
			older(s)
			s.SegsIn++
		}, older}, false, BottleneckNone},
		"nothing is read": {[]second{
			func(s *sockdiag.Socket) { s.ReadQueue = 100 }, older,
		}, false, BottleneckServer},
		"it reads as fast as it comes": {[]second{
			func(s *sockdiag.Socket) { asked(s, 0); s.ReadQueue = 100 },
			func(s *sockdiag.Socket) { asked(s, 0); s.ReadQueue = 100 },
		}, false, BottleneckNone},
		"it reads less than comes": {[]second{
			func(s *sockdiag.Socket) { s.BytesReceived += 100000; s.ReadQueue = 65536 },
			func(s *sockdiag.Socket) { s.BytesReceived += 100000; s.ReadQueue = 65536 },
		}, false, BottleneckServer},
		"a FIN is nothing unread": {[]second{
			func(s *sockdiag.Socket) {
				older(s)
				s.State, s.ReadQueue = sockdiag.CloseWait, 1
			}, older,
		}, false, BottleneckNone},
		"send buffer full": {[]second{func(s *sockdiag.Socket) {
			s.BusyTime += 1000 * ms
			s.SndbufLimited += 500 * ms
		}}, false, BottleneckServer},
		"another connection": {[]second{func(s *sockdiag.Socket) {
			s.Cookie = 2
			s.RwndLimited += 1000 * ms
		}}, false, BottleneckNone},
	} {
		t.Run(name, func(t *testing.T) {
			var h Health
			now := quiet()
			if word := h.Refresh(nil, &now, 0, c.walsender); word != BottleneckNone {
				t.Errorf("at first %q", word)
			}
			word := ""
			for _, change := range c.seconds {
				before := now
				change(&now)
				word = h.Refresh(&before, &now, time.Second, c.walsender)
			}
			if word != c.want {
				t.Errorf("got %q, want %q", word, c.want)
			}
		})
	}
}

// TestNoTime: two looks at one moment say nothing.
func TestNoTime(t *testing.T) {
	var h Health
	before := quiet()
	now := before
	now.RwndLimited += 1e9
	if word := h.Refresh(&before, &now, 0, false); word != BottleneckNone {
		t.Errorf("got %q", word)
	}
}

// TestRequestAtFirst: a request that waited before the connection was first seen, by an agent
// that has just started.
func TestRequestAtFirst(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*sockdiag.Socket)
		want   string
	}{
		"answered": {func(*sockdiag.Socket) {}, BottleneckNone},
		"open":     {func(s *sockdiag.Socket) { s.LastDataRecv = s.LastDataSent - 4 }, BottleneckServer},
		"the first one": {func(s *sockdiag.Socket) {
			s.BytesSent, s.LastDataRecv = 0, s.LastDataSent
		}, BottleneckServer},
		"nobody knows": {func(s *sockdiag.Socket) { s.LastDataRecv = s.LastDataSent }, BottleneckNone},
	} {
		var h Health
		before := quiet()
		before.LastDataRecv = before.LastDataSent + 4
		c.change(&before)
		h.Refresh(nil, &before, 0, false)
		now := before
		older(&now)
		if word := h.Refresh(&before, &now, time.Second, false); word != c.want {
			t.Errorf("%s: %q, want %q", name, word, c.want)
		}
	}
}
