/*
 * session.c
 *		Learns from the messages that a backend sends when its session is open, who
 *		it is and when it changes its name, and keeps all that in the slot.
 *
 * The server's methods of sending are wrapped before the postmaster forks, so
 * that no message is missed; they see each one before it is encrypted. Nothing
 * here may raise an error, allocate, or wait: it also runs while an error is
 * reported, at the process' exit, and within the handler of SIGQUIT. System calls
 * are made only where a session opens, changes its name, or ends.
 *
 * Bytes of a connection belong to an account from one of these moments to the
 * next: what the kernel counted now, less what it had counted then.
 */
#include "postgres.h"

#include "session.h"

#include <netinet/in.h>

#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/guc.h"

#include "settings.h"
#include "slot.h"
#include "statement.h"

#define HEADER_BYTES 5			/* type and length of a message */

/* How far the connection of this backend has come. */
static enum
{
	CONNECTION_NEW,				/* nothing was sent yet, or nothing that a slot is for */
	CONNECTION_STARTING,		/* there is a slot */
	CONNECTION_OPEN,			/* the session is open */
	CONNECTION_OVER
}			state = CONNECTION_NEW;

static bool failed = false;		/* it was told an error before its session was open */

/* What was sent before the session was open. */
static uint64 early_bytes = 0;
static uint64 early_messages = 0;

/* The name that the client was told it has now; heeded when that is sent. */
static bool name_changed = false;
static char new_name[NAMEDATALEN];

static const PQcommMethods *server_methods = NULL;
static PQcommMethods our_methods;

static PgnAddress
address_of(const SockAddr *from)
{
	PgnAddress	address;

	memset(&address, 0, sizeof(address));
	switch (from->addr.ss_family)
	{
		case AF_UNIX:
			address.family = PGN_FAMILY_UNIX;
			break;
		case AF_INET:
			address.family = PGN_FAMILY_IPV4;
			memcpy(address.bytes, &((const struct sockaddr_in *) &from->addr)->sin_addr, 4);
			break;
		case AF_INET6:
			address.family = PGN_FAMILY_IPV6;
			memcpy(address.bytes, &((const struct sockaddr_in6 *) &from->addr)->sin6_addr, 16);
			break;
	}
	return address;
}

static uint16
port_of(const SockAddr *from)
{
	switch (from->addr.ss_family)
	{
		case AF_INET:
			return ntohs(((const struct sockaddr_in *) &from->addr)->sin_port);
		case AF_INET6:
			return ntohs(((const struct sockaddr_in6 *) &from->addr)->sin6_port);
		default:
			return 0;
	}
}

/* Of nobody, but from a known address. */
static void
fill_key(PgnAccountKey *key)
{
	memset(key, 0, sizeof(*key));
	key->flags = PGN_KEY_NONE;
	key->remote = address_of(&MyProcPort->raddr);
	key->local = address_of(&MyProcPort->laddr);
}

static bool
is_unix(void)
{
	return MyProcPort->raddr.addr.ss_family == AF_UNIX;
}

/* What the connection has carried so far. */
static PgnTraffic
traffic_now(void)
{
	PgnTraffic	now;

	memset(&now, 0, sizeof(now));
	if (is_unix() || !pgn_tcp_traffic(MyProcPort->sock, &now))
		now.bytes_out = early_bytes + (pgn_slot != NULL ? pgn_slot->protocol_out : 0);
	return now;
}

static uint64
beyond(uint64 now, uint64 base)
{
	return now > base ? now - base : 0;
}

static void
add_traffic(PgnTraffic *sum, const PgnTraffic *now, const PgnTraffic *base)
{
	sum->bytes_in += beyond(now->bytes_in, base->bytes_in);
	sum->bytes_out += beyond(now->bytes_out, base->bytes_out);
	sum->segments_in += (uint32) (now->segments_in - base->segments_in);
	sum->segments_out += (uint32) (now->segments_out - base->segments_out);
	sum->retransmitted_bytes += beyond(now->retransmitted_bytes, base->retransmitted_bytes);
	sum->retransmitted_segments += (uint32) (now->retransmitted_segments - base->retransmitted_segments);
}

/* Adds what the session carried since it was given its present account. */
static PgnAccount *
settle(const PgnTraffic *now)
{
	const PgnSession *session = &pgn_slot->session;
	PgnAccount *account = pgn_slot_account(&session->key);

	add_traffic(&account->counters.traffic, now, &session->base);
	return account;
}

/* The connection ends that never became a session. */
static void
settle_unopened(void)
{
	const PgnTraffic none = {0};
	PgnTraffic	now = traffic_now();
	PgnAccountKey key;
	PgnAccount *account;

	fill_key(&key);
	account = pgn_slot_account(&key);
	account->counters.failed += failed;
	add_traffic(&account->counters.traffic, &now, &none);
}

/* Exit callback; the socket is still open. */
static void
end_connection(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (state == CONNECTION_OPEN)
		pgn_statement_close();
	pgn_slot_begin();
	if (state == CONNECTION_OPEN)
	{
		PgnTraffic	now = traffic_now();

		settle(&now)->counters.closed++;
		pgn_slot->session.live = false;
	}
	else
		settle_unopened();
	pgn_slot_end();
	pgn_slot->messages++;
	pgn_slot = NULL;
	state = CONNECTION_OVER;
}

