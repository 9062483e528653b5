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
