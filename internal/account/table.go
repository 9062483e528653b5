package account

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Special sets rows apart that are not of one database, role, client and the like.
type Special byte

// Special rows.
const (
	Named    Special = iota // an ordinary row
	None                    // of no session, or of no statement
	Other                   // of those that have no row of their own
	Local                   // of Unix-domain sockets
	Protocol                // of messages that belong to no statement
)

// String gives what the views show for a special row.
func (s Special) String() string {
	switch s {
	case None:
		return "(none)"
	case Other:
		return Others
	case Local:
		return "(local)"
	case Protocol:
		return "(protocol)"
	case Named:
	}
	return ""
}

// Key says which row.
type Key[T comparable] struct {
	Special Special
	Of      T
}

// amounts are what the rows of a table add up.
type amounts[V any] interface {
	Plus(V) V
	Minus(V) V
	flow() Flow
	weight() int64
}

// Flow is what speeds are made of.
type Flow struct{ In, Out int64 }

// Entry is what a row adds up. What live sessions did until now is apart from the
// settled part, to which their backends add it once and for all at their end.
type Entry[V amounts[V]] struct {
	settled  V // may be negative: a reset takes what is live from it
	live     V
	sessions int       // that live now
	before   Flow      // at the last refresh
	into     *Entry[V] // of the row Other, once the row was folded: there all of it is added
}

// shown is the entry of the row that shows what is added to this one.
func (e *Entry[V]) shown() *Entry[V] {
	if e.into != nil {
		return e.into
	}
	return e
}

// close takes a live session out of the row.
func (e *Entry[V]) close() {
	e.sessions--
	if e.into != nil {
		e.into.sessions--
	}
}

// Row is a row of a table. To other packages it is read only.
type Row[T comparable, V amounts[V]] struct {
	Key   Key[T]
	Label string    // what the key was called last
	Since time.Time // when the row was made
	Speed Speed     // over the last refresh

	*Entry[V]
}

// Speed is in bytes per second.
type Speed struct{ In, Out float64 }

// Total is what the row shows.
func (r *Row[T, V]) Total() V { return r.settled.Plus(r.live) }

// Settled is the part of it that does not depend on live sessions.
func (r *Row[T, V]) Settled() V { return r.settled }

// Sessions counts those that live now.
func (r *Row[T, V]) Sessions() int { return r.sessions }

// Table adds up by key. Beyond its bound the least useful rows are added to the
// row Other, so that sums stay exact. A row of live sessions is folded after all
// others; since they go on, it stays in the table without being shown, as a name for what
// is added to Other, until they have ended.
type Table[T comparable, V amounts[V]] struct {
	now    time.Time // of what is entered
	bound  int       // rows shown; 0 for no bound
	rows   map[Key[T]]*Row[T, V]
	folded []*Row[T, V] // those not shown
	// full says that nearly all rows are of live sessions. To find the few others for
	// each new row would take longer than a flood of new keys allows, so until the next
	// refresh what is new belongs to the row Other.
	full bool
}

func newTable[T comparable, V amounts[V]]() *Table[T, V] {
	return &Table[T, V]{rows: map[Key[T]]*Row[T, V]{}}
}

// Bounded is a table whatever its rows are of.
type Bounded interface {
	Len() int
	Bound(rows int)
}

// Len counts the rows that are shown.
func (t *Table[T, V]) Len() int { return len(t.rows) - len(t.folded) }

// All gives the rows that are shown, in no order.
func (t *Table[T, V]) All() iter.Seq[*Row[T, V]] {
	return func(yield func(*Row[T, V]) bool) {
		for _, r := range t.rows {
			if r.into == nil && !yield(r) {
				return
			}
		}
	}
}

// Find gives the row of a key, nil if none is shown.
func (t *Table[T, V]) Find(k Key[T]) *Row[T, V] {
	if r := t.rows[k]; r != nil && r.into == nil {
		return r
	}
	return nil
}

// add adds to the settled part of a key.
func (t *Table[T, V]) add(k Key[T], label string, v V) {
	e := t.row(k, label, false).shown()
	e.settled = e.settled.Plus(v)
}

// open makes a live session part of a key's row.
func (t *Table[T, V]) open(k Key[T], label string) *Entry[V] {
	e := t.row(k, label, true).Entry
	e.sessions++
	if e.into != nil {
		e.into.sessions++
	}
	return e
}

