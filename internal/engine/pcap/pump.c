#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How many packets to take before the reader may see them. */
#define AT_ONCE 512

/* After how many ms without a packet to wait for one instead of for a time. */
#define QUIET 1000

static void
keep(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct pump *p = (struct pump *) user;
	uint32_t	at = p->head & (p->size - 1);
	struct pump_packet *to = &p->packets[at];

	to->seconds = h->ts.tv_sec;
	to->fraction = h->ts.tv_usec;
	to->wire = h->len;
	to->captured = h->caplen < p->stride ? h->caplen : p->stride;
	memcpy(p->bytes + (size_t) at * p->stride, bytes, to->captured);
	/* Also what makes the packet visible to the reader. */
	__atomic_store_n(&p->head, p->head + 1, __ATOMIC_RELEASE);
}

/*
 * Takes what there is. Gives the number of packets, or -1 if there were none
 * because the capture cannot be read.
 */
static long
drain(struct pump *p, bool *emptied)
{
	uint64_t	before = p->head;

	*emptied = false;
	for (;;)
	{
		uint64_t	tail = __atomic_load_n(&p->tail, __ATOMIC_ACQUIRE);
		uint64_t	start = p->head;
		uint64_t	room = p->size - (start - tail);
		int			most = room < AT_ONCE ? (int) room : AT_ONCE;
		int			result;

		if (most == 0)
			break;
		result = pcap_dispatch(p->handle, most, keep, (u_char *) p);
		if (result < 0 && p->head == before)
			return -1;
		if (p->head - start < (uint64_t) most)
		{
			*emptied = true;
			break;
		}
	}
	return (long) (p->head - before);
}

static void
signal_event(int fd)
{
	uint64_t	one = 1;

	(void) !write(fd, &one, sizeof(one));
}

static void
tell(struct pump *p)
{
	if (__atomic_exchange_n(&p->sleeping, 0, __ATOMIC_SEQ_CST) != 0)
		signal_event(p->news);
}

/* Waits for the time to pass or, if for_packet, for a packet. */
static void
rest(struct pump *p, int ms, bool for_packet)
{
	struct pollfd fds[2];
	uint64_t	count;

	fds[0].fd = p->wake;
	fds[0].events = POLLIN;
	fds[0].revents = 0;
	fds[1].fd = for_packet ? pcap_get_selectable_fd(p->handle) : -1;
	fds[1].events = POLLIN;
	(void) poll(fds, 2, ms);
	if (fds[0].revents != 0)
		(void) !read(p->wake, &count, sizeof(count));
}

static void *
run(void *arg)
{
	struct pump *p = arg;
	int			pause = 1;
	int			quiet = 0;

	while (__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE) == 0)
	{
		uint64_t	asked = __atomic_load_n(&p->asked, __ATOMIC_SEQ_CST);
		bool		emptied;
		long		n = drain(p, &emptied);

		if (n < 0)
		{
			__atomic_store_n(&p->failed, 1, __ATOMIC_SEQ_CST);
			break;
		}
		if (emptied && asked != p->answered)
		{
			__atomic_store_n(&p->answered, asked, __ATOMIC_SEQ_CST);
			tell(p);
		}
		else if (n > 0)
			tell(p);

		if (n > p->slots / 4 || !emptied)
			pause = pause > 1 ? pause / 2 : 1;
		else if (n < p->slots / 8)
			pause = pause * 2 < p->longest ? pause * 2 : p->longest;
		quiet = n > 0 ? 0 : quiet + pause;
		if (quiet < QUIET)
			rest(p, pause, false);
		else
		{
			quiet = 0;
			rest(p, p->timeout, true);
		}
	}
	tell(p);
	return NULL;
}

int
pump_start(struct pump *p)
{
	sigset_t	all,
				before;
	int			error;

	/* Signals are for the threads that Go knows. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&p->thread, NULL, run, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

struct pump *
pump_new(uintptr_t handle, uint32_t size, uint32_t stride)
{
	struct pump *p = calloc(1, sizeof(struct pump));

	if (p == NULL)
		return NULL;
	p->handle = (pcap_t *) handle;
	p->size = size;
	p->stride = stride;
	p->packets = calloc(size, sizeof(struct pump_packet));
	p->bytes = malloc((size_t) size * stride);
	if (p->packets == NULL || p->bytes == NULL)
	{
		pump_free(p);
		return NULL;
	}
	return p;
}

void
pump_join(struct pump *p)
{
	pthread_join(p->thread, NULL);
}

void
pump_free(struct pump *p)
{
	free(p->packets);
	free(p->bytes);
	free(p);
}
