// Package host is what the agent finds on the machine it runs on: its network,
// and the engines that may run on it.
package host

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/pg-netstat/pg_netstat/internal/agent"
	"github.com/pg-netstat/pg_netstat/internal/device"
	"github.com/pg-netstat/pg_netstat/internal/engine"
	"github.com/pg-netstat/pg_netstat/internal/view"
)

// Network is the network of the namespace that the agent, and so the server, is in.
type Network struct {
	// The server's listening sockets hardly ever change, and to find them its
	// files have to be looked through: they are kept for a while.
	listeners []netip.Addr
	doubt     string
	age       time.Time
}

// listenersFor is how long the listening sockets are taken to be the same.
const listenersFor = 20 * time.Second

var _ agent.Network = (*Network)(nil)

// Find says what to count now.
func (n *Network) Find(c agent.Config) (agent.Found, error) {
	s, err := device.Scan()
	if err != nil {
		return agent.Found{}, err
	}
	if len(n.listeners) == 0 || time.Since(n.age) > listenersFor {
		n.listeners, n.doubt = device.Listeners(c.PostmasterPID, c.Port, c.ListenAddresses)
		n.age = time.Now()
	}
	sel := device.Select(s, c.Devices, n.listeners)
	found := agent.Found{
		Target: engine.Target{
			Port: c.Port, Devices: sel.Devices,
			Local: device.Local(s, n.listeners), Bearers: device.Bearers(s, sel.Devices),
		},
		State:    func(name string) string { return state(s, name) },
		Down:     sel.Down,
		Warnings: slices.Clone(sel.Warnings),
		Inexact:  sel.Doubled,
	}
	if n.doubt != "" {
		found.Warnings = append(found.Warnings, n.doubt)
	}
	return found, nil
}

// state says what a device that is not counted on is doing.
func state(s device.Snapshot, name string) string {
	i := slices.IndexFunc(s.Links, func(l device.Link) bool { return l.Name == name })
	switch {
	case i < 0:
		return view.Gone
	case !s.Links[i].Up:
		return "down"
	default:
		return "not counted"
	}
}

// Watch calls changed whenever devices, addresses or local routes change.
func (n *Network) Watch(ctx context.Context, changed func()) error {
	return device.Watch(ctx, changed)
}
