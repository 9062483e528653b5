-- What a role without any right may do.
CREATE ROLE regress_netstat_nobody;
SET ROLE regress_netstat_nobody;
SELECT count(*) >= 0 AS readable FROM pg_netstat;
SELECT count(*) >= 0 AS readable FROM pg_netstat_device;
SELECT count(*) AS rows FROM pg_netstat_status;
SELECT count(*) AS rows FROM pg_netstat_worker();
SELECT count(*) >= 0 AS readable FROM pg_netstat_read('pg_netstat_device') AS s (device text);
SELECT pg_netstat_reset();

-- What is there besides the views for everyone is not told.
SELECT * FROM pg_netstat_read('not_a_snapshot') AS s (a int4);
SELECT * FROM pg_netstat_read('') AS s (a int4);

-- Who and what is for those who may read all statistics: neither the views, nor the
-- snapshots behind them, nor the texts of queries.
SELECT * FROM pg_netstat_activity;
SELECT * FROM pg_netstat_client;
SELECT * FROM pg_netstat_network;
SELECT * FROM pg_netstat_database;
SELECT * FROM pg_netstat_role;
SELECT * FROM pg_netstat_application;
SELECT * FROM pg_netstat_statements;
SELECT * FROM pg_netstat_top_statements;
SELECT * FROM pg_netstat_query_texts();
SELECT * FROM pg_netstat_read('pg_netstat_activity') AS s (pid int4);
SELECT * FROM pg_netstat_read('pg_netstat_client') AS s (client text);
SELECT * FROM pg_netstat_read('pg_netstat_network') AS s (network text);
SELECT * FROM pg_netstat_read('pg_netstat_database') AS s (datid oid);
SELECT * FROM pg_netstat_read('pg_netstat_role') AS s (usesysid oid);
SELECT * FROM pg_netstat_read('pg_netstat_application') AS s (application_name text);
SELECT * FROM pg_netstat_read('pg_netstat_statements') AS s (userid oid);
RESET ROLE;

-- The function itself decides, also behind a view of somebody else.
CREATE VIEW regress_netstat_view AS SELECT * FROM pg_netstat_read('not_a_snapshot') AS s (a int4);
GRANT SELECT ON regress_netstat_view TO regress_netstat_nobody;
SET ROLE regress_netstat_nobody;
SELECT * FROM regress_netstat_view;
RESET ROLE;
DROP VIEW regress_netstat_view;

-- One who may read statistics learns that there is none of that name.
GRANT pg_read_all_stats TO regress_netstat_nobody;
SET ROLE regress_netstat_nobody;
SELECT * FROM pg_netstat_read('not_a_snapshot') AS s (a int4);
SELECT pg_netstat_reset();
-- And may read who and what.
SELECT count(*) >= 0 AS readable FROM pg_netstat_activity;
SELECT count(*) >= 0 AS readable FROM pg_netstat_client;
SELECT count(*) >= 0 AS readable FROM pg_netstat_network;
SELECT count(*) >= 0 AS readable FROM pg_netstat_database;
SELECT count(*) >= 0 AS readable FROM pg_netstat_role;
SELECT count(*) >= 0 AS readable FROM pg_netstat_application;
SELECT count(*) >= 0 AS readable FROM pg_netstat_statements;
SELECT count(*) >= 0 AS readable FROM pg_netstat_top_statements;
RESET ROLE;

-- Reset can be granted.
GRANT EXECUTE ON FUNCTION pg_netstat_reset() TO regress_netstat_nobody;
SELECT has_function_privilege('regress_netstat_nobody', 'pg_netstat_reset()', 'EXECUTE');
REVOKE EXECUTE ON FUNCTION pg_netstat_reset() FROM regress_netstat_nobody;
DROP ROLE regress_netstat_nobody;
