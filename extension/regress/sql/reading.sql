-- What follows needs something published: wait for it.
DO $$
BEGIN
    FOR i IN 1..300 LOOP
        EXIT WHEN (SELECT snapshot_at IS NOT NULL FROM pg_netstat_worker());
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;
SELECT count(*) AS rows FROM pg_netstat_read('pg_netstat_status') AS s (state text);

-- A caller may ask for the first columns.
SELECT count(*) >= 0 AS readable
FROM pg_netstat_read('pg_netstat_device') AS s (device text, state text, packets_in int8);

-- Any other type is refused, also one that would be read alike.
SELECT * FROM pg_netstat_read('pg_netstat_status') AS s (state int4);
SELECT * FROM pg_netstat_read('pg_netstat_status') AS s (state varchar);
SELECT * FROM pg_netstat_read('pg_netstat_status') AS s (state varchar(3));
SELECT * FROM pg_netstat_read('pg_netstat_status') AS s (state name);
SELECT * FROM pg_netstat_read('pg_netstat_status') AS s (state text[]);
SELECT * FROM pg_netstat_read('pg_netstat_device') AS s (device text, state text, packets_in int4);
SELECT * FROM pg_netstat_read('pg_netstat') AS s (device text, ts timestamp);
SELECT * FROM pg_netstat_read('pg_netstat') AS s (device text, ts timestamptz(3));

-- A domain is another type than the one it is over.
CREATE DOMAIN regress_netstat_domain AS text CHECK (false);
SELECT * FROM pg_netstat_read('pg_netstat_status') AS s (state regress_netstat_domain);
DROP DOMAIN regress_netstat_domain;

-- More columns than there are. How many there are is the agent's affair.
\set VERBOSITY terse
SELECT * FROM pg_netstat_read('pg_netstat_device') AS s (
    device text, state text, c3 int8, c4 int8, c5 float8, c6 float8, c7 int8, c8 int8,
    c9 float8, c10 float8, c11 timestamptz, c12 timestamptz, c13 float8, c14 int8, c15 int8,
    c16 int8, c17 int8, c18 int8, c19 int8, c20 int8, c21 int8, c22 int8, c23 int8, c24 int8,
    c25 int8, c26 int8, c27 int8, c28 int8, c29 int8, c30 int8);
\set VERBOSITY default

-- Not called as it has to be.
SELECT pg_netstat_read('pg_netstat');
SELECT * FROM pg_netstat_read('pg_netstat');
SELECT * FROM pg_netstat_read(NULL) AS s (device text);

-- A reader that stops early, and one that reads twice at once.
SELECT count(*) AS rows FROM (SELECT * FROM pg_netstat_device LIMIT 1) s WHERE false;
SELECT count(*) >= 0 AS readable FROM pg_netstat_device a JOIN pg_netstat_device b USING (device);

-- With any encoding of the client.
SET client_encoding = 'LATIN1';
SELECT count(*) AS rows FROM pg_netstat_status;
SET client_encoding = 'SJIS';
SELECT count(*) AS rows FROM pg_netstat_status;
RESET client_encoding;
