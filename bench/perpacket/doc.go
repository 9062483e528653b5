// Package perpacket measures what the eBPF program takes for a packet, less
// what a program that does nothing takes, in one run and beside a plain one.
//
//	go test -run '^$' -bench . -benchtime 1x ./bench/perpacket/
//
// The packets are real ones through a pair of devices, from as many clients as
// each line says, so caches are as warm or cold as in use. The kernel's own
// clock of each run of a program tells the time; it costs more than some of
// what it measures, which is why the empty program is in the same run.
package perpacket
