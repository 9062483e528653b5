/*
 * load.c
 *		Reads the saved file back. Whatever is there under its name, the server
 *		starts.
 */
#include "save.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/memutils.h"

#include "events.h"
#include "ring.h"
#include "rows.h"
#include "savefile.h"
#include "settings.h"
#include "shmem.h"

static const char too_short[] = "it is cut short";

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
	if (header->reset_applied > header->reset_requested ||
		(header->published_at == 0 && (header->count > 0 || header->event_seq > 0)) ||
		header->session_size != sizeof(PgnSession))
		return "its numbers are wrong";
	return NULL;
}

/* Takes bytes off; false if there are not so many. */
static bool
cut(PgnSlice *rest, uint64 len, PgnSlice *part)
{
	if (len > rest->len)
		return false;
	part->data = rest->data;
	part->len = len;
	rest->data += len;
	rest->len -= len;
	return true;
}

/* The snapshot that matters least, and may be the largest. */
#define HISTORY "pg_netstat"

/*
 * Puts the file's snapshots, the history or all but that, into the inactive half.
 * What does not fit, since pg_netstat.max_memory was larger, begins anew.
 */
static const char *
stage_entries(const SaveHeader *header, PgnSlice *rest, bool history)
{
	for (uint32 i = 0; i < header->count; i++)
	{
		SaveEntry	saved;
		PgnSlice	part;
		PgnSlice	name;
		PgnSlice	data;
		const char *wrong;

		if (!cut(rest, sizeof(saved), &part))
			return too_short;
		memcpy(&saved, part.data, sizeof(saved));
		if (!cut(rest, saved.len, &data))
			return too_short;
		name.data = saved.name;
		name.len = strnlen(saved.name, sizeof(saved.name));
		if (!pgn_name_valid(name))
			return "a snapshot has no valid name";
		if ((wrong = pgn_rows_check(data)) != NULL)
			return wrong;
		if ((strcmp(saved.name, HISTORY) == 0) == history && !pgn_stage_put(name, data))
			ereport(LOG,
					(errmsg("pg_netstat: the saved \"%s\" begins anew, as it does not fit into pg_netstat.max_memory",
							saved.name)));
	}
	return NULL;
}

/* Names are read to their end. */
static bool
is_valid(const PgnSession *session)
{
	const PgnAccountKey *key = &session->key;

	return session->serial != 0 && key->database[NAMEDATALEN - 1] == '\0' &&
		key->role[NAMEDATALEN - 1] == '\0' && key->application[NAMEDATALEN - 1] == '\0';
}

/* Takes up the events, and one for each session whose end nobody knows. */
static const char *
load_events(const SaveHeader *header, PgnSlice events, PgnSlice sessions)
{
	const char *wrong = pgn_ring_load(events, header->event_seq, header->last_event);
	uint32		lost = 0;

	for (uint32 i = 0; wrong == NULL && i < header->sessions; i++)
	{
		PgnSession	session;

		memcpy(&session, sessions.data + (size_t) i * sizeof(session), sizeof(session));
		if (!is_valid(&session))
			return "a session in it is damaged";
		lost += !pgn_events_add_ghost(&session);
	}
	if (lost > 0)
		ereport(LOG,
				(errmsg("pg_netstat: what %u sessions carried before the crash is lost, as there is no room to settle it", lost)));
	return wrong;
}

/* Loads what is behind the header. */
static const char *
load_contents(const SaveHeader *header, PgnSlice rest)
{
	PgnSlice	again = rest;
	const char *wrong = stage_entries(header, &again, false);
	PgnSlice	events;
	PgnSlice	sessions;

	if (wrong == NULL)
		wrong = stage_entries(header, &rest, true);
	if (wrong != NULL)
		return wrong;
	if (!cut(&rest, header->events_len, &events) ||
		!cut(&rest, (uint64) header->sessions * sizeof(PgnSession), &sessions))
		return too_short;
	if (rest.len > 0)
		return "it is longer than what it says";
	return load_events(header, events, sessions);
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
		(void) pgn_save_failed("rename", SAVE_FILE);
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
			wrong = load_contents(&header, rest);
		pfree(data);
	}
	if (wrong != NULL)
	{
		set_aside(wrong);
		pgn_stage_clear();
		pgn_ring_clear();
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
