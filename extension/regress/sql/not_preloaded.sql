-- For a server without the module in shared_preload_libraries:
--   make -C extension installcheck REGRESS=not_preloaded
-- The extension can be created, and says what it lacks when it is used.
SELECT extname FROM pg_extension WHERE extname = 'pg_netstat';
SELECT * FROM pg_netstat;
SELECT * FROM pg_netstat_device;
SELECT * FROM pg_netstat_status;
SELECT * FROM pg_netstat_worker();
SELECT pg_netstat_reset();
SELECT count(*) AS settings FROM pg_settings WHERE name LIKE 'pg\_netstat.%';
