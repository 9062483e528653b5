package ebpf

// The tables have a part for each possible processor, also those that are not
// there, so their size follows from the memory they may take.

const (
	tablesMemory = 15 << 20 // bytes of kernel memory for all tables of clients and devices
	maxTable     = 4 << 20  // bytes of one table: kernels before 6.0 allow no more
	minDevices   = 64
	maxDevices   = 512

	countersSize = 32
	cacheLine    = 64
	headSize     = 64 // struct head of the program
	placeSize    = 4
	key4Size     = 8
	key6Size     = 32
	search       = 21 // SEARCH of the program
)

// extent is how a table of clients is laid out. Both halves of a family have the same.
type extent = programExtent

// sizes are those of all tables.
type sizes struct {
	cpus    int
	devices int
	v4, v6  extent
}

// sizesFor divides the memory: a tenth at most for the devices, and of the
// rest two parts for IPv4 and one for IPv6, each in two halves.
func sizesFor(cpus int) sizes {
	s := sizes{cpus: cpus, devices: clamp(tablesMemory/10/(2*countersSize*cpus), minDevices, maxDevices)}
	rest := tablesMemory - s.devicesBytes()
	s.v4 = extentFor(min(rest*2/3/2, maxTable)/cpus, key4Size)
	s.v6 = extentFor(min(rest/3/2, maxTable)/cpus, key6Size)
	return s
}

// extentFor lays out a part of so many bytes. Five eighths of the entries may
// be used: searches are short then.
func extentFor(bytes, keySize int) extent {
	entry := keySize + countersSize
	entries := max((bytes-headSize-cacheLine)*8/(entry*8+placeSize*5), search+3)
	room := entries * 5 / 8
	places := headSize + entries*entry
	return extent{
		Part:   uint32(roundUp(places+room*placeSize, cacheLine)),
		Homes:  uint32(entries - search + 1),
		Room:   uint32(room),
		Places: uint32(places),
	}
}

// homesFor gives among how many entries the homes are where a processor has so
// many clients: few, so that it touches little memory, and not so few that they
// crowd. Who is crowded out, because there are more than expected, is behind
// those: so they are not more than half, or all.
func homesFor(e extent, clients uint32) uint32 {
	few := max(2*clients, leastHomes)
	if few > e.Homes/2 {
		return e.Homes
	}
	return few
}

const leastHomes = 256

// devicesPart is what a processor has for the devices, in bytes.
func (s sizes) devicesPart() int { return s.devices * 2 * countersSize }

func (s sizes) devicesBytes() int { return s.cpus * s.devicesPart() }

func roundUp(n, to int) int { return (n + to - 1) / to * to }

func clamp(n, low, high int) int { return max(low, min(n, high)) }
