/* pg_netstat 1.0 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION pg_netstat" to load this file. \quit

-- Functions -----------------------------------------------------------------

CREATE FUNCTION pg_netstat_read(name text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'pg_netstat_read'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION pg_netstat_read(text) IS
'Rows of a snapshot that the pg_netstat agent has published. The views call it with the columns that they expect. Snapshots other than those of pg_netstat, pg_netstat_device and pg_netstat_status need the privileges of pg_read_all_stats.';

CREATE FUNCTION pg_netstat_worker(
    OUT state text,
    OUT worker_pid int4,
    OUT agent_pid int4,
    OUT agent_version text,
    OUT started_at timestamptz,
    OUT restarts int8,
    OUT last_error text,
    OUT last_error_at timestamptz,
    OUT snapshot_at timestamptz,
    OUT saved_at timestamptz)
AS 'MODULE_PATHNAME', 'pg_netstat_worker'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION pg_netstat_worker() IS
'One row about the pg_netstat worker and its agent, known even when no agent runs. The view pg_netstat_status shows it together with what the agent says of itself.';

CREATE FUNCTION pg_netstat_name(name name)
RETURNS text
AS 'MODULE_PATHNAME', 'pg_netstat_name'
LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION pg_netstat_name(name) IS
'A name as text, in which \xNN stands for each byte that is no text in the database''s encoding. Roles and databases may be named in any encoding; the views must not fail for it.';

CREATE FUNCTION pg_netstat_reset()
RETURNS void
AS 'MODULE_PATHNAME', 'pg_netstat_reset'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

REVOKE ALL ON FUNCTION pg_netstat_reset() FROM PUBLIC;

COMMENT ON FUNCTION pg_netstat_reset() IS
'Sets all totals to zero and forgets the history. Returns when that is visible, at most 5 seconds later; if no agent runs, it warns, and the reset is done as soon as one does. For superusers, unless granted to others.';

-- How much: rows per interval and device ------------------------------------

CREATE VIEW pg_netstat AS
SELECT device, ts, packets_in, packets_out, packets_in_speed, packets_out_speed,
       bytes_in, bytes_out, bytes_in_speed, bytes_out_speed, created_at
FROM pg_netstat_read('pg_netstat') AS s (
    device text,
    ts timestamptz,
    packets_in int8,
    packets_out int8,
    packets_in_speed float8,
    packets_out_speed float8,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    created_at timestamptz)
ORDER BY device, ts;

GRANT SELECT ON pg_netstat TO PUBLIC;

COMMENT ON VIEW pg_netstat IS
'Traffic of the server''s port per network device and interval of pg_netstat.interval seconds, for the last pg_netstat.history intervals. "In" is toward the server, "out" is from it. Packets and bytes are those on the wire, link header included.';
COMMENT ON COLUMN pg_netstat.device IS
'Name of the network device.';
COMMENT ON COLUMN pg_netstat.ts IS
'Start of the interval; a whole multiple of pg_netstat.interval by the wall clock.';
COMMENT ON COLUMN pg_netstat.packets_in IS
'Packets to the server in the interval.';
COMMENT ON COLUMN pg_netstat.packets_out IS
'Packets from the server in the interval.';
COMMENT ON COLUMN pg_netstat.packets_in_speed IS
'Packets to the server per second, over the time of the interval that was really covered.';
COMMENT ON COLUMN pg_netstat.packets_out_speed IS
'Packets from the server per second, over the time of the interval that was really covered.';
COMMENT ON COLUMN pg_netstat.bytes_in IS
'Bytes on the wire to the server in the interval, link headers included.';
COMMENT ON COLUMN pg_netstat.bytes_out IS
'Bytes on the wire from the server in the interval, link headers included.';
COMMENT ON COLUMN pg_netstat.bytes_in_speed IS
'Bytes on the wire to the server per second, over the time of the interval that was really covered.';
COMMENT ON COLUMN pg_netstat.bytes_out_speed IS
'Bytes on the wire from the server per second, over the time of the interval that was really covered.';
COMMENT ON COLUMN pg_netstat.created_at IS
'When the row became visible.';

-- How much: totals per device ------------------------------------------------

CREATE VIEW pg_netstat_device AS
SELECT device, state, packets_in, packets_out, packets_in_speed, packets_out_speed,
       bytes_in, bytes_out, bytes_in_speed, bytes_out_speed, stats_reset
FROM pg_netstat_read('pg_netstat_device') AS s (
    device text,
    state text,
    packets_in int8,
    packets_out int8,
    packets_in_speed float8,
    packets_out_speed float8,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    stats_reset timestamptz)
ORDER BY device;

GRANT SELECT ON pg_netstat_device TO PUBLIC;

COMMENT ON VIEW pg_netstat_device IS
'Traffic of the server''s port per network device, in total since stats_reset. "In" is toward the server, "out" is from it. Packets and bytes are those on the wire, link header included.';
COMMENT ON COLUMN pg_netstat_device.device IS
'Name of the network device.';
COMMENT ON COLUMN pg_netstat_device.state IS
'"counting", "down" (the device is there, but not up), "gone" (there is no such device now), or "not counted" (the settings leave it out now).';
COMMENT ON COLUMN pg_netstat_device.packets_in IS
'Packets to the server since stats_reset.';
COMMENT ON COLUMN pg_netstat_device.packets_out IS
'Packets from the server since stats_reset.';
COMMENT ON COLUMN pg_netstat_device.packets_in_speed IS
'Packets to the server per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_device.packets_out_speed IS
'Packets from the server per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_device.bytes_in IS
'Bytes on the wire to the server since stats_reset, link headers included.';
COMMENT ON COLUMN pg_netstat_device.bytes_out IS
'Bytes on the wire from the server since stats_reset, link headers included.';
COMMENT ON COLUMN pg_netstat_device.bytes_in_speed IS
'Bytes on the wire to the server per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_device.bytes_out_speed IS
'Bytes on the wire from the server per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_device.stats_reset IS
'Since when the totals count.';

-- Who: live sessions ----------------------------------------------------------

CREATE VIEW pg_netstat_activity AS
SELECT s.pid, s.datid, coalesce(d.datname, s.datname) AS datname, s.usesysid,
       coalesce(r.rolname, s.usename) AS usename, s.application_name, s.backend_type,
       s.client_addr, s.client_port, s.network, s.tls, s.connected_at, s.bytes_in, s.bytes_out,
       s.bytes_in_speed, s.bytes_out_speed, s.segments_in, s.segments_out, s.retransmitted_bytes,
       s.retransmitted_segments, s.rtt, s.min_rtt, s.delivery_rate, s.unacknowledged_bytes,
       s.unsent_bytes, s.receive_window_limited, s.send_buffer_limited, s.busy, s.last_data_sent,
       s.last_data_received, s.bottleneck
FROM pg_netstat_read('pg_netstat_activity') AS s (
    pid int4,
    datid oid,
    datname text,
    usesysid oid,
    usename text,
    application_name text,
    backend_type text,
    client_addr inet,
    client_port int4,
    network text,
    tls bool,
    connected_at timestamptz,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    segments_in int8,
    segments_out int8,
    retransmitted_bytes int8,
    retransmitted_segments int8,
    rtt float8,
    min_rtt float8,
    delivery_rate float8,
    unacknowledged_bytes int8,
    unsent_bytes int8,
    receive_window_limited float8,
    send_buffer_limited float8,
    busy float8,
    last_data_sent timestamptz,
    last_data_received timestamptz,
    bottleneck text)
LEFT JOIN (SELECT oid, pg_netstat_name(datname) AS datname FROM pg_database) AS d ON d.oid = s.datid
LEFT JOIN (SELECT oid, pg_netstat_name(rolname) AS rolname FROM pg_roles) AS r ON r.oid = s.usesysid;

GRANT SELECT ON pg_netstat_activity TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_activity IS
'One row per session that is open now, walsenders included: who it is, what its connection has carried since it began, and how the connection is. Bytes are TCP payload. "In" is toward the server, "out" is from it. Of a session by Unix-domain socket only bytes_out is known, in bytes of the protocol.';
COMMENT ON COLUMN pg_netstat_activity.pid IS
'Process ID of the session''s server process.';
COMMENT ON COLUMN pg_netstat_activity.datid IS
'OID of the database; null for a walsender that replicates the whole server.';
COMMENT ON COLUMN pg_netstat_activity.datname IS
'Name of the database.';
COMMENT ON COLUMN pg_netstat_activity.usesysid IS
'OID of the role that has logged in; SET ROLE does not change it.';
COMMENT ON COLUMN pg_netstat_activity.usename IS
'Name of that role.';
COMMENT ON COLUMN pg_netstat_activity.application_name IS
'The session''s application name now. What it carried under an earlier one belongs to that in pg_netstat_application.';
COMMENT ON COLUMN pg_netstat_activity.backend_type IS
'"client backend" or "walsender".';
COMMENT ON COLUMN pg_netstat_activity.client_addr IS
'Address of the client; null for a Unix-domain socket.';
COMMENT ON COLUMN pg_netstat_activity.client_port IS
'TCP port of the client; null for a Unix-domain socket.';
COMMENT ON COLUMN pg_netstat_activity.network IS
'Name of the client''s network by pg_netstat.networks, "(other)" if it is in none of them, "(local)" for a Unix-domain socket.';
COMMENT ON COLUMN pg_netstat_activity.tls IS
'Whether the connection is encrypted with TLS.';
COMMENT ON COLUMN pg_netstat_activity.connected_at IS
'When the client connected.';
COMMENT ON COLUMN pg_netstat_activity.bytes_in IS
'Payload bytes from the client since it connected; null for a Unix-domain socket.';
COMMENT ON COLUMN pg_netstat_activity.bytes_out IS
'Payload bytes to the client since it connected, each once; for a Unix-domain socket, bytes of the protocol.';
COMMENT ON COLUMN pg_netstat_activity.bytes_in_speed IS
'Payload bytes from the client per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_activity.bytes_out_speed IS
'Payload bytes to the client per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_activity.segments_in IS
'TCP segments from the client since it connected.';
COMMENT ON COLUMN pg_netstat_activity.segments_out IS
'TCP segments to the client since it connected, those sent again included.';
COMMENT ON COLUMN pg_netstat_activity.retransmitted_bytes IS
'Payload bytes that were sent again.';
COMMENT ON COLUMN pg_netstat_activity.retransmitted_segments IS
'TCP segments that were sent again.';
COMMENT ON COLUMN pg_netstat_activity.rtt IS
'Round trip time, smoothed by the kernel, in milliseconds.';
COMMENT ON COLUMN pg_netstat_activity.min_rtt IS
'Smallest round trip time that the kernel remembers, in milliseconds.';
COMMENT ON COLUMN pg_netstat_activity.delivery_rate IS
'Rate at which the client got the data last, as the kernel measured it, in bytes per second.';
COMMENT ON COLUMN pg_netstat_activity.unacknowledged_bytes IS
'Bytes that were sent and that the client has not acknowledged.';
COMMENT ON COLUMN pg_netstat_activity.unsent_bytes IS
'Bytes that the server has written and the kernel has not sent yet.';
COMMENT ON COLUMN pg_netstat_activity.receive_window_limited IS
'Time that sending had to wait for the client''s receive window, since it connected, in milliseconds.';
COMMENT ON COLUMN pg_netstat_activity.send_buffer_limited IS
'Time that sending was limited by the server''s send buffer, since the client connected, in milliseconds.';
COMMENT ON COLUMN pg_netstat_activity.busy IS
'Time in which there was something to send or to be acknowledged, since the client connected, in milliseconds.';
COMMENT ON COLUMN pg_netstat_activity.last_data_sent IS
'When the server sent payload last.';
COMMENT ON COLUMN pg_netstat_activity.last_data_received IS
'When payload of the client arrived last.';
COMMENT ON COLUMN pg_netstat_activity.bottleneck IS
'What held the session up over the last refresh: "client" (it does not read), "network" (loss, delay or rate), "server", or "none".';

-- Who: totals --------------------------------------------------------------------

CREATE VIEW pg_netstat_database AS
SELECT s.datid, coalesce(d.datname, s.datname) AS datname, s.sessions, s.live_sessions,
       s.failed_connections, s.bytes_in, s.bytes_out, s.bytes_in_speed, s.bytes_out_speed,
       s.segments_in, s.segments_out, s.retransmitted_bytes, s.retransmitted_segments,
       s.stats_reset
FROM pg_netstat_read('pg_netstat_database') AS s (
    datid oid,
    datname text,
    sessions int8,
    live_sessions int8,
    failed_connections int8,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    segments_in int8,
    segments_out int8,
    retransmitted_bytes int8,
    retransmitted_segments int8,
    stats_reset timestamptz)
LEFT JOIN (SELECT oid, pg_netstat_name(datname) AS datname FROM pg_database) AS d ON d.oid = s.datid;

GRANT SELECT ON pg_netstat_database TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_database IS
'What sessions did, per database, since stats_reset. Bytes are TCP payload. "In" is toward the server, "out" is from it. Connections that never became a session are in the row "(none)", rows beyond pg_netstat.max_entries in "(other)", so the sums of all these views are the same.';
COMMENT ON COLUMN pg_netstat_database.datid IS
'OID of the database; null for special rows.';
COMMENT ON COLUMN pg_netstat_database.datname IS
'Name of the database, the last one known if it was dropped; "(replication)" for walsenders that replicate the whole server, "(none)", "(other)".';
COMMENT ON COLUMN pg_netstat_database.sessions IS
'Sessions opened since stats_reset.';
COMMENT ON COLUMN pg_netstat_database.live_sessions IS
'Sessions that are open now, also those opened before stats_reset.';
COMMENT ON COLUMN pg_netstat_database.failed_connections IS
'Connections refused or not authenticated since stats_reset.';
COMMENT ON COLUMN pg_netstat_database.bytes_in IS
'Payload bytes of TCP from the clients since stats_reset, without headers. Sessions by Unix-domain socket add nothing, as nobody knows what they sent.';
COMMENT ON COLUMN pg_netstat_database.bytes_out IS
'Payload bytes of TCP to the clients since stats_reset, without headers and retransmissions; of sessions by Unix-domain socket, bytes of the protocol.';
COMMENT ON COLUMN pg_netstat_database.bytes_in_speed IS
'Payload bytes from the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_database.bytes_out_speed IS
'Payload bytes to the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_database.segments_in IS
'TCP segments from the clients since stats_reset, also those without payload.';
COMMENT ON COLUMN pg_netstat_database.segments_out IS
'TCP segments to the clients since stats_reset, also those without payload and those sent again.';
COMMENT ON COLUMN pg_netstat_database.retransmitted_bytes IS
'Payload bytes that were sent again since stats_reset; they are not in bytes_out.';
COMMENT ON COLUMN pg_netstat_database.retransmitted_segments IS
'TCP segments that were sent again since stats_reset; they are in segments_out.';
COMMENT ON COLUMN pg_netstat_database.stats_reset IS
'Since when the totals count.';

CREATE VIEW pg_netstat_role AS
SELECT s.usesysid, coalesce(r.rolname, s.usename) AS usename, s.sessions, s.live_sessions,
       s.failed_connections, s.bytes_in, s.bytes_out, s.bytes_in_speed, s.bytes_out_speed,
       s.segments_in, s.segments_out, s.retransmitted_bytes, s.retransmitted_segments,
       s.stats_reset
FROM pg_netstat_read('pg_netstat_role') AS s (
    usesysid oid,
    usename text,
    sessions int8,
    live_sessions int8,
    failed_connections int8,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    segments_in int8,
    segments_out int8,
    retransmitted_bytes int8,
    retransmitted_segments int8,
    stats_reset timestamptz)
LEFT JOIN (SELECT oid, pg_netstat_name(rolname) AS rolname FROM pg_roles) AS r ON r.oid = s.usesysid;

GRANT SELECT ON pg_netstat_role TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_role IS
'What sessions did, per role that logged in, since stats_reset. SET ROLE changes nothing. Bytes are TCP payload. "In" is toward the server, "out" is from it. Connections that never became a session are in the row "(none)", rows beyond pg_netstat.max_entries in "(other)", so the sums of all these views are the same.';
COMMENT ON COLUMN pg_netstat_role.usesysid IS
'OID of the role that logged in; null for special rows.';
COMMENT ON COLUMN pg_netstat_role.usename IS
'Name of the role, the last one known if it was dropped; "(none)", "(other)".';
COMMENT ON COLUMN pg_netstat_role.sessions IS
'Sessions opened since stats_reset.';
COMMENT ON COLUMN pg_netstat_role.live_sessions IS
'Sessions that are open now, also those opened before stats_reset.';
COMMENT ON COLUMN pg_netstat_role.failed_connections IS
'Connections refused or not authenticated since stats_reset.';
COMMENT ON COLUMN pg_netstat_role.bytes_in IS
'Payload bytes of TCP from the clients since stats_reset, without headers. Sessions by Unix-domain socket add nothing, as nobody knows what they sent.';
COMMENT ON COLUMN pg_netstat_role.bytes_out IS
'Payload bytes of TCP to the clients since stats_reset, without headers and retransmissions; of sessions by Unix-domain socket, bytes of the protocol.';
COMMENT ON COLUMN pg_netstat_role.bytes_in_speed IS
'Payload bytes from the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_role.bytes_out_speed IS
'Payload bytes to the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_role.segments_in IS
'TCP segments from the clients since stats_reset, also those without payload.';
COMMENT ON COLUMN pg_netstat_role.segments_out IS
'TCP segments to the clients since stats_reset, also those without payload and those sent again.';
COMMENT ON COLUMN pg_netstat_role.retransmitted_bytes IS
'Payload bytes that were sent again since stats_reset; they are not in bytes_out.';
COMMENT ON COLUMN pg_netstat_role.retransmitted_segments IS
'TCP segments that were sent again since stats_reset; they are in segments_out.';
COMMENT ON COLUMN pg_netstat_role.stats_reset IS
'Since when the totals count.';

CREATE VIEW pg_netstat_application AS
SELECT s.application_name, s.sessions, s.live_sessions, s.failed_connections, s.bytes_in,
       s.bytes_out, s.bytes_in_speed, s.bytes_out_speed, s.segments_in, s.segments_out,
       s.retransmitted_bytes, s.retransmitted_segments, s.stats_reset
FROM pg_netstat_read('pg_netstat_application') AS s (
    application_name text,
    sessions int8,
    live_sessions int8,
    failed_connections int8,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    segments_in int8,
    segments_out int8,
    retransmitted_bytes int8,
    retransmitted_segments int8,
    stats_reset timestamptz);

GRANT SELECT ON pg_netstat_application TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_application IS
'What sessions did, per application name, since stats_reset. A session that changes its name belongs to each name with what it did under it, and counts as a session of the first. Bytes are TCP payload. "In" is toward the server, "out" is from it. Connections that never became a session are in the row "(none)", rows beyond pg_netstat.max_entries in "(other)", so the sums of all these views are the same.';
COMMENT ON COLUMN pg_netstat_application.application_name IS
'The application name; empty if the client gave none; "(none)", "(other)".';
COMMENT ON COLUMN pg_netstat_application.sessions IS
'Sessions opened since stats_reset.';
COMMENT ON COLUMN pg_netstat_application.live_sessions IS
'Sessions that are open now, also those opened before stats_reset.';
COMMENT ON COLUMN pg_netstat_application.failed_connections IS
'Connections refused or not authenticated since stats_reset.';
COMMENT ON COLUMN pg_netstat_application.bytes_in IS
'Payload bytes of TCP from the clients since stats_reset, without headers. Sessions by Unix-domain socket add nothing, as nobody knows what they sent.';
COMMENT ON COLUMN pg_netstat_application.bytes_out IS
'Payload bytes of TCP to the clients since stats_reset, without headers and retransmissions; of sessions by Unix-domain socket, bytes of the protocol.';
COMMENT ON COLUMN pg_netstat_application.bytes_in_speed IS
'Payload bytes from the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_application.bytes_out_speed IS
'Payload bytes to the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_application.segments_in IS
'TCP segments from the clients since stats_reset, also those without payload.';
COMMENT ON COLUMN pg_netstat_application.segments_out IS
'TCP segments to the clients since stats_reset, also those without payload and those sent again.';
COMMENT ON COLUMN pg_netstat_application.retransmitted_bytes IS
'Payload bytes that were sent again since stats_reset; they are not in bytes_out.';
COMMENT ON COLUMN pg_netstat_application.retransmitted_segments IS
'TCP segments that were sent again since stats_reset; they are in segments_out.';
COMMENT ON COLUMN pg_netstat_application.stats_reset IS
'Since when the totals count.';

CREATE VIEW pg_netstat_client AS
SELECT s.client, s.client_addr, s.network, s.sessions, s.live_sessions, s.failed_connections,
       s.bytes_in, s.bytes_out, s.bytes_in_speed, s.bytes_out_speed, s.segments_in,
       s.segments_out, s.retransmitted_bytes, s.retransmitted_segments, s.packets_in,
       s.packets_out, s.wire_bytes_in, s.wire_bytes_out, s.stats_reset
FROM pg_netstat_read('pg_netstat_client') AS s (
    client text,
    client_addr inet,
    network text,
    sessions int8,
    live_sessions int8,
    failed_connections int8,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    segments_in int8,
    segments_out int8,
    retransmitted_bytes int8,
    retransmitted_segments int8,
    packets_in int8,
    packets_out int8,
    wire_bytes_in int8,
    wire_bytes_out int8,
    stats_reset timestamptz);

GRANT SELECT ON pg_netstat_client TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_client IS
'What sessions did, per client address, since stats_reset, and the client''s packets on the wire. Bytes are TCP payload, wire_bytes have all headers. "In" is toward the server, "out" is from it. Failed connections are in the row of their address. Rows beyond pg_netstat.max_entries are in "(other)".';
COMMENT ON COLUMN pg_netstat_client.client IS
'The address, or "(local)" for Unix-domain sockets, "(none)" for connections of unknown origin, "(other)".';
COMMENT ON COLUMN pg_netstat_client.client_addr IS
'The address; null for special rows.';
COMMENT ON COLUMN pg_netstat_client.network IS
'Name of the address'' network by pg_netstat.networks; "(other)" if it is in none of them.';
COMMENT ON COLUMN pg_netstat_client.sessions IS
'Sessions opened since stats_reset.';
COMMENT ON COLUMN pg_netstat_client.live_sessions IS
'Sessions that are open now, also those opened before stats_reset.';
COMMENT ON COLUMN pg_netstat_client.failed_connections IS
'Connections refused or not authenticated since stats_reset.';
COMMENT ON COLUMN pg_netstat_client.bytes_in IS
'Payload bytes of TCP from the clients since stats_reset, without headers. Sessions by Unix-domain socket add nothing, as nobody knows what they sent.';
COMMENT ON COLUMN pg_netstat_client.bytes_out IS
'Payload bytes of TCP to the clients since stats_reset, without headers and retransmissions; of sessions by Unix-domain socket, bytes of the protocol.';
COMMENT ON COLUMN pg_netstat_client.bytes_in_speed IS
'Payload bytes from the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_client.bytes_out_speed IS
'Payload bytes to the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_client.segments_in IS
'TCP segments from the clients since stats_reset, also those without payload.';
COMMENT ON COLUMN pg_netstat_client.segments_out IS
'TCP segments to the clients since stats_reset, also those without payload and those sent again.';
COMMENT ON COLUMN pg_netstat_client.retransmitted_bytes IS
'Payload bytes that were sent again since stats_reset; they are not in bytes_out.';
COMMENT ON COLUMN pg_netstat_client.retransmitted_segments IS
'TCP segments that were sent again since stats_reset; they are in segments_out.';
COMMENT ON COLUMN pg_netstat_client.packets_in IS
'Packets on the wire from the clients since stats_reset, as pg_netstat_device counts them: also of what never became a session.';
COMMENT ON COLUMN pg_netstat_client.packets_out IS
'Packets on the wire to the clients since stats_reset.';
COMMENT ON COLUMN pg_netstat_client.wire_bytes_in IS
'Bytes on the wire from the clients since stats_reset, all headers included.';
COMMENT ON COLUMN pg_netstat_client.wire_bytes_out IS
'Bytes on the wire to the clients since stats_reset, all headers and retransmissions included.';
COMMENT ON COLUMN pg_netstat_client.stats_reset IS
'Since when the totals count.';

CREATE VIEW pg_netstat_network AS
SELECT s.network, s.sessions, s.live_sessions, s.failed_connections, s.bytes_in, s.bytes_out,
       s.bytes_in_speed, s.bytes_out_speed, s.segments_in, s.segments_out, s.retransmitted_bytes,
       s.retransmitted_segments, s.packets_in, s.packets_out, s.wire_bytes_in, s.wire_bytes_out,
       s.stats_reset
FROM pg_netstat_read('pg_netstat_network') AS s (
    network text,
    sessions int8,
    live_sessions int8,
    failed_connections int8,
    bytes_in int8,
    bytes_out int8,
    bytes_in_speed float8,
    bytes_out_speed float8,
    segments_in int8,
    segments_out int8,
    retransmitted_bytes int8,
    retransmitted_segments int8,
    packets_in int8,
    packets_out int8,
    wire_bytes_in int8,
    wire_bytes_out int8,
    stats_reset timestamptz);

GRANT SELECT ON pg_netstat_network TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_network IS
'What sessions did, per network of pg_netstat.networks, since stats_reset, and the packets on the wire. Bytes are TCP payload, wire_bytes have all headers. "In" is toward the server, "out" is from it.';
COMMENT ON COLUMN pg_netstat_network.network IS
'Name of the network by pg_netstat.networks, of which the smallest one counts that an address is in; "(other)" for the rest, "(local)" for Unix-domain sockets, "(none)" for connections of unknown origin.';
COMMENT ON COLUMN pg_netstat_network.sessions IS
'Sessions opened since stats_reset.';
COMMENT ON COLUMN pg_netstat_network.live_sessions IS
'Sessions that are open now, also those opened before stats_reset.';
COMMENT ON COLUMN pg_netstat_network.failed_connections IS
'Connections refused or not authenticated since stats_reset.';
COMMENT ON COLUMN pg_netstat_network.bytes_in IS
'Payload bytes of TCP from the clients since stats_reset, without headers. Sessions by Unix-domain socket add nothing, as nobody knows what they sent.';
COMMENT ON COLUMN pg_netstat_network.bytes_out IS
'Payload bytes of TCP to the clients since stats_reset, without headers and retransmissions; of sessions by Unix-domain socket, bytes of the protocol.';
COMMENT ON COLUMN pg_netstat_network.bytes_in_speed IS
'Payload bytes from the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_network.bytes_out_speed IS
'Payload bytes to the clients per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_network.segments_in IS
'TCP segments from the clients since stats_reset, also those without payload.';
COMMENT ON COLUMN pg_netstat_network.segments_out IS
'TCP segments to the clients since stats_reset, also those without payload and those sent again.';
COMMENT ON COLUMN pg_netstat_network.retransmitted_bytes IS
'Payload bytes that were sent again since stats_reset; they are not in bytes_out.';
COMMENT ON COLUMN pg_netstat_network.retransmitted_segments IS
'TCP segments that were sent again since stats_reset; they are in segments_out.';
COMMENT ON COLUMN pg_netstat_network.packets_in IS
'Packets on the wire from the clients since stats_reset, as pg_netstat_device counts them: also of what never became a session.';
COMMENT ON COLUMN pg_netstat_network.packets_out IS
'Packets on the wire to the clients since stats_reset.';
COMMENT ON COLUMN pg_netstat_network.wire_bytes_in IS
'Bytes on the wire from the clients since stats_reset, all headers included.';
COMMENT ON COLUMN pg_netstat_network.wire_bytes_out IS
'Bytes on the wire to the clients since stats_reset, all headers and retransmissions included.';
COMMENT ON COLUMN pg_netstat_network.stats_reset IS
'Since when the totals count.';

-- What: totals per statement -----------------------------------------------------

CREATE VIEW pg_netstat_statements AS
SELECT s.userid, coalesce(r.rolname, s.usename) AS usename, s.dbid,
       coalesce(d.datname, s.datname) AS datname, s.queryid, s.statement, s.calls, s.bytes_out,
       s.messages_out, s.max_bytes_out, s.mean_bytes_out, s.rows, s.bytes_in, s.bytes_out_speed,
       s.stats_since, s.stats_reset
FROM pg_netstat_read('pg_netstat_statements') AS s (
    userid oid,
    usename text,
    dbid oid,
    datname text,
    queryid int8,
    statement text,
    calls int8,
    bytes_out int8,
    messages_out int8,
    max_bytes_out int8,
    mean_bytes_out float8,
    rows int8,
    bytes_in int8,
    bytes_out_speed float8,
    stats_since timestamptz,
    stats_reset timestamptz)
LEFT JOIN (SELECT oid, pg_netstat_name(rolname) AS rolname FROM pg_roles) AS r ON r.oid = s.userid
LEFT JOIN (SELECT oid, pg_netstat_name(datname) AS datname FROM pg_database) AS d ON d.oid = s.dbid;

GRANT SELECT ON pg_netstat_statements TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_statements IS
'What the server sent for each statement since stats_reset: one row per role, database and query identifier. Bytes are those of the protocol, before TLS and TCP. Statements inside of functions belong to the one that the client sent.';
COMMENT ON COLUMN pg_netstat_statements.userid IS
'OID of the role that ran the statement, as in pg_stat_statements.';
COMMENT ON COLUMN pg_netstat_statements.usename IS
'Name of that role.';
COMMENT ON COLUMN pg_netstat_statements.dbid IS
'OID of the database.';
COMMENT ON COLUMN pg_netstat_statements.datname IS
'Name of the database.';
COMMENT ON COLUMN pg_netstat_statements.queryid IS
'Identifier of the query, as in pg_stat_statements and pg_stat_activity; null for special rows.';
COMMENT ON COLUMN pg_netstat_statements.statement IS
'Null for a statement. "(protocol)": messages of no statement, as of authentication or ready for query. "(none)": of a statement without an identifier (see compute_query_id), or outside of any. "(other)": rows beyond pg_netstat.max_entries, or that a session had no room for.';
COMMENT ON COLUMN pg_netstat_statements.calls IS
'How often it was executed.';
COMMENT ON COLUMN pg_netstat_statements.bytes_out IS
'Bytes of the protocol that were sent for it, with the type and length of each message.';
COMMENT ON COLUMN pg_netstat_statements.messages_out IS
'Messages of the protocol that were sent for it.';
COMMENT ON COLUMN pg_netstat_statements.max_bytes_out IS
'Bytes that one call sent at most.';
COMMENT ON COLUMN pg_netstat_statements.mean_bytes_out IS
'Bytes that a call sent on the average.';
COMMENT ON COLUMN pg_netstat_statements.rows IS
'Rows that were sent or changed.';
COMMENT ON COLUMN pg_netstat_statements.bytes_in IS
'Data bytes that the clients sent for COPY FROM STDIN; null if there were none, as what else they send is not known per statement.';
COMMENT ON COLUMN pg_netstat_statements.bytes_out_speed IS
'Bytes sent for it per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_statements.stats_since IS
'Since when the row counts.';
COMMENT ON COLUMN pg_netstat_statements.stats_reset IS
'When all totals were set to zero last.';

CREATE FUNCTION pg_netstat_query_texts(
    OUT userid oid,
    OUT dbid oid,
    OUT queryid int8,
    OUT query text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    place text;
BEGIN
    SELECT n.nspname INTO place
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_stat_statements';
    IF place IS NULL OR NOT has_table_privilege(format('%I.pg_stat_statements', place), 'SELECT') THEN
        RETURN;
    END IF;
    -- A text may be there twice, as of the top level and inside of a function.
    RETURN QUERY EXECUTE format(
        'SELECT s.userid, s.dbid, s.queryid, min(s.query)
         FROM %I.pg_stat_statements AS s WHERE s.queryid IS NOT NULL GROUP BY 1, 2, 3', place);
EXCEPTION
    -- It is installed, but not preloaded.
    WHEN object_not_in_prerequisite_state THEN
        RETURN;
END
$$;

REVOKE ALL ON FUNCTION pg_netstat_query_texts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_netstat_query_texts() TO pg_read_all_stats;

COMMENT ON FUNCTION pg_netstat_query_texts() IS
'Texts of queries as pg_stat_statements has them for the caller; no row where it is not installed in this database. The view pg_netstat_top_statements uses it.';

CREATE VIEW pg_netstat_top_statements AS
SELECT s.userid, s.usename, s.dbid, s.datname, s.queryid, s.statement, s.calls, s.bytes_out,
       s.messages_out, s.max_bytes_out, s.mean_bytes_out, s.rows, s.bytes_in, s.bytes_out_speed,
       s.stats_since, s.stats_reset, t.query,
       s.bytes_out / nullif(sum(s.bytes_out) OVER (), 0)::float8 AS share
FROM pg_netstat_statements AS s
LEFT JOIN pg_netstat_query_texts() AS t USING (userid, dbid, queryid)
ORDER BY s.bytes_out DESC;

GRANT SELECT ON pg_netstat_top_statements TO pg_read_all_stats;

COMMENT ON VIEW pg_netstat_top_statements IS
'pg_netstat_statements with the texts of the queries where pg_stat_statements has them, first what sent the most. Bytes are those of the protocol.';
COMMENT ON COLUMN pg_netstat_top_statements.userid IS
'OID of the role that ran the statement, as in pg_stat_statements.';
COMMENT ON COLUMN pg_netstat_top_statements.usename IS
'Name of that role.';
COMMENT ON COLUMN pg_netstat_top_statements.dbid IS
'OID of the database.';
COMMENT ON COLUMN pg_netstat_top_statements.datname IS
'Name of the database.';
COMMENT ON COLUMN pg_netstat_top_statements.queryid IS
'Identifier of the query, as in pg_stat_statements and pg_stat_activity; null for special rows.';
COMMENT ON COLUMN pg_netstat_top_statements.statement IS
'Null for a statement. "(protocol)": messages of no statement, as of authentication or ready for query. "(none)": of a statement without an identifier (see compute_query_id), or outside of any. "(other)": rows beyond pg_netstat.max_entries, or that a session had no room for.';
COMMENT ON COLUMN pg_netstat_top_statements.calls IS
'How often it was executed.';
COMMENT ON COLUMN pg_netstat_top_statements.bytes_out IS
'Bytes of the protocol that were sent for it, with the type and length of each message.';
COMMENT ON COLUMN pg_netstat_top_statements.messages_out IS
'Messages of the protocol that were sent for it.';
COMMENT ON COLUMN pg_netstat_top_statements.max_bytes_out IS
'Bytes that one call sent at most.';
COMMENT ON COLUMN pg_netstat_top_statements.mean_bytes_out IS
'Bytes that a call sent on the average.';
COMMENT ON COLUMN pg_netstat_top_statements.rows IS
'Rows that were sent or changed.';
COMMENT ON COLUMN pg_netstat_top_statements.bytes_in IS
'Data bytes that the clients sent for COPY FROM STDIN; null if there were none, as what else they send is not known per statement.';
COMMENT ON COLUMN pg_netstat_top_statements.bytes_out_speed IS
'Bytes sent for it per second, over the last refresh (pg_netstat.refresh_interval).';
COMMENT ON COLUMN pg_netstat_top_statements.stats_since IS
'Since when the row counts.';
COMMENT ON COLUMN pg_netstat_top_statements.stats_reset IS
'When all totals were set to zero last.';
COMMENT ON COLUMN pg_netstat_top_statements.query IS
'Text of the query; null where pg_stat_statements does not have it.';
COMMENT ON COLUMN pg_netstat_top_statements.share IS
'Part of all bytes_out that is this row''s, from 0 to 1.';

-- Can I trust it? -------------------------------------------------------------

CREATE VIEW pg_netstat_status AS
SELECT CASE WHEN w.state = 'running' THEN coalesce(a.state, 'starting') ELSE w.state END AS state,
       a.engine, a.engine_reason, a.exact, a.inexact_reason, a.devices, a.port,
       w.agent_pid, w.agent_version, w.started_at, w.restarts, w.last_error, w.last_error_at,
       a.warning, a.packets_lost, a.gaps, a.gap_seconds, a.last_gap_start, a.last_gap_end,
       a.restored, a.restored_from, a.sessions_live, a.events_folded,
       clock_timestamp() - w.snapshot_at AS snapshot_age,
       w.saved_at, a.stats_reset
FROM pg_netstat_worker() AS w
LEFT JOIN LATERAL (
    SELECT *
    FROM pg_netstat_read('pg_netstat_status') AS s (
        state text,
        engine text,
        engine_reason text,
        exact bool,
        inexact_reason text,
        devices text,
        port int4,
        warning text,
        packets_lost int8,
        gaps int8,
        gap_seconds float8,
        last_gap_start timestamptz,
        last_gap_end timestamptz,
        restored text,
        restored_from timestamptz,
        sessions_live int8,
        events_folded int8,
        stats_reset timestamptz)
    LIMIT 1) AS a ON true;

GRANT SELECT ON pg_netstat_status TO PUBLIC;

COMMENT ON VIEW pg_netstat_status IS
'One row: whether pg_netstat works, how it counts, and how far its figures can be trusted. What only the agent knows is as it last said, and null before that.';
COMMENT ON COLUMN pg_netstat_status.state IS
'"counting" if all is well. Otherwise "starting", "no agent" (it ended or cannot be started, see last_error; it will be started again), "restart needed" (the server runs another version of the module than is installed), "no worker" (see the server''s log), "no engine" (see engine_reason), or "waiting for a device" (see warning).';
COMMENT ON COLUMN pg_netstat_status.engine IS
'Where the packet counts come from: "ebpf", "pcap", or "sockdiag" (derived from what the sessions carried, see inexact_reason).';
COMMENT ON COLUMN pg_netstat_status.engine_reason IS
'Why no better engine is in use, and what is missing for it; null if none is better.';
COMMENT ON COLUMN pg_netstat_status.exact IS
'Whether the counts are exact.';
COMMENT ON COLUMN pg_netstat_status.inexact_reason IS
'In which way the counts are not exact; null if they are.';
COMMENT ON COLUMN pg_netstat_status.devices IS
'Network devices that are counted on now, separated by commas.';
COMMENT ON COLUMN pg_netstat_status.port IS
'TCP port whose traffic is counted.';
COMMENT ON COLUMN pg_netstat_status.agent_pid IS
'Process ID of the agent; null if none runs.';
COMMENT ON COLUMN pg_netstat_status.agent_version IS
'Version of the agent that runs now or ran last.';
COMMENT ON COLUMN pg_netstat_status.started_at IS
'When that agent was started.';
COMMENT ON COLUMN pg_netstat_status.restarts IS
'How often an agent had to be started again since the server started.';
COMMENT ON COLUMN pg_netstat_status.last_error IS
'The last thing that went wrong with worker or agent since the server started; it need not be so any more.';
COMMENT ON COLUMN pg_netstat_status.last_error_at IS
'When last_error happened.';
COMMENT ON COLUMN pg_netstat_status.warning IS
'What is wrong with the settings or the devices at present; null if nothing is.';
COMMENT ON COLUMN pg_netstat_status.packets_lost IS
'Packets since stats_reset that the engine knows it did not count.';
COMMENT ON COLUMN pg_netstat_status.gaps IS
'Number of periods since stats_reset in which nothing was counted, because no agent ran, no engine could, or the server was stopped.';
COMMENT ON COLUMN pg_netstat_status.gap_seconds IS
'Length of those periods that are over, together, in seconds.';
COMMENT ON COLUMN pg_netstat_status.last_gap_start IS
'Start of the last of those periods.';
COMMENT ON COLUMN pg_netstat_status.last_gap_end IS
'End of the last of those periods; null while it lasts.';
COMMENT ON COLUMN pg_netstat_status.restored IS
'What this agent began with: what a former one had published ("shared memory"), or what was saved before the server started ("file"); null if it began with nothing.';
COMMENT ON COLUMN pg_netstat_status.restored_from IS
'When that was published.';
COMMENT ON COLUMN pg_netstat_status.sessions_live IS
'Sessions that are open now.';
COMMENT ON COLUMN pg_netstat_status.events_folded IS
'Calls and changes of sessions since stats_reset that were added to "(other)", as a session had no room for them before they were read. The sums are exact nevertheless.';
COMMENT ON COLUMN pg_netstat_status.snapshot_age IS
'Time since the agent last published its figures; about pg_netstat.refresh_interval at most while it runs.';
COMMENT ON COLUMN pg_netstat_status.saved_at IS
'When totals and history were last saved for the next start of the server.';
COMMENT ON COLUMN pg_netstat_status.stats_reset IS
'Since when totals count.';
