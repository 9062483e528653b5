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
RESET ROLE;

-- Reset can be granted.
GRANT EXECUTE ON FUNCTION pg_netstat_reset() TO regress_netstat_nobody;
SELECT has_function_privilege('regress_netstat_nobody', 'pg_netstat_reset()', 'EXECUTE');
REVOKE EXECUTE ON FUNCTION pg_netstat_reset() FROM regress_netstat_nobody;
DROP ROLE regress_netstat_nobody;
