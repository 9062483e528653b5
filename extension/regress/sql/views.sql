-- What the views show.
SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname LIKE 'pg\_netstat%' AND c.relkind = 'v' AND a.attnum > 0
ORDER BY c.relname COLLATE "C", a.attnum;

-- The functions.
SELECT p.oid::regprocedure AS function, pg_get_function_result(p.oid) AS result
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'pg_netstat' ORDER BY p.proname COLLATE "C";

-- Everything that the extension made and that a user sees has a comment.
SELECT pg_describe_object(d.classid, d.objid, 0) AS uncommented
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'pg_netstat' AND d.deptype = 'e'
  AND d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
  AND obj_description(d.objid, d.classid::regclass::name) IS NULL
ORDER BY 1;
SELECT c.relname, a.attname AS uncommented
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname LIKE 'pg\_netstat%' AND c.relkind = 'v' AND a.attnum > 0
  AND col_description(c.oid, a.attnum) IS NULL
ORDER BY c.relname, a.attnum;

-- Reading works at any time, and there is one row of status at any time.
SELECT count(*) >= 0 AS readable FROM pg_netstat;
SELECT count(*) >= 0 AS readable FROM pg_netstat_device;
SELECT count(*) AS rows FROM pg_netstat_status;
SELECT count(*) AS rows, bool_and(worker_pid > 0) AS worker FROM pg_netstat_worker();

-- Rows are ordered, and those of one device do not overlap.
SELECT count(*) AS disorder FROM (
    SELECT (device, ts) <= (lag(device) OVER (), lag(ts) OVER ()) AS wrong FROM pg_netstat) s
WHERE wrong;

-- Who and what: what is published is of one moment, and the sums are equal. One
-- publication may come between two views of a query, so it may take a few tries.
DO $$
DECLARE
    equal bool;
BEGIN
    FOR i IN 1..300 LOOP
        SELECT count(DISTINCT sums) = 1 AND count(*) = 5 INTO equal FROM (
            SELECT (sum(sessions), sum(live_sessions), sum(failed_connections), sum(bytes_in), sum(bytes_out),
                    sum(segments_in), sum(segments_out), sum(retransmitted_bytes), sum(retransmitted_segments)) AS sums
            FROM pg_netstat_database HAVING sum(sessions) > 0
            UNION ALL SELECT (sum(sessions), sum(live_sessions), sum(failed_connections), sum(bytes_in), sum(bytes_out),
                    sum(segments_in), sum(segments_out), sum(retransmitted_bytes), sum(retransmitted_segments))
            FROM pg_netstat_role HAVING sum(sessions) > 0
            UNION ALL SELECT (sum(sessions), sum(live_sessions), sum(failed_connections), sum(bytes_in), sum(bytes_out),
                    sum(segments_in), sum(segments_out), sum(retransmitted_bytes), sum(retransmitted_segments))
            FROM pg_netstat_application HAVING sum(sessions) > 0
            UNION ALL SELECT (sum(sessions), sum(live_sessions), sum(failed_connections), sum(bytes_in), sum(bytes_out),
                    sum(segments_in), sum(segments_out), sum(retransmitted_bytes), sum(retransmitted_segments))
            FROM pg_netstat_client HAVING sum(sessions) > 0
            UNION ALL SELECT (sum(sessions), sum(live_sessions), sum(failed_connections), sum(bytes_in), sum(bytes_out),
                    sum(segments_in), sum(segments_out), sum(retransmitted_bytes), sum(retransmitted_segments))
            FROM pg_netstat_network HAVING sum(sessions) > 0) AS s;
        EXIT WHEN equal;
        PERFORM pg_sleep(0.1);
    END LOOP;
    IF equal IS NOT TRUE THEN
        RAISE EXCEPTION 'the sums of the views differ';
    END IF;
END $$;

-- This session is among the live ones, by the names that it has now.
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        EXIT WHEN EXISTS (SELECT FROM pg_netstat_activity WHERE pid = pg_backend_pid());
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;
SELECT datname = current_database() AS database, usename = session_user AS role,
       application_name = current_setting('application_name') AS application, backend_type,
       client_addr, network, bytes_in, bytes_out > 0 AS sent, connected_at < now() AS connected
FROM pg_netstat_activity WHERE pid = pg_backend_pid();
