package ebpf

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"
)

// control is the page that the program reads at each packet.
type control struct {
	page table
	live *uint64 // the half, and the homes of each family: see LIVE_HALF of the program
	port int
}

func newControl(m *shared) (control, error) {
	page, err := mapTable(m.all[controlSection])
	if err != nil {
		return control{}, err
	}
	at := func(name string) int { return int(m.spec.Variables[name].Offset) }
	c := control{page: page, port: at(programVarPort)}
	c.live = (*uint64)(unsafe.Pointer(&page[at(programVarLive)])) // aligned: the page and the variable are
	return c, nil
}

// setLive says which half is counted into from now on, and among how many
// entries the homes are, by one store.
func (c *control) setLive(h half, homes4, homes6 uint32) {
	if c.page == nil {
		return // closed
	}
	atomic.StoreUint64(c.live, uint64(h)|uint64(homes4)<<1|uint64(homes6)<<32)
}

func (c *control) setPort(port uint16) {
	if c.page == nil {
		return
	}
	binary.NativeEndian.PutUint16(c.page[c.port:], port)
}

func (c *control) Close() error {
	page := c.page
	c.page = nil
	return page.unmap()
}
