package capability

import (
	"errors"
	"runtime"
	"slices"
	"testing"
)

// onThread runs f on a thread of its own that may be changed for good: a
// goroutine that ends locked takes its thread with it.
func onThread(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// only leaves the thread with caps as permitted and nothing effective.
func only(t *testing.T, caps ...Cap) {
	t.Helper()
	var s sets
	for _, c := range caps {
		s[c/32].Permitted |= 1 << (c % 32)
	}
	if err := set(s); err != nil {
		t.Errorf("reducing the thread's capabilities: %v", err)
	}
}

func TestWithRaisesAndLowers(t *testing.T) {
	if len(Missing(NetRaw, BPF)) > 0 {
		t.Skipf("needs %v permitted", Missing(NetRaw, BPF))
	}
	onThread(t, func() {
		only(t, NetRaw, BPF)
		err := With([]Cap{NetRaw}, func() error {
			s, _ := get()
			if !s.effective(NetRaw) || s.effective(BPF) {
				t.Errorf("inside: %+v", s)
			}
			return With([]Cap{BPF}, func() error {
				s, _ := get()
				if !s.effective(NetRaw) || !s.effective(BPF) {
					t.Errorf("nested: %+v", s)
				}
				return nil
			})
		})
		if err != nil {
			t.Error(err)
		}
		s, _ := get()
		if s.effective(NetRaw) || s.effective(BPF) || !s.permitted(NetRaw) || !s.permitted(BPF) {
			t.Errorf("after: %+v", s)
		}
	})
}

func TestWithRunsUnpermitted(t *testing.T) {
	onThread(t, func() {
		only(t)
		want := errors.New("refused")
		if err := With([]Cap{NetRaw, BPF}, func() error { return want }); err != want {
			t.Errorf("got %v", err)
		}
		if got := Missing(NetRaw, BPF); !slices.Equal(got, []Cap{NetRaw, BPF}) {
			t.Errorf("missing: %v", got)
		}
	})
}

func TestWithLowersAfterPanic(t *testing.T) {
	if !Permitted(NetRaw) {
		t.Skip("needs CAP_NET_RAW permitted")
	}
	onThread(t, func() {
		only(t, NetRaw)
		func() {
			defer func() { recover() }()
			With([]Cap{NetRaw}, func() error { panic("in f") })
		}()
		if s, _ := get(); s.effective(NetRaw) {
			t.Error("still effective after a panic")
		}
	})
}

func TestWithSaysWhenLoweringFails(t *testing.T) {
	if !Permitted(NetRaw) {
		t.Skip("needs CAP_NET_RAW permitted")
	}
	onThread(t, func() {
		only(t, NetRaw)
		n, broken := 0, errors.New("broken")
		err := with([]Cap{NetRaw}, func() error { return nil }, func(s sets) error {
			if n++; n == 2 {
				return broken
			}
			return set(s)
		})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestUnknownNumber(t *testing.T) {
	for _, c := range []Cap{-1, 64, 1000} {
		if Permitted(c) {
			t.Errorf("%v is permitted", c)
		}
		if err := With([]Cap{c}, func() error { return nil }); err != nil {
			t.Error(err)
		}
	}
	if NetRaw.String() != "CAP_NET_RAW" || BPF.String() != "CAP_BPF" || Cap(99).String() != "capability 99" {
		t.Error("names")
	}
}
