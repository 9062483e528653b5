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

-- Can I trust it? -------------------------------------------------------------

CREATE VIEW pg_netstat_status AS
SELECT CASE WHEN w.state = 'running' THEN coalesce(a.state, 'starting') ELSE w.state END AS state,
       a.engine, a.engine_reason, a.exact, a.inexact_reason, a.devices, a.port,
       w.agent_pid, w.agent_version, w.started_at, w.restarts, w.last_error, w.last_error_at,
       a.warning, a.packets_lost, a.gaps, a.gap_seconds, a.last_gap_start, a.last_gap_end,
       a.restored, a.restored_from,
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
        stats_reset timestamptz)
    LIMIT 1) AS a ON true;

GRANT SELECT ON pg_netstat_status TO PUBLIC;

COMMENT ON VIEW pg_netstat_status IS
'One row: whether pg_netstat works, how it counts, and how far its figures can be trusted. What only the agent knows is as it last said, and null before that.';
COMMENT ON COLUMN pg_netstat_status.state IS
'"counting" if all is well. Otherwise "starting", "no agent" (it ended or cannot be started, see last_error; it will be started again), "restart needed" (the server runs another version of the module than is installed), "no worker" (see the server''s log), or what else the agent says of itself.';
COMMENT ON COLUMN pg_netstat_status.engine IS
'Where the packet counts come from: "ebpf" or "pcap".';
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
'Number of periods since stats_reset in which nothing was counted while the server ran, because no agent did.';
COMMENT ON COLUMN pg_netstat_status.gap_seconds IS
'Length of all those periods together, in seconds.';
COMMENT ON COLUMN pg_netstat_status.last_gap_start IS
'Start of the last of those periods.';
COMMENT ON COLUMN pg_netstat_status.last_gap_end IS
'End of the last of those periods.';
COMMENT ON COLUMN pg_netstat_status.restored IS
'What this agent began with: what a former one had published ("shared memory"), or what was saved before the server started ("file"); null if it began with nothing.';
COMMENT ON COLUMN pg_netstat_status.restored_from IS
'When that was published.';
COMMENT ON COLUMN pg_netstat_status.snapshot_age IS
'Time since the agent last published its figures; about pg_netstat.refresh_interval at most while it runs.';
COMMENT ON COLUMN pg_netstat_status.saved_at IS
'When totals and history were last saved for the next start of the server.';
COMMENT ON COLUMN pg_netstat_status.stats_reset IS
'Since when totals count.';
