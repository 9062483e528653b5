/*
 * save.c
 *		Writes the active set to a file and reads it back.
 *
 * The file is in pg_stat_tmp, which base backups and pg_rewind leave out: a
 * standby must not inherit the totals of its primary. It is written by the
 * worker from time to time and by the postmaster at an orderly end, never by
 * both at once: the postmaster does so when no child is left.
 *
 * Form: a header, then for each snapshot its name, its length and its bytes, in
 * this machine's byte order. A checksum covers all behind it.
 */
#include "save.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pgstat.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "rows.h"
#include "settings.h"
#include "shmem.h"

#define SAVE_FILE PG_STAT_TMP_DIR "/pg_netstat.stat"
#define SAVE_NEW SAVE_FILE ".new"
#define SAVE_DAMAGED SAVE_FILE ".damaged"
#define SAVE_MAGIC 0x504E5354
#define SAVE_VERSION 1

typedef struct SaveHeader
{
	uint32		magic;
	pg_crc32c	crc;			/* of what follows, and of the rest of the file */
	uint32		version;
	uint32		count;
	uint64		event_seq;
	uint64		reset_requested;
	uint64		reset_applied;	/* less than requested if one is pending */
	TimestampTz published_at;
	TimestampTz saved_at;
} SaveHeader;

/* What stands before the bytes of each snapshot. */
typedef struct SaveEntry
{
	char		name[PGN_NAME_MAX + 1];
	uint64		len;
} SaveEntry;

#define CRC_FROM offsetof(SaveHeader, version)

static void
make_entry(SaveEntry *saved, const PgnEntry *entry)
{
	memcpy(saved->name, entry->name, sizeof(saved->name));
	saved->len = entry->len;
}

static void
make_header(SaveHeader *header, const PgnSet *set)
{
	memset(header, 0, sizeof(*header));
	header->magic = SAVE_MAGIC;
	header->version = SAVE_VERSION;
	header->count = set->count;
	header->event_seq = set->event_seq;
	header->reset_requested = pgn_shared->reset_base + pgn_shared->reset_requests;
	header->reset_applied = pgn_shared->reset_applied;
	header->published_at = set->published_at;
	header->saved_at = GetCurrentTimestamp();

	INIT_CRC32C(header->crc);
	COMP_CRC32C(header->crc, (char *) header + CRC_FROM, sizeof(*header) - CRC_FROM);
	for (uint32 i = 0; i < set->count; i++)
	{
		PgnSlice	data = pgn_entry_data(&set->entries[i]);
		SaveEntry	saved;

		make_entry(&saved, &set->entries[i]);
		COMP_CRC32C(header->crc, &saved, sizeof(saved));
		COMP_CRC32C(header->crc, data.data, data.len);
	}
	FIN_CRC32C(header->crc);
}

static bool
write_all(int fd, const void *data, size_t len)
{
	const char *rest = data;

	while (len > 0)
	{
		ssize_t		written = write(fd, rest, len);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			errno = written == 0 ? ENOSPC : errno;
			return false;
		}
		rest += written;
		len -= written;
	}
	return true;
}

static bool
write_set(int fd, const PgnSet *set)
{
	SaveHeader	header;

	make_header(&header, set);
	if (!write_all(fd, &header, sizeof(header)))
		return false;
	for (uint32 i = 0; i < set->count; i++)
	{
		PgnSlice	data = pgn_entry_data(&set->entries[i]);
		SaveEntry	saved;

		make_entry(&saved, &set->entries[i]);
		if (!write_all(fd, &saved, sizeof(saved)) || !write_all(fd, data.data, data.len))
			return false;
	}
	return true;
}

static bool
write_failed(const char *doing, const char *path)
{
	ereport(LOG,
			(errcode_for_file_access(),
			 errmsg("pg_netstat: could not %s file \"%s\": %m", doing, path)));
	return false;
}

/* Writes the active set; false if that failed, which is logged. Never raises an error. */
bool
pgn_save_write(void)
{
	int			fd = OpenTransientFile(SAVE_NEW, O_CREAT | O_TRUNC | O_WRONLY | PG_BINARY);

	if (fd < 0)
		return write_failed("create", SAVE_NEW);
	if (!write_set(fd, pgn_active_set()))
	{
		write_failed("write", SAVE_NEW);
		CloseTransientFile(fd);
		unlink(SAVE_NEW);
		return false;
	}
	if (CloseTransientFile(fd) != 0)
		return write_failed("close", SAVE_NEW);
	/* It syncs the file, and says itself what failed. */
	return durable_rename(SAVE_NEW, SAVE_FILE, LOG) == 0;
}

/*
 * The postmaster's exit callback. An exit code tells of a crash or an immediate
 * shutdown: memory is not to be trusted then, and the file stays as it is.
 */
void
pgn_save_at_exit(int code, Datum arg)
{
	(void) arg;
	if (code != 0 || pgn_shared == NULL || !pgn_save)
		return;
	/* Nothing was loaded or published: a worker never ran. */
	if (!pgn_shared->loaded || pgn_active_set()->published_at == 0)
		return;
	(void) pgn_save_write();
}

