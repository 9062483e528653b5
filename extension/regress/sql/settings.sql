-- Every setting with its unit, range, context and default. The default of
-- pg_netstat.agent_path depends on the installation.
SELECT name, vartype, unit, min_val, max_val, enumvals, context,
       CASE WHEN name = 'pg_netstat.agent_path'
            THEN boot_val LIKE '/%/pg\_netstat-agent' ELSE NULL END AS agent_path,
       CASE WHEN name = 'pg_netstat.agent_path' THEN NULL ELSE boot_val END AS boot_val
FROM pg_settings WHERE name LIKE 'pg\_netstat.%' ORDER BY name COLLATE "C";

-- Each setting is described.
SELECT name FROM pg_settings WHERE name LIKE 'pg\_netstat.%' AND coalesce(short_desc, '') = '';

-- Values out of range are refused. Only the code is shown: the text differs
-- between versions of PostgreSQL.
\set VERBOSITY sqlstate
ALTER SYSTEM SET pg_netstat.interval = 0;
ALTER SYSTEM SET pg_netstat.interval = 900001;
ALTER SYSTEM SET pg_netstat.history = 0;
ALTER SYSTEM SET pg_netstat.history = 86401;
ALTER SYSTEM SET pg_netstat.refresh_interval = 0;
ALTER SYSTEM SET pg_netstat.refresh_interval = 3601;
ALTER SYSTEM SET pg_netstat.packet_wait_time = -1;
ALTER SYSTEM SET pg_netstat.packet_wait_time = 11;
ALTER SYSTEM SET pg_netstat.pcap_buffer_size = 131069;
ALTER SYSTEM SET pg_netstat.pcap_buffer_size = 90000001;
ALTER SYSTEM SET pg_netstat.pcap_snaplen = 95;
ALTER SYSTEM SET pg_netstat.pcap_snaplen = 65536;
ALTER SYSTEM SET pg_netstat.pcap_timeout = 0;
ALTER SYSTEM SET pg_netstat.pcap_timeout = 30001;
ALTER SYSTEM SET pg_netstat.engine = 'guess';
ALTER SYSTEM SET pg_netstat.max_entries = 99;
ALTER SYSTEM SET pg_netstat.max_entries = 1000001;
ALTER SYSTEM SET pg_netstat.max_memory = '1023kB';
ALTER SYSTEM SET pg_netstat.max_memory = '2GB';
ALTER SYSTEM SET pg_netstat.capture_loopback = 'perhaps';
ALTER SYSTEM SET pg_netstat.track_statements = 'perhaps';
ALTER SYSTEM SET pg_netstat.save = 'perhaps';
ALTER SYSTEM SET pg_netstat.agent_path = 'relative/path';

-- Units are understood.
ALTER SYSTEM SET pg_netstat.interval = '1kB';

-- A session cannot change them.
SET pg_netstat.interval = 5;
SET pg_netstat.max_memory = '64MB';

-- The prefix is ours.
SET pg_netstat.not_a_setting = 1;
\set VERBOSITY default
