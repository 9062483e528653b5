// Command drain counts packets as the pg_netstat of 2022 did: two libpcap handles a
// device, one each way, with its settings (buffer 1,000,000 bytes, snapshot length
// 96, timeout 1,000 ms), that do not block and are emptied once a second. It
// prints the packets that it saw when SIGTERM ends it.
//
// It calls libpcap itself: gopacket's handles wait when they are empty.
package main

/*
#cgo LDFLAGS: -lpcap
#include <pcap/pcap.h>
#include <stdlib.h>

static pcap_t *
capture(const char *device, const char *filter, char *error)
{
	struct bpf_program program;
	pcap_t *p = pcap_create(device, error);

	if (p == NULL)
		return NULL;
	pcap_set_buffer_size(p, 1000000);
	pcap_set_snaplen(p, 96);
	pcap_set_timeout(p, 1000);
	if (pcap_activate(p) < 0 || pcap_setnonblock(p, 1, error) < 0 ||
		pcap_compile(p, &program, filter, 1, PCAP_NETMASK_UNKNOWN) < 0 ||
		pcap_setfilter(p, &program) < 0)
		return NULL;
	return p;
}

static long
take_all(pcap_t *p)
{
	struct pcap_pkthdr *header;
	const u_char *data;
	long packets = 0;

	while (pcap_next_ex(p, &header, &data) == 1)
		packets++;
	return packets;
}
*/
import "C"

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	device := flag.String("device", "eth0", "device to capture on")
	port := flag.Uint("port", 5432, "port of the server")
	flag.Parse()
	if err := run(*device, *port); err != nil {
		fmt.Fprintln(os.Stderr, "drain:", err)
		os.Exit(1)
	}
}

func run(device string, port uint) error {
	var handles []*C.pcap_t
	for _, direction := range []string{"dst", "src"} {
		h, err := open(device, fmt.Sprintf("tcp and %s port %d", direction, port))
		if err != nil {
			return err
		}
		defer C.pcap_close(h)
		handles = append(handles, h)
	}
	fmt.Println("ready")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	packets := C.long(0)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for running := true; running; {
		select {
		case <-second.C:
		case <-ended:
			running = false
			time.Sleep(time.Second) // what the kernel still holds back
		}
		for _, h := range handles {
			packets += C.take_all(h)
		}
	}
	fmt.Println(packets)
	return nil
}

func open(device, filter string) (*C.pcap_t, error) {
	name, expression := C.CString(device), C.CString(filter)
	message := (*C.char)(C.calloc(1, C.PCAP_ERRBUF_SIZE))
	defer func() {
		for _, p := range []*C.char{name, expression, message} {
			C.free(unsafe.Pointer(p))
		}
	}()
	if h := C.capture(name, expression, message); h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("capturing on %s: %s", device, C.GoString(message))
}
