// Package least makes a program that imports it run with no more capabilities
// than CAP_NET_RAW and CAP_BPF, permitted and not effective.
//
// Capabilities belong to threads, and Go's runtime has started several before
// the first line of Go runs. A thread cannot change another's sets, and the
// runtime's way of calling on all threads is closed to programs with cgo. So
// this is a C constructor: it runs before the runtime, while the process has one
// thread, and every later one inherits what it leaves. It also means that the
// import is enough and that what is kept is fixed when the program is built.
//
// A program that starts by its file's capabilities has only what the file says
// and this changes nothing; it matters for one that root starts. The ambient
// and inheritable sets are emptied too. It cannot fail but where the kernel has
// no capget, and then there is nothing to drop.
package least

/*
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CAP_BPF
#define CAP_BPF 39
#endif

__attribute__((constructor)) static void
drop_all_but_what_packets_need(void)
{
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct sets[2];
	int i;

	memset(&header, 0, sizeof(header));
	memset(sets, 0, sizeof(sets));
	header.version = _LINUX_CAPABILITY_VERSION_3;
	if (syscall(SYS_capget, &header, sets) != 0)
		return;
	sets[CAP_NET_RAW / 32].permitted &= 1U << (CAP_NET_RAW % 32);
	sets[CAP_BPF / 32].permitted &= 1U << (CAP_BPF % 32);
	for (i = 0; i < 2; i++)
	{
		sets[i].effective = 0;
		sets[i].inheritable = 0;
	}
	(void) syscall(SYS_capset, &header, sets);
}
*/
import "C"
