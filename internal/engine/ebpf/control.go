package ebpf

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
)

// control is the page that the program reads at each packet.
type control struct {
	page       *ebpf.Memory
	half, port int64 // offsets
}

func newControl(m *shared) (control, error) {
	page, err := m.all[controlSection].Memory()
	if err != nil {
		return control{}, fmt.Errorf("mapping the eBPF program's control page: %w", err)
	}
	at := func(name string) int64 { return int64(m.spec.Variables[name].Offset) }
	return control{page: page, half: at(programVarHalf), port: at(programVarPort)}, nil
}

// setHalf says which half is counted into from now on, by one store of a byte.
func (c control) setHalf(h half) error {
	_, err := c.page.WriteAt([]byte{byte(h)}, c.half)
	return err
}

func (c control) setPort(port uint16) error {
	_, err := c.page.WriteAt(binary.BigEndian.AppendUint16(nil, port), c.port)
	return err
}