// row finds or makes a key's row, or where there is no room for it the row Other; a live
// session gets its own, which is then not shown.
func (t *Table[T, V]) row(k Key[T], label string, live bool) *Row[T, V] {
	if r := t.rows[k]; r != nil {
		if label != "" {
			r.Label = label
		}
		return r
	}
	if !t.full {
		t.makeRoom(1)
	}
	if r := t.rows[k]; r != nil {
		return r // it is Other, made for those that were folded
	}
	if !t.full || k.essential() || t.Len() < t.bound {
		return t.put(k, label)
	}
	other := t.specialRow(Other)
	if !live {
		return other
	}
	r := t.put(k, label)
	r.into = other.Entry
	t.folded = append(t.folded, r)
	return r
}

func (t *Table[T, V]) put(k Key[T], label string) *Row[T, V] {
	r := &Row[T, V]{Key: k, Label: label, Since: t.now, Entry: &Entry[V]{}}
	t.rows[k] = r
	return r
}

// Bound changes how many rows are shown at most, 0 for any number.
func (t *Table[T, V]) Bound(rows int) {
	t.bound, t.full = rows, false
	t.makeRoom(0)
}

// makeRoom folds rows so that n more are within the bound. Of those without live
// sessions it folds an eighth of the bound at a time, so as not to look through all
// rows for each new one.
func (t *Table[T, V]) makeRoom(n int) {
	if t.bound == 0 || t.Len()+n <= t.bound {
		return
	}
	t.drop()
	other := t.specialRow(Other)
	ended := 0 // rows without live sessions that were folded
	for i, r := range t.leastUseful() {
		enough := t.Len()+n <= t.bound
		if enough && (r.sessions > 0 || i >= t.bound/8) {
			break
		}
		if r.sessions == 0 {
			ended++
		}
		t.fold(r, other)
	}
	t.full = ended < t.bound/8
}

// leastUseful sorts the rows that may be folded: first those without live
// sessions, first those with the least bytes.
func (t *Table[T, V]) leastUseful() iter.Seq2[int, *Row[T, V]] {
	type candidate struct {
		*Row[T, V]
		live   bool
		weight int64
	}
	all := make([]candidate, 0, t.Len())
	for r := range t.All() {
		if !r.Key.essential() {
			all = append(all, candidate{r, r.sessions > 0, r.Total().weight()})
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.live != b.live {
			if a.live {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.weight, b.weight)
	})
	return func(yield func(int, *Row[T, V]) bool) {
		for i, c := range all {
			if !yield(i, c.Row) {
				return
			}
		}
	}
}

// essential tells whether the row may not be folded.
func (k Key[T]) essential() bool {
	var zero T
	return k.Special != Named && k.Of == zero
}

// specialRow finds or makes a special row, also beyond the bound.
func (t *Table[T, V]) specialRow(s Special) *Row[T, V] {
	k := Key[T]{Special: s}
	if r := t.rows[k]; r != nil {
		return r
	}
	return t.put(k, "")
}

// fold adds a row to another.
func (t *Table[T, V]) fold(r, other *Row[T, V]) {
	to := other.Entry
	to.settled, to.live = to.settled.Plus(r.settled), to.live.Plus(r.live)
	to.before = Flow{to.before.In + r.before.In, to.before.Out + r.before.Out}
	to.sessions += r.sessions
	if r.sessions == 0 {
		delete(t.rows, r.Key)
		return
	}
	*r.Entry = Entry[V]{sessions: r.sessions, into: to}
	t.folded = append(t.folded, r)
}

// drop forgets folded rows whose sessions have ended.
func (t *Table[T, V]) drop() {
	t.folded = slices.DeleteFunc(t.folded, func(r *Row[T, V]) bool {
		if r.sessions == 0 {
			delete(t.rows, r.Key)
		}
		return r.sessions == 0
	})
}

// reset makes every row show zero, and forgets those of no live session.
func (t *Table[T, V]) reset() {
	t.full = false
	t.drop()
	for k, r := range t.rows {
		if r.sessions == 0 {
			delete(t.rows, k)
			continue
		}
		if r.into == nil {
			var zero V
			r.settled, r.before = zero.Minus(r.live), Flow{}
		}
		r.Since, r.Speed = t.now, Speed{}
	}
}

// refresh computes the speeds over the time since it last did, and forgets what
// is no longer needed.
func (t *Table[T, V]) refresh(covered time.Duration) {
	t.full = false
	t.drop()
	for r := range t.All() {
		done, live := r.settled.flow(), r.live.flow() // the rest of the sum is not needed
		now := Flow{done.In + live.In, done.Out + live.Out}
		if s := covered.Seconds(); s > 0 {
			r.Speed = Speed{float64(now.In-r.before.In) / s, float64(now.Out-r.before.Out) / s}
		}
		r.before = now
	}
}
