package session

import (
	"time"

	"github.com/pg-netstat/pg_netstat/internal/account"
	"github.com/pg-netstat/pg_netstat/internal/link"
)

// Saved is a session as an earlier agent published it.
type Saved struct {
	Serial     uint64
	Connected  time.Time
	Account    link.Account
	Seen, Base link.Traffic
	Known      bool
	Network    string
	Folded     uint8
}

// Restore takes the sessions that an earlier agent has published together with
// the accounts, which must have been restored before. Those that have ended since are in
// the worker's events.
func (r *Register) Restore(sessions []Saved) {
	for _, s := range sessions {
		if _, twice := r.saved[s.Serial]; twice {
			continue
		}
		r.saved[s.Serial] = s
		r.Who.Carry(account.SavedShare{
			Account: s.Account, Traffic: beyond(s.Seen, s.Base), Network: s.Network, Folded: s.Folded,
		})
	}
}