/* Exit callback of a process that was not given a place among the backends. */
static void
end_refused(int code, Datum arg)
{
	PgnAccountCounters counters;

	(void) code;
	(void) arg;
	memset(&counters, 0, sizeof(counters));
	counters.failed = 1;
	counters.traffic = traffic_now();
	pgn_refused_add(&counters);
	state = CONNECTION_OVER;
}

/*
 * Before there is a PGPROC, the server checks that nobody has registered a
 * callback that comes before the shared memory's.
 */
static void
start_connection(void)
{
	pgn_slot_acquire();
	if (pgn_slot == NULL)
	{
		state = CONNECTION_OVER;
		return;
	}
	before_shmem_exit(end_connection, (Datum) 0);
	state = CONNECTION_STARTING;
}

/* Copies a name, cut to what the server keeps of one; the rest is zeros. */
static void
copy_name(char *to, const char *from)
{
	size_t		len = from != NULL ? strnlen(from, NAMEDATALEN - 1) : 0;

	memset(to, 0, NAMEDATALEN);
	if (len > 0)
		memcpy(to, from, len);
}

static void
fill_session(PgnSession *session)
{
	memset(session, 0, sizeof(*session));
	fill_key(&session->key);
	session->key.flags = 0;
	session->key.databaseid = MyDatabaseId;
	session->key.roleid = GetSessionUserId();
	copy_name(session->key.database, MyProcPort->database_name);
	copy_name(session->key.role, MyProcPort->user_name);
	copy_name(session->key.application, application_name);
	session->live = true;
	session->tls = MyProcPort->ssl_in_use;
	session->kind = am_walsender ? PGN_SESSION_WALSENDER : PGN_SESSION_CLIENT;
	session->pid = MyProcPid;
	session->remote_port = port_of(&MyProcPort->raddr);
	session->serial = pgn_slot_serial();
	session->cookie = is_unix() ? 0 : pgn_socket_cookie(MyProcPort->sock);
	session->connected_at = MyStartTimestamp;
}

/* What came before is the session's, and of its statements none's. */
static void
account_early(void)
{
	PgnStatementKey key = {0};
	PgnStatement *entry;

	pgn_slot->protocol_out = early_bytes;
	if (pgn_track_statements)
	{
		key.class = PGN_CLASS_PROTOCOL;
		key.userid = pgn_slot->session.key.roleid;
		key.dbid = MyDatabaseId;
		entry = pgn_slot_statement(&key);
		entry->counters.bytes_out += early_bytes;
		entry->counters.messages += early_messages;
	}
	early_bytes = early_messages = 0;
}

static void
open_session(void)
{
	pgn_slot_begin();
	fill_session(&pgn_slot->session);
	pgn_slot_account(&pgn_slot->session.key)->counters.opened++;
	account_early();
	pgn_slot_end();
	state = CONNECTION_OPEN;
	pgn_statement_open();
}

/* A message of a connection whose session is not open, or not yet. */
static void
note_early(char type, size_t len)
{
	if (MyProcPort == NULL || state == CONNECTION_OVER)
		return;
	if (state == CONNECTION_NEW && MyProc != NULL)
		start_connection();
	if (type == 'Z' && state == CONNECTION_STARTING)
	{
		open_session();
		return;
	}
	early_bytes += HEADER_BYTES + len;
	early_messages++;
	if (type == 'E' && !failed)
	{
		failed = true;
		if (state == CONNECTION_NEW)
			on_proc_exit(end_refused, (Datum) 0);
	}
}

/* The client is told of a setting's value. */
static void
note_setting(const char *body, size_t len)
{
	static const char setting[] = "application_name";

	if (len <= sizeof(setting) || memcmp(body, setting, sizeof(setting)) != 0)
		return;
	copy_name(new_name, body + sizeof(setting));
	name_changed = true;
}

/*
 * The session goes on under another name. The old one gets what was sent through
 * the message that tells the client so, and what had come before the client could
 * have read that.
 */
static void
change_name(uint64 bytes_in)
{
	PgnSession *session = &pgn_slot->session;
	PgnTraffic	now;

	name_changed = false;
	if (strcmp(session->key.application, new_name) == 0)
		return;
	now = traffic_now();
	now.bytes_in = bytes_in;
	pgn_slot_begin();
	(void) settle(&now);
	session->base = now;
	session->protocol_base = pgn_slot->protocol_out;
	copy_name(session->key.application, new_name);
	pgn_slot_end();
}

/*
 * The server's putmessage_noblock calls putmessage, where such messages are
 * counted. What is counted before it is sent cannot be missed if that fails.
 */
static int
putmessage(char type, const char *body, size_t len)
{
	if (unlikely(state != CONNECTION_OPEN))
		note_early(type, len);
	if (likely(state == CONNECTION_OPEN))
	{
		pgn_slot->protocol_out += HEADER_BYTES + len;
		if (pgn_track_statements)
			pgn_statement_message(type, body, len);
		pg_write_barrier();
		pgn_slot->messages++;
		if (unlikely(type == 'S'))
			note_setting(body, len);
	}
	return server_methods->putmessage(type, body, len);
}

static int
flush(void)
{
	bool		change = unlikely(name_changed) && state == CONNECTION_OPEN;
	uint64		bytes_in = change ? traffic_now().bytes_in : 0;
	int			result = server_methods->flush();

	if (change)
		change_name(bytes_in);
	return result;
}

/* To be called while the server preloads its libraries. */
void
pgn_session_install(void)
{
	server_methods = PqCommMethods;
	our_methods = *PqCommMethods;
	our_methods.putmessage = putmessage;
	our_methods.flush = flush;
	PqCommMethods = &our_methods;
}
