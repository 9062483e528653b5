#define _GNU_SOURCE
#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How many packets to take of a capture before the others' turn. */
#define AT_ONCE 512

/* What a callback is told. */
struct taking
{
	struct pump *pump;
	uint32_t	capture;
};

static void
keep(u_char *user, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct taking *t = (struct taking *) user;
	struct pump *p = t->pump;
	uint32_t	at = p->head & (p->size - 1);
	struct pump_packet *to = &p->packets[at];

	to->seconds = h->ts.tv_sec;
	to->fraction = h->ts.tv_usec;
	to->wire = h->len;
	to->captured = h->caplen < p->stride ? h->caplen : p->stride;
	to->capture = t->capture;
	memcpy(p->bytes + (size_t) at * p->stride, bytes, to->captured);
	/* Also what makes the packet visible to the reader. */
	__atomic_store_n(&p->head, p->head + 1, __ATOMIC_RELEASE);
}

/* What a look at the rings gave. */
struct look
{
	uint64_t	most;		/* packets of one capture */
	bool		emptied;	/* all rings */
	uint32_t	failed;
};

/* Takes what a capture has, and gives whether that was all. */
static bool
drain_one(struct pump *p, uint32_t capture, struct look *l)
{
	struct taking t = {p, capture};
	uint64_t	sum = 0;

	for (;;)
	{
		uint64_t	room = p->size - (p->head - __atomic_load_n(&p->tail, __ATOMIC_ACQUIRE));
		uint64_t	most = room < AT_ONCE ? room : AT_ONCE;
		uint64_t	before = p->head;
		int			result;

		if (most == 0)
			return false;
		result = pcap_dispatch(p->handle[capture], (int) most, keep, (u_char *) &t);
		sum += p->head - before;
		if (sum > l->most)
			l->most = sum;
		if (result < 0 && p->head == before)
			l->failed = capture + 1;
		if (p->head - before < most)
			return true;
		if (sum > p->slots)
			return false;		/* it comes as fast as it goes */
	}
}

static struct look
drain(struct pump *p)
{
	struct look l = {0, true, 0};

	for (uint32_t i = 0; i < p->captures; i++)
		if (!drain_one(p, i, &l))
			l.emptied = false;
	return l;
}

static void
signal_event(int fd)
{
	uint64_t	one = 1;

	(void) !write(fd, &one, sizeof(one));
}

/* Tells whether the reader should not wait for its time. */
static bool
crowded(struct pump *p)
{
	return p->head - __atomic_load_n(&p->tail, __ATOMIC_ACQUIRE) > p->size / 2;
}

/* Waits for the time to pass or, if for_packet, for a packet. */
static void
rest(struct pump *p, int ms, bool for_packet)
{
	struct pollfd fds[1 + PUMP_CAPTURES];
	uint64_t	count;
	nfds_t		n = 1;

	fds[0].fd = p->wake;
	fds[0].events = POLLIN;
	fds[0].revents = 0;
	for (uint32_t i = 0; for_packet && i < p->captures; i++, n++)
	{
		fds[n].fd = pcap_get_selectable_fd(p->handle[i]);
		fds[n].events = POLLIN;
	}
	(void) poll(fds, n, ms);
	if (fds[0].revents != 0)
		(void) !read(p->wake, &count, sizeof(count));
}

static void
tell(struct pump *p, const struct look *l, uint64_t asked)
{
	if (l->emptied && asked != p->answered)
	{
		__atomic_store_n(&p->answered, asked, __ATOMIC_SEQ_CST);
		signal_event(p->news);
	}
	else if (l->most > 0 && (crowded(p) || __atomic_load_n(&p->sleeping, __ATOMIC_SEQ_CST) != 0))
		signal_event(p->news);
}

/*
 * Asks the scheduler for short turns, which come sooner. It needs no privilege;
 * kernels before Linux 6.12 take no notice, and a refusal does no harm.
 */
static void
be_prompt(void)
{
	struct
	{
		uint32_t	size;
		uint32_t	policy;
		uint64_t	flags;
		int32_t		nice;
		uint32_t	priority;
		uint64_t	runtime;	/* ns */
		uint64_t	deadline;
		uint64_t	period;
	}			attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.size = sizeof(attributes);
	attributes.flags = 0x08;	/* SCHED_FLAG_KEEP_POLICY */
	attributes.nice = getpriority(PRIO_PROCESS, 0);
	attributes.runtime = 200 * 1000;
	(void) syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static void *
run(void *arg)
{
	struct pump *p = arg;
	int			pause = 1;
	bool		waited = false;

	be_prompt();

	while (__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE) == 0)
	{
		uint64_t	asked = __atomic_load_n(&p->asked, __ATOMIC_SEQ_CST);
		struct look l = drain(p);

		if (l.failed != 0)
		{
			__atomic_store_n(&p->failed, l.failed, __ATOMIC_SEQ_CST);
			break;
		}
		tell(p, &l, asked);
		if (l.most > p->slots / 4 || !l.emptied)
			pause = pause > 1 ? pause / 2 : 1;
		else if (l.most < p->slots / 8)
			pause = pause * 2 < p->longest ? pause * 2 : p->longest;

		/*
		 * With nothing there, wait for a packet; but a device that is down says
		 * forever that there is one. What comes after silence may come fast.
		 */
		if (l.most == 0 && !waited)
		{
			rest(p, p->timeout, true);
			pause = 1;
		}
		else
			rest(p, pause, false);
		waited = l.most == 0 && !waited;
	}
	signal_event(p->news);
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
pump_new(uint32_t size, uint32_t stride)
{
	struct pump *p = calloc(1, sizeof(struct pump));

	if (p == NULL)
		return NULL;
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
pump_add(struct pump *p, uintptr_t handle)
{
	p->handle[p->captures++] = (pcap_t *) handle;
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