/* Reads the whole file; NULL, with the reason in wrong, unless there is none. */
static char *
read_file(size_t *len, const char **wrong)
{
	struct stat state;
	char	   *data = NULL;
	/* Whatever is there under that name, nobody waits for it. */
	int			fd = OpenTransientFile(SAVE_FILE, O_RDONLY | O_NONBLOCK | PG_BINARY);

	*wrong = NULL;
	if (fd < 0)
	{
		if (errno != ENOENT)
			*wrong = "it cannot be opened";
		return NULL;
	}
	if (fstat(fd, &state) != 0 || !S_ISREG(state.st_mode))
		*wrong = "it is no regular file";
	else if (state.st_size < (off_t) sizeof(SaveHeader))
		*wrong = "it is too short";
	/* It may have more than fits; that is found out later. */
	else if (state.st_size > (off_t) MaxAllocSize)
		*wrong = "it is larger than any that was saved";
	else if ((data = palloc_extended(state.st_size, MCXT_ALLOC_NO_OOM)) == NULL)
		*wrong = "there is no memory to read it into";
	else
	{
		*len = state.st_size;
		if (read(fd, data, *len) != (ssize_t) *len)
			*wrong = "it cannot be read";
	}
	CloseTransientFile(fd);
	return *wrong == NULL ? data : NULL;
}

static const char *
check_header(const SaveHeader *header, const char *data, size_t len)
{
	pg_crc32c	crc;

	if (header->magic != SAVE_MAGIC)
		return "it is no such file";
	if (header->version != SAVE_VERSION)
		return "it was written by another version of pg_netstat";
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data + CRC_FROM, len - CRC_FROM);
	FIN_CRC32C(crc);
	if (!EQ_CRC32C(crc, header->crc))
		return "its checksum is wrong";
	if (header->reset_applied > header->reset_requested || header->published_at == 0)
		return "its numbers are wrong";
	return NULL;
}

/* The snapshot that matters least, and may be the largest. */
#define HISTORY "pg_netstat"

/*
 * Puts the file's snapshots, the history or all but that, into the inactive half.
 * What does not fit, since pg_netstat.max_memory was larger, begins anew.
 */
static const char *
stage_entries(const SaveHeader *header, PgnSlice rest, bool history)
{
	for (uint32 i = 0; i < header->count; i++)
	{
		SaveEntry	saved;
		PgnSlice	name;
		PgnSlice	data;
		const char *wrong;

		if (rest.len < sizeof(saved))
			return "it is cut short";
		memcpy(&saved, rest.data, sizeof(saved));
		rest.data += sizeof(saved);
		rest.len -= sizeof(saved);
		if (saved.len > rest.len)
			return "it is cut short";
		name.data = saved.name;
		name.len = strnlen(saved.name, sizeof(saved.name));
		data.data = rest.data;
		data.len = saved.len;
		rest.data += saved.len;
		rest.len -= saved.len;
		if (!pgn_name_valid(name))
			return "a snapshot has no valid name";
		if ((wrong = pgn_rows_check(data)) != NULL)
			return wrong;
		if ((strcmp(saved.name, HISTORY) == 0) == history && !pgn_stage_put(name, data))
			ereport(LOG,
					(errmsg("pg_netstat: the saved \"%s\" begins anew, as it does not fit into pg_netstat.max_memory",
							saved.name)));
	}
	return rest.len == 0 ? NULL : "it is longer than what it says";
}

/* Keeps a file that is of no use from being overwritten, once. */
static void
set_aside(const char *wrong)
{
	char		message[PGN_ERROR_MAX];

	snprintf(message, sizeof(message), "could not use file \"%s\": %s", SAVE_FILE, wrong);
	pgn_set_last_error(message);
	ereport(LOG,
			(errmsg("pg_netstat: %s", message),
			 errdetail("Totals and history begin anew."),
			 errhint("The file is kept as \"%s\".", SAVE_DAMAGED)));
	if (rename(SAVE_FILE, SAVE_DAMAGED) != 0 && errno != ENOENT)
		write_failed("rename", SAVE_FILE);
}

/*
 * Publishes what the file holds, once in the life of the shared memory. The
 * worker does it, not the postmaster, which must not fail on a bad file.
 */
void
pgn_save_load(void)
{
	const char *wrong = NULL;
	size_t		len = 0;
	char	   *data;
	SaveHeader	header;

	if (pgn_shared->loaded)
		return;
	memset(&header, 0, sizeof(header));
	pgn_stage_clear();
	data = pgn_save ? read_file(&len, &wrong) : NULL;
	if (data != NULL)
	{
		PgnSlice	rest = {data + sizeof(header), len - sizeof(header)};

		memcpy(&header, data, sizeof(header));
		wrong = check_header(&header, data, len);
		if (wrong == NULL)
			wrong = stage_entries(&header, rest, false);
		if (wrong == NULL)
			wrong = stage_entries(&header, rest, true);
		pfree(data);
	}
	if (wrong != NULL)
	{
		set_aside(wrong);
		pgn_stage_clear();
		memset(&header, 0, sizeof(header));
	}
	LWLockAcquire(pgn_shared->lock, LW_EXCLUSIVE);
	pgn_shared->reset_base = header.reset_requested;
	pgn_shared->facts.saved_at = header.saved_at;
	pgn_shared->loaded = true;
	LWLockRelease(pgn_shared->lock);
	if (header.published_at != 0)
		(void) pgn_stage_publish(header.event_seq, header.reset_applied, header.published_at, PGN_ORIGIN_FILE);
}
