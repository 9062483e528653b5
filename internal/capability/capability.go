// Package capability raises Linux capabilities for the length of one function.
//
// The agent's file carries its capabilities as permitted only (setcap …+p), so
// that it starts also where a container's bounding set lacks one. A privileged
// call has to raise what it needs into the effective set, and that set belongs
// to a thread, not to the process: With locks the goroutine to its thread.
package capability

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Cap is a capability by its number in linux/capability.h.
type Cap int

// The capabilities that the agent has a use for.
const (
	NetRaw Cap = unix.CAP_NET_RAW // packet sockets
	BPF    Cap = unix.CAP_BPF     // maps and programs
)

// String gives the kernel's name, as setcap and capsh write it.
func (c Cap) String() string {
	switch c {
	case NetRaw:
		return "CAP_NET_RAW"
	case BPF:
		return "CAP_BPF"
	}
	return fmt.Sprintf("capability %d", int(c))
}

// sets are the calling thread's capabilities, two words of 32 bits.
type sets [2]unix.CapUserData

func (s *sets) permitted(c Cap) bool {
	return c.known() && s[c/32].Permitted&(1<<(c%32)) != 0
}

func (s *sets) effective(c Cap) bool {
	return c.known() && s[c/32].Effective&(1<<(c%32)) != 0
}

func (s *sets) raise(c Cap) { s[c/32].Effective |= 1 << (c % 32) }

// known keeps a number from outside from indexing past the two words.
func (c Cap) known() bool { return c >= 0 && c < 64 }

func get() (s sets, err error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	err = unix.Capget(&h, &s[0])
	return s, err
}

func set(s sets) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&h, &s[0])
}

// With runs f on one thread on which those of caps that are permitted are
// effective, and makes them ineffective again. It runs f also when one is not
// permitted: then the kernel's own refusal tells, and root in a user namespace
// or an older kernel with other rules is not kept from trying. Calls nest.
//
// f must make its privileged calls itself, not in goroutines that it starts.
func With(caps []Cap, f func() error) error {
	return with(caps, f, set)
}

func with(caps []Cap, f func() error, set func(sets) error) (err error) {
	runtime.LockOSThread()
	before, err := get()
	if err != nil {
		defer runtime.UnlockOSThread()
		return f()
	}
	raised, changed := before, false
	for _, c := range caps {
		if before.permitted(c) && !before.effective(c) {
			raised.raise(c)
			changed = true
		}
	}
	if !changed {
		defer runtime.UnlockOSThread()
		return f()
	}
	if err := set(raised); err != nil {
		defer runtime.UnlockOSThread()
		return errors.Join(f(), fmt.Errorf("raising capabilities: %w", err))
	}
	// Also when f panics. A thread that could not be lowered stays locked to
	// this goroutine, so that it ends with it and no other runs on it.
	defer func() {
		if low := set(before); low != nil {
			err = errors.Join(err, fmt.Errorf("lowering capabilities: %w", low))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Permitted tells whether With can make c effective.
func Permitted(c Cap) bool {
	s, err := get()
	return err == nil && s.permitted(c)
}

// Missing gives those of caps that are not permitted, in their order.
func Missing(caps ...Cap) []Cap {
	var missing []Cap
	for _, c := range caps {
		if !Permitted(c) {
			missing = append(missing, c)
		}
	}
	return missing
}
