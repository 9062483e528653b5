package pcap

// Only the first fragment of a datagram has its ports. What it says is kept for
// the later ones, and those that come before it are kept for it. Both are rare
// for TCP: segments fit the path. So the tables are small, and where they
// are too small the oldest datagram is given up.
const (
	maxDatagrams = 1024
	maxEarly     = 4096           // fragments ahead of their first, of all datagrams
	forgetAfter  = 30_000_000_000 // ns, as the kernel's reassembly
)

type datagram struct {
	src, dst address
	id       uint32
	v6       bool
}

// early is a fragment that came before its datagram's first.
type early struct {
	ts      int64
	mark    mark
	packets uint64
	bytes   uint64
}

type fate struct {
	since int64 // ns
	known bool
	in    bool // counts as coming in, if known
	out   bool // counts as going out, likewise
	early []early
}

// fragments are the datagrams of which fragments came lately.
type fragments struct {
	fates map[datagram]*fate
	order []datagram // oldest first
	early int
}

func (p *packet) datagram() datagram {
	return datagram{p.src, p.dst, p.id, p.v6}
}

// fate gives what is known of a datagram, after dropping what is too old.
func (f *fragments) fate(d datagram, now int64) *fate {
	for len(f.order) > 0 {
		oldest := f.fates[f.order[0]]
		age := now - oldest.since
		if len(f.order) < maxDatagrams && f.early < maxEarly && age < forgetAfter && age > -forgetAfter {
			break
		}
		f.early -= len(oldest.early)
		delete(f.fates, f.order[0])
		f.order = f.order[1:]
	}
	if known := f.fates[d]; known != nil {
		return known
	}
	if f.fates == nil {
		f.fates = make(map[datagram]*fate)
	}
	made := &fate{since: now}
	f.fates[d] = made
	f.order = append(f.order, d)
	return made
}

// wait keeps a fragment for its datagram's first.
func (f *fragments) wait(t *fate, e early) {
	t.early = append(t.early, e)
	f.early++
}

// decide notes what the first fragment said, and gives those that waited for it.
func (f *fragments) decide(t *fate, in, out bool) []early {
	waited := t.early
	f.early -= len(waited)
	t.known, t.in, t.out, t.early = true, in, out, nil
	return waited
}
