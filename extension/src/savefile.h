/*
 * savefile.h
 *		The form of the saved file, for those who write and read it.
 *
 * A header, then for each snapshot its name, its length and its bytes, then the
 * events that the snapshots do not contain, then the sessions that are open, in
 * this machine's byte order. A checksum covers all behind it.
 *
 * The file is in pg_stat_tmp, which base backups and pg_rewind leave out: a
 * standby must not inherit the totals of its primary.
 */
#ifndef PGN_SAVEFILE_H
#define PGN_SAVEFILE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgstat.h"
#include "port/pg_crc32c.h"

#include "frame.h"

#define SAVE_FILE PG_STAT_TMP_DIR "/pg_netstat.stat"
#define SAVE_NEW SAVE_FILE ".new"
#define SAVE_DAMAGED SAVE_FILE ".damaged"
#define SAVE_MAGIC 0x504E5354
#define SAVE_VERSION 2

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
	uint64		last_event;		/* of those after event_seq, all of which are there */
	uint64		events_len;
	uint32		sessions;
	uint32		session_size;	/* of each */
} SaveHeader;

/* What stands before the bytes of each snapshot. */
typedef struct SaveEntry
{
	char		name[PGN_NAME_MAX + 1];
	uint64		len;
} SaveEntry;

#define CRC_FROM offsetof(SaveHeader, version)

extern bool pgn_save_failed(const char *doing, const char *path);

#endif							/* PGN_SAVEFILE_H */
