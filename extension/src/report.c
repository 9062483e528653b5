/*
 * report.c
 *		Writes the frames that report.h names.
 */
#include "report.h"

#define LIVE_TLS 1
#define LIVE_UNIX 2

static void
put_address(PgnWriter *writer, const PgnAddress *address)
{
	pgn_put_u8(writer, address->family);
	pgn_put_bytes(writer, address->bytes, sizeof(address->bytes));
}

static void
put_key(PgnWriter *writer, const PgnAccountKey *key)
{
	pgn_put_u8(writer, key->flags);
	pgn_put_u32(writer, key->databaseid);
	pgn_put_u32(writer, key->roleid);
	pgn_put_string(writer, key->database);
	pgn_put_string(writer, key->role);
	pgn_put_string(writer, key->application);
	put_address(writer, &key->remote);
	put_address(writer, &key->local);
}

static void
put_traffic(PgnWriter *writer, const PgnTraffic *traffic)
{
	pgn_put_u64(writer, traffic->bytes_in);
	pgn_put_u64(writer, traffic->bytes_out);
	pgn_put_u64(writer, traffic->segments_in);
	pgn_put_u64(writer, traffic->segments_out);
	pgn_put_u64(writer, traffic->retransmitted_bytes);
	pgn_put_u64(writer, traffic->retransmitted_segments);
}

static void
begin_event(PgnWriter *writer, uint64 seq, uint8 kind)
{
	pgn_put_begin(writer, PGN_EVENT);
	pgn_put_u64(writer, seq);
	pgn_put_u8(writer, kind);
}

void
pgn_put_account(PgnWriter *writer, uint64 seq, const PgnAccountKey *key, const PgnAccountCounters *counters)
{
	begin_event(writer, seq, PGN_EVENT_ACCOUNT);
	put_key(writer, key);
	pgn_put_u64(writer, counters->opened);
	pgn_put_u64(writer, counters->closed);
	pgn_put_u64(writer, counters->failed);
	put_traffic(writer, &counters->traffic);
	pgn_put_end(writer);
}

void
pgn_put_statement(PgnWriter *writer, uint64 seq, const PgnStatementKey *key,
				  const PgnStatementCounters *counters, uint64 max_bytes)
{
	begin_event(writer, seq, PGN_EVENT_STATEMENT);
	pgn_put_u8(writer, (uint8) key->class);
	pgn_put_u32(writer, key->userid);
	pgn_put_u32(writer, key->dbid);
	pgn_put_u64(writer, key->queryid);
	pgn_put_u64(writer, counters->calls);
	pgn_put_u64(writer, counters->bytes_out);
	pgn_put_u64(writer, counters->messages);
	pgn_put_u64(writer, counters->rows);
	pgn_put_u64(writer, counters->bytes_in);
	pgn_put_u64(writer, max_bytes);
	pgn_put_end(writer);
}

void
pgn_put_folded(PgnWriter *writer, uint64 seq, uint64 count)
{
	begin_event(writer, seq, PGN_EVENT_FOLDED);
	pgn_put_u64(writer, count);
	pgn_put_end(writer);
}

void
pgn_put_ghost(PgnWriter *writer, uint64 seq, const PgnSession *session)
{
	begin_event(writer, seq, PGN_EVENT_GHOST);
	pgn_put_u64(writer, session->serial);
	put_traffic(writer, &session->base);
	put_key(writer, &session->key);
	pgn_put_end(writer);
}

void
pgn_put_live(PgnWriter *writer, const PgnSession *session, uint64 protocol_out)
{
	bool		is_unix = session->key.remote.family == PGN_FAMILY_UNIX;

	pgn_put_begin(writer, PGN_LIVE);
	pgn_put_u64(writer, session->serial);
	pgn_put_u32(writer, (uint32) session->pid);
	pgn_put_u8(writer, session->kind);
	pgn_put_u8(writer, (session->tls ? LIVE_TLS : 0) | (is_unix ? LIVE_UNIX : 0));
	put_key(writer, &session->key);
	pgn_put_u32(writer, session->remote_port);
	pgn_put_u64(writer, session->cookie);
	pgn_put_u64(writer, (uint64) session->connected_at);
	put_traffic(writer, &session->base);
	pgn_put_u64(writer, protocol_out);
	pgn_put_u64(writer, session->protocol_base);
	pgn_put_end(writer);
}

void
pgn_put_ended(PgnWriter *writer, uint64 serial)
{
	pgn_put_begin(writer, PGN_ENDED);
	pgn_put_u64(writer, serial);
	pgn_put_end(writer);
}

void
pgn_put_taken(PgnWriter *writer, uint32 request, uint64 seq)
{
	pgn_put_begin(writer, PGN_TAKEN);
	pgn_put_u32(writer, request);
	pgn_put_u64(writer, seq);
	pgn_put_end(writer);
}
