package ebpf

// The tables of clients hold a value for each possible processor, also those
// that are not there, so their size follows from the memory they may take.

const (
	tablesMemory = 15 << 20 // bytes of kernel memory for all tables of clients and devices
	maxClients   = 65536    // clients in one half of one family's table
	minDevices   = 64
	maxDevices   = 512

	countersSize = 32
	elementSize  = 48 // the kernel's struct htab_elem
	bucketSize   = 16
	pointerSize  = 8
	client4Size  = 8
	client6Size  = 32
)

// sizes are the entries of the tables.
type sizes struct {
	clients4, clients6 int // in each of the two halves
	devices            int
}

// sizesFor divides the memory: a tenth at most for the devices, and of the
// rest two parts for IPv4 and one for IPv6, each in two halves.
func sizesFor(cpus int) sizes {
	values := countersSize * cpus
	s := sizes{devices: clamp(tablesMemory/10/(2*values), minDevices, maxDevices)}
	rest := tablesMemory - s.devices*2*values
	s.clients4 = fit(rest*2/3/2, elementSize+client4Size+pointerSize+values)
	s.clients6 = fit(rest/3/2, elementSize+client6Size+pointerSize+values)
	return s
}

// fit gives how many entries of a hash table of the kernel fit into bytes. It
// has as many buckets as the next power of two.
func fit(bytes, entry int) int {
	n := min(bytes/(entry+bucketSize), maxClients)
	for n > 1 && n*entry+buckets(n)*bucketSize > bytes {
		n -= max(1, n/256)
	}
	return max(n, 1)
}

func buckets(entries int) int {
	n := 1
	for n < entries {
		n *= 2
	}
	return n
}

func clamp(n, low, high int) int { return max(low, min(n, high)) }
