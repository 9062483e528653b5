/*
 * settings.c
 *		Defines the settings and writes the agent's configuration.
 */
#include "postgres.h"

#include <limits.h>

#include "compat.h"
#include "settings.h"

char	   *pgn_agent_path = NULL;
int			pgn_max_memory = 0;
bool		pgn_save = true;
bool		pgn_track_statements = true;

/* The agent's settings; the server keeps them here and nobody else reads them. */
static char *device;
static char *devices;
static char *networks;
static bool capture_loopback;
static int	interval;
static int	history;
static int	refresh_interval;
static int	packet_wait_time;
static int	pcap_buffer_size;
static int	pcap_snaplen;
static int	pcap_timeout;
static int	engine;
static int	max_entries;

static const struct config_enum_entry engines[] = {
	{"auto", 0, false},
	{"ebpf", 1, false},
	{"pcap", 2, false},
	{"sockdiag", 3, false},
	{NULL, 0, false}
};

/* What a configuration frame holds: all that a reload can change, and facts. */
static const char *const told[] = {
	"pg_netstat.device",
	"pg_netstat.devices",
	"pg_netstat.capture_loopback",
	"pg_netstat.interval",
	"pg_netstat.history",
	"pg_netstat.refresh_interval",
	"pg_netstat.packet_wait_time",
	"pg_netstat.pcap_buffer_size",
	"pg_netstat.pcap_snaplen",
	"pg_netstat.pcap_timeout",
	"pg_netstat.engine",
	"pg_netstat.networks",
	"pg_netstat.track_statements",
	"pg_netstat.max_entries",
	"pg_netstat.save",
	"port",
	"listen_addresses",
};

static void
define_int(const char *name, const char *description, const char *more, int *variable,
		   int value, int least, int most, int unit)
{
	DefineCustomIntVariable(name, description, more, variable, value, least, most,
							PGC_SIGHUP, unit, NULL, NULL, NULL);
}

static void
define_bool(const char *name, const char *description, const char *more, bool *variable, bool value)
{
	DefineCustomBoolVariable(name, description, more, variable, value,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_list(const char *name, const char *description, const char *more, char **variable, const char *value)
{
	DefineCustomStringVariable(name, description, more, variable, value,
							   PGC_SIGHUP, GUC_LIST_INPUT, NULL, NULL, NULL);
}

/* A relative path would change its meaning with the directory of the process. */
static bool
check_agent_path(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (is_absolute_path(*newval))
		return true;
	GUC_check_errdetail("The path of the agent must be absolute.");
	return false;
}

static void
define_capture(void)
{
	define_list("pg_netstat.device",
				"Network devices whose traffic is counted.",
				"Names separated by commas, or auto, or all.",
				&device, "auto");
	define_list("pg_netstat.devices",
				"Former name of pg_netstat.device; if it is set, it wins.",
				NULL, &devices, "");
	define_bool("pg_netstat.capture_loopback",
				"Counts the loopback device as well.",
				NULL, &capture_loopback, false);
	DefineCustomEnumVariable("pg_netstat.engine",
							 "Source of the packet counts.",
							 "auto takes the best one that is permitted.",
							 &engine, 0, engines, PGC_SIGHUP, 0, NULL, NULL, NULL);
	define_int("pg_netstat.packet_wait_time",
			   "How long a closed interval waits for late packets at most.",
			   "Only libpcap delivers packets late.",
			   &packet_wait_time, 5, 0, 10, GUC_UNIT_S);
	define_int("pg_netstat.pcap_buffer_size",
			   "Size of libpcap's buffer.",
			   NULL, &pcap_buffer_size, 1000000, 131070, 90000000, GUC_UNIT_BYTE);
	define_int("pg_netstat.pcap_snaplen",
			   "How much of each packet libpcap captures.",
			   NULL, &pcap_snaplen, 96, 96, 65535, GUC_UNIT_BYTE);
	define_int("pg_netstat.pcap_timeout",
			   "How long libpcap gathers packets before it delivers them.",
			   NULL, &pcap_timeout, 1000, 1, 30000, GUC_UNIT_MS);
}

static void
define_accounts(void)
{
	define_int("pg_netstat.interval",
			   "Period that one row of the view pg_netstat covers.",
			   NULL, &interval, 10, 1, 900000, GUC_UNIT_S);
	define_int("pg_netstat.history",
			   "Rows that the view pg_netstat keeps for each device.",
			   NULL, &history, 60, 1, 86400, 0);
	define_int("pg_netstat.refresh_interval",
			   "Age that live views and totals reach at most.",
			   NULL, &refresh_interval, 1, 1, 3600, GUC_UNIT_S);
	define_list("pg_netstat.networks",
				"Names of networks, for the view pg_netstat_network.",
				"Pairs name=CIDR separated by commas.",
				&networks, "");
	define_bool("pg_netstat.track_statements",
				"Counts the bytes of each statement.",
				NULL, &pgn_track_statements, true);
	define_int("pg_netstat.max_entries",
			   "Rows that each table of totals keeps at most.",
			   "What comes beyond them is added to a row \"(other)\".",
			   &max_entries, 5000, 100, 1000000, 0);
}

/* May only be called while the server preloads its libraries. */
void
pgn_settings_define(void)
{
	/* The server keeps the pointer, beyond the life of any memory context. */
	static char default_path[MAXPGPATH];

	snprintf(default_path, sizeof(default_path), "%s/pg_netstat-agent", pkglib_path);
	define_capture();
	define_accounts();
	define_bool("pg_netstat.save",
				"Keeps totals and history over a restart of the server.",
				NULL, &pgn_save, true);
	DefineCustomIntVariable("pg_netstat.max_memory",
							"Shared memory that the snapshots take at most.",
							"Half of it holds what is read while the other half is written.",
							&pgn_max_memory, 32768, 1024, 1048576,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomStringVariable("pg_netstat.agent_path",
							   "The program that counts the traffic.",
							   NULL, &pgn_agent_path, default_path,
							   PGC_POSTMASTER, 0, check_agent_path, NULL, NULL);
	compat_reserve_prefix("pg_netstat");
}

/* Writes the configuration frame. */
void
pgn_settings_put(PgnWriter *writer)
{
	char		pid[16];

	snprintf(pid, sizeof(pid), "%d", PostmasterPid);
	pgn_put_begin(writer, PGN_CONFIG);
	pgn_put_u32(writer, lengthof(told) + 1);
	for (size_t i = 0; i < lengthof(told); i++)
	{
		const char *value = GetConfigOption(told[i], true, false);

		pgn_put_string(writer, told[i]);
		pgn_put_string(writer, value ? value : "");
	}
	pgn_put_string(writer, "postmaster_pid");
	pgn_put_string(writer, pid);
	pgn_put_end(writer);
}
