/*
 * save.c
 *		Writes the active set, and what it does not contain yet, to a file.
 *
 * The worker does so from time to time and the postmaster at an orderly end,
 * never both at once: the postmaster does so when no child is left.
 */
#include "save.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/timestamp.h"

#include "events.h"
#include "ring.h"
#include "savefile.h"
#include "settings.h"
#include "shmem.h"

/* Where the parts of the file go: once into its checksum, and then into it. */
typedef struct Sink
{
	int			fd;				/* -1 for the checksum */
	pg_crc32c	crc;
	bool		failed;
} Sink;

static void
put(Sink *sink, const void *data, size_t len)
{
	const char *rest = data;

	if (sink->fd < 0)
	{
		COMP_CRC32C(sink->crc, data, len);
		return;
	}
	while (len > 0 && !sink->failed)
	{
		ssize_t		written = write(sink->fd, rest, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			errno = written == 0 ? ENOSPC : errno;
			sink->failed = true;
			return;
		}
		rest += written;
		len -= written;
	}
}

static void
put_slice(Sink *sink, PgnSlice slice)
{
	put(sink, slice.data, slice.len);
}

/* All behind the header. */
static void
put_contents(Sink *sink, const PgnSet *set)
{
	PgnSlice	events[2];

	for (uint32 i = 0; i < set->count; i++)
	{
		const PgnEntry *entry = &set->entries[i];
		SaveEntry	saved;

		memcpy(saved.name, entry->name, sizeof(saved.name));
		saved.len = entry->len;
		put(sink, &saved, sizeof(saved));
		put_slice(sink, pgn_entry_data(entry));
	}
	pgn_ring_parts(pgn_ring_tail(), events);
	put_slice(sink, events[0]);
	put_slice(sink, events[1]);
	for (int i = 0; i < pgn_slots_count(); i++)
	{
		const PgnSession *session = pgn_events_live(i);

		if (session != NULL)
			put(sink, session, sizeof(*session));
	}
}

static void
make_header(SaveHeader *header, const PgnSet *set)
{
	Sink		sink = {.fd = -1};

	memset(header, 0, sizeof(*header));
	header->magic = SAVE_MAGIC;
	header->version = SAVE_VERSION;
	header->count = set->count;
	header->event_seq = set->event_seq;
	header->reset_requested = pgn_shared->reset_base + pgn_shared->reset_requests;
	header->reset_applied = pgn_shared->reset_applied;
	header->published_at = set->published_at;
	header->saved_at = GetCurrentTimestamp();
	header->last_event = pgn_ring_last();
	header->events_len = pgn_ring_head() - pgn_ring_tail();
	for (int i = 0; i < pgn_slots_count(); i++)
		header->sessions += pgn_events_live(i) != NULL;
	header->session_size = sizeof(PgnSession);

	INIT_CRC32C(sink.crc);
	put(&sink, (char *) header + CRC_FROM, sizeof(*header) - CRC_FROM);
	put_contents(&sink, set);
	FIN_CRC32C(sink.crc);
	header->crc = sink.crc;
}

static bool
write_file(int fd)
{
	const PgnSet *set = pgn_active_set();
	Sink		sink = {.fd = fd};
	SaveHeader	header;

	pgn_ring_release(set->event_seq);
	make_header(&header, set);
	put(&sink, &header, sizeof(header));
	put_contents(&sink, set);
	return !sink.failed;
}

/* Says in the log what could not be done; returns false. */
bool
pgn_save_failed(const char *doing, const char *path)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("pg_netstat: could not %s file \"%s\": %m", doing, path)));
	return false;
}

/* Writes the file; false if that failed, which is logged. Never raises an error. */
bool
pgn_save_write(void)
{
	int			fd = OpenTransientFile(SAVE_NEW, O_CREAT | O_TRUNC | O_WRONLY | PG_BINARY);

	if (fd < 0)
		return pgn_save_failed("create", SAVE_NEW);
	if (!write_file(fd))
	{
		pgn_save_failed("write", SAVE_NEW);
		CloseTransientFile(fd);
		unlink(SAVE_NEW);
		return false;
	}
	if (CloseTransientFile(fd) != 0)
		return pgn_save_failed("close", SAVE_NEW);
	/* It syncs the file, and says itself what failed. */
	return durable_rename(SAVE_NEW, SAVE_FILE, LOG) == 0;
}

/*
 * The postmaster's exit callback. After a crash or an immediate shutdown memory
 * is not to be trusted, and the file stays as it is: an exit code tells of the
 * one, a worker that did not come to its end of the other.
 */
void
pgn_save_at_exit(int code, Datum arg)
{
	(void) arg;
	if (code != 0 || pgn_shared == NULL || !pgn_save)
		return;
	/* If it was never loaded, what the file holds is not in memory. */
	if (!pgn_shared->loaded || !pgn_shared->worker_ended)
		return;
	/* Walsenders outlive the worker. */
	(void) pgn_events_take();
	if (pgn_active_set()->published_at != 0 || pgn_ring_last() > 0)
		(void) pgn_save_write();
}
