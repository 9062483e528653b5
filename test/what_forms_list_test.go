package test

import (
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// formsSchema is what the forms work with.
const formsSchema = `
CREATE EXTENSION pg_stat_statements;
CREATE TABLE numbers AS SELECT n FROM generate_series(1, 10) AS n;
CREATE TABLE many AS SELECT n FROM generate_series(1, 100000) AS n;
ALTER TABLE many SET (parallel_workers = 2);
ANALYZE;
CREATE TABLE kept (n int PRIMARY KEY, note text);
CREATE FUNCTION nested(n int) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE r record; BEGIN
		FOR r IN SELECT * FROM numbers LOOP NULL; END LOOP;
		EXECUTE 'SELECT ' || n; RAISE NOTICE 'nested %', n;
		BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END;
		RETURN n;
	END $$;
CREATE FUNCTION defined(n int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN RAISE NOTICE 'by %', current_user; RETURN count(*) FROM numbers; END $$;
CREATE PROCEDURE commits(INOUT n int) LANGUAGE plpgsql AS $$
	BEGIN FOR i IN 1 .. n LOOP RAISE NOTICE 'step %', i; COMMIT; END LOOP; ROLLBACK; n := n + 1; END $$;
CREATE FUNCTION says() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN PERFORM nested(NEW.n); RETURN NEW; END $$;
CREATE FUNCTION looks(n int) RETURNS bool LANGUAGE plpgsql AS $$
	DECLARE r record; BEGIN FOR r IN SELECT * FROM numbers LOOP NULL; END LOOP; RAISE NOTICE 'looked'; RETURN true; END $$;
CREATE DOMAIN looked AS int CHECK (looks(VALUE));
CREATE TABLE deferred (n int);
CREATE CONSTRAINT TRIGGER says AFTER INSERT ON deferred INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION says();
CREATE TABLE ruled (n int);
CREATE RULE more AS ON INSERT TO ruled DO ALSO SELECT n FROM numbers WHERE numbers.n <= NEW.n;
CREATE FUNCTION works(n int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN IF n = 99999 THEN RAISE NOTICE 'worked'; END IF; RETURN n; END $$;
`

// megabytes is a line of copied data of 1 MB.
func megabyte() string { return "1\t" + strings.Repeat("x", 1<<20-3) + "\n" }

func allForms() []form {
	var all []form
	for _, some := range [][]form{simpleForms(), extendedForms(), portalForms(), cursorForms(), copyForms(), nestedForms(),
		preparedForms(), errorForms(), otherForms()} {
		all = append(all, some...)
	}
	return all
}

func simpleForms() []form {
	return []form{{
		name:   "simple",
		owners: owners{"a": "SELECT $1"},
		steps:  []step{simple("SELECT 1", "a:TDC p:Z"), simple("SELECT 22", "a:TDC p:Z"), simple("", "n:I p:Z")},
	}, {
		name: "several in one string",
		owners: owners{"a": "SELECT $1", "b": "SELECT n FROM numbers", "c": "BEGIN", "d": "INSERT INTO kept VALUES ($1), ($2)",
			"e": "ROLLBACK"},
		steps: []step{simple("SELECT 1; SELECT n FROM numbers; BEGIN; INSERT INTO kept VALUES (101), (102); SELECT 2; ROLLBACK",
			"a:TDC b:TD+C c:C d:C a:TDC e:C p:Z")},
	}, {
		name:   "rows of rules",
		owners: owners{"a": "INSERT INTO ruled VALUES ($1)"},
		steps:  []step{simple("INSERT INTO ruled VALUES (3)", "a:TDDDC p:Z")},
	}, {
		name:   "returning",
		owners: owners{"a": "INSERT INTO kept VALUES ($1), ($2) RETURNING n"},
		steps:  []step{simple("INSERT INTO kept VALUES (201), (202) RETURNING n", "a:TDDC p:Z")},
	}, {
		name:   "explain",
		owners: owners{"a": "EXPLAIN ANALYZE SELECT * FROM numbers", "b": "EXPLAIN SELECT 1"},
		steps:  []step{simple("EXPLAIN ANALYZE SELECT * FROM numbers", "a:TD+C p:Z"), simple("EXPLAIN SELECT 1", "b:TDC p:Z")},
	}, {
		name:   "large rows",
		owners: owners{"a": "SELECT repeat($1, $2) FROM numbers"},
		steps:  []step{simple("SELECT repeat('x', 5000000) FROM numbers", "a:TD+C p:Z")},
	}, {
		name:   "settings that the client is told of",
		owners: owners{"a": "SET application_name = 'else'", "b": "SHOW work_mem"},
		steps:  []step{simple("SET application_name = 'else'", "a:C p:SZ"), simple("SHOW work_mem", "b:TDC p:Z")},
	}}
}

func extendedForms() []form {
	return []form{{
		name:   "prepared statement",
		owners: owners{"a": "SELECT n FROM numbers WHERE n <= $1", "b": "SELECT n FROM numbers"},
		steps: []step{
			{send: messages{prepare("s", "SELECT n FROM numbers WHERE n <= $1"), describe('S', "s"), syncs()}, want: "p:1tTZ"},
			{send: messages{bind("", "s", "3"), describe('P', ""), execute("", 0), syncs()}, want: "p:2T a:DDDC p:Z"},
			{send: messages{bind("", "s", "2"), execute("", 0), syncs()}, want: "p:2 a:DDC p:Z"},
			{send: messages{prepare("", "SELECT n FROM numbers"), bind("", ""), execute("", 0), &pgproto3.Close{ObjectType: 'P'}, syncs()},
				want: "p:12 b:D+C p:3Z"},
		},
	}, {
		name: "empty and without rows",
		owners: owners{
			"a": "CREATE TEMP TABLE made (n int)",
		},
		steps: []step{
			{send: messages{prepare("", ""), bind("", ""), describe('P', ""), execute("", 0), syncs()}, want: "p:12n n:I p:Z"},
			{send: messages{prepare("", "CREATE TEMP TABLE made (n int)"), bind("", ""), describe('P', ""), execute("", 0), syncs()}, want: "p:12n a:C p:Z"},
		},
	}, {
		name:   "pipeline",
		owners: owners{"a": "SELECT n FROM numbers WHERE n <= $1", "b": "SELECT n + $2 FROM numbers WHERE n = $1", "c": "SHOW work_mem"},
		steps: []step{
			{
				send: messages{prepare("a", "SELECT n FROM numbers WHERE n <= $1"), prepare("b", "SELECT n + 1 FROM numbers WHERE n = $1"),
					bind("a", "a", "3"), bind("b", "b", "1"), execute("a", 0), describe('P', "b"), execute("b", 0), syncs()},
				want: "p:1122 a:DDDC p:T b:DC p:Z",
			}, {
				send: messages{bind("a", "a", "4"), execute("a", 2), bind("b", "b", "1"), describe('P', "b"), execute("a", 0),
					prepare("c", "SHOW work_mem"), bind("c", "c"), execute("b", 0), describe('P', "a"), execute("c", 0), syncs()},
				want: "p:2 a:DDs p:2T +a:DDC p:12 b:DC p:T c:DC p:Z",
			}, {
				send: messages{bind("", "a", "1"), execute("", 0), bind("", "b", "2"), execute("", 0), syncs(),
					bind("", "a", "2"), execute("", 0), syncs()},
				want: "p:2 a:DC p:2 b:DC p:Z p:2 a:DDC p:Z",
			},
		},
	}, {
		name:   "flush in mid-statement",
		owners: owners{"a": "SELECT n FROM numbers"},
		steps: []step{
			{send: messages{prepare("", "SELECT n FROM numbers"), &pgproto3.Flush{}}, want: "p:1"},
			{send: messages{bind("", ""), execute("", 4), &pgproto3.Flush{}}, want: "p:2 a:DDDDs"},
			{send: messages{execute("", 0), syncs()}, want: "+a:D+C p:Z"},
		},
	}}
}

func portalForms() []form {
	const returning = "INSERT INTO kept SELECT generate_series($1::int, $2::int) RETURNING n, note"
	return []form{{
		name:   "in pieces",
		owners: owners{"a": "SELECT n FROM numbers", "b": "SELECT n FROM numbers ORDER BY n DESC"},
		steps: []step{
			{
				send: messages{prepare("", "SELECT n FROM numbers"), bind("", ""), execute("", 3), execute("", 5), execute("", 2), execute("", 2), syncs()},
				want: "p:12 a:DDDs +a:DDDDDs +a:DDs +a:C p:Z",
			}, { // not fetched to its end, and two at a time
				send: messages{prepare("a", "SELECT n FROM numbers"), prepare("b", "SELECT n FROM numbers ORDER BY n DESC"), bind("a", "a"), bind("b", "b"),
					execute("a", 1), execute("b", 2), execute("a", 3), execute("b", 0), syncs()},
				want: "p:1122 a:Ds b:DDs",
			},
			{want: "+a:DDDs"},
			{want: "+b:D+C p:Z"},
		},
	}, {
		name:   "in pieces, after a parameter's function had a cursor of its own",
		owners: owners{"a": "SELECT n FROM numbers WHERE n >= $1::looked"},
		steps: []step{{
			send: messages{prepare("", "SELECT n FROM numbers WHERE n >= $1::looked"), bind("", "", "6"), execute("", 2), execute("", 2), execute("", 0), syncs()},
			want: "p:1 n:N p:2 a:DDs +a:DDs +a:DC p:Z",
		}},
	}, {
		name:   "returning, in pieces",
		owners: owners{"a": returning},
		steps: []step{
			{
				send: messages{prepare("a", returning), bind("", "a", "301", "304"), describe('P', ""), execute("", 2), execute("", 2), execute("", 2), syncs()},
				want: "p:12T a:DDs +a:DDs +a:C p:Z",
			}, {
				send: messages{bind("", "a", "311", "312"), execute("", 1), execute("", 0), syncs()},
				want: "p:2 a:Ds +a:DC p:Z",
			},
		},
	}, {
		name:   "two that return, in turn",
		setup:  "INSERT INTO kept VALUES (411), (412)",
		owners: owners{"a": returning, "b": "DELETE FROM kept WHERE n BETWEEN $1 AND $2 RETURNING *"},
		steps: []step{{
			send: messages{prepare("a", returning), prepare("b", "DELETE FROM kept WHERE n BETWEEN $1 AND $2 RETURNING *"),
				bind("a", "a", "401", "402"), execute("a", 2), bind("b", "b", "411", "412"), execute("b", 2), execute("a", 0), execute("b", 0), syncs()},
			want: "p:112 a:DDs p:2 b:DDs +a:C +b:C p:Z",
		}},
	}, {
		name:   "utilities, in pieces",
		owners: owners{"a": "SHOW ALL", "b": "EXPLAIN (COSTS OFF) SELECT * FROM numbers WHERE n = 1"},
		steps: []step{
			{
				send: messages{prepare("a", "SHOW ALL"), prepare("b", "EXPLAIN (COSTS OFF) SELECT * FROM numbers WHERE n = 1"),
					bind("a", "a"), bind("b", "b"), execute("a", 5), execute("b", 1), describe('P', "b"), execute("a", 5), execute("b", 1), execute("b", 0), syncs()},
				want: "p:1122 a:DDDDDs b:Ds p:T",
			},
			{want: "+a:DDDDDs"},
			{want: "+b:Ds"},
			{want: "+b:C p:Z"},
		},
	}}
}

func cursorForms() []form {
	return []form{{
		name: "cursor",
		owners: owners{"b": "BEGIN", "d": "DECLARE c CURSOR FOR SELECT n FROM numbers", "f": "FETCH 3 FROM c", "g": "FETCH ALL FROM c",
			"m": "MOVE BACKWARD ALL FROM c", "z": "CLOSE c", "e": "COMMIT"},
		steps: []step{
			simple("BEGIN; DECLARE c CURSOR FOR SELECT n FROM numbers", "b:C d:C p:Z"),
			simple("FETCH 3 FROM c", "f:TDDDC p:Z"), simple("FETCH 3 FROM c", "f:TDDDC p:Z"),
			{
				send: messages{prepare("", "FETCH ALL FROM c"), bind("", ""), describe('P', ""), execute("", 1), execute("", 0), syncs()},
				want: "p:12T g:Ds",
			},
			{want: "+g:DDDC p:Z"},
			simple("MOVE BACKWARD ALL FROM c; FETCH 3 FROM c; CLOSE c; COMMIT", "m:C f:TDDDC z:C e:C p:Z"),
		},
	}, {
		name:   "cursor that is held, as a portal",
		owners: owners{"d": "DECLARE h CURSOR WITH HOLD FOR SELECT n FROM numbers ORDER BY n"},
		steps: []step{
			simple("DECLARE h CURSOR WITH HOLD FOR SELECT n FROM numbers ORDER BY n", "d:C p:Z"),
			// Until version 17 the query in it has no id.
			{send: messages{describe('P', "h"), execute("h", 3), syncs()}, want: "p:T x:DDDs p:Z"},
			{send: messages{execute("h", 0), syncs()}, want: "+x:D+C p:Z"},
		},
	}}
}

func copyForms() []form {
	return []form{{
		name: "copy out",
		owners: owners{"a": "COPY numbers TO STDOUT", "b": "COPY (SELECT n, repeat('x', 1000000) FROM numbers) TO STDOUT (FORMAT binary)",
			"c": "COPY (SELECT repeat('x', 1048575) FROM generate_series(1, 50)) TO STDOUT"},
		steps: []step{
			simple("COPY numbers TO STDOUT", "a:Hd+cC p:Z"),
			simple("COPY (SELECT n, repeat('x', 1000000) FROM numbers) TO STDOUT (FORMAT binary)", "b:Hd+cC p:Z"),
			simple("COPY (SELECT repeat('x', 1048575) FROM generate_series(1, 50)) TO STDOUT", "c:Hd+cC p:Z"),
			{send: messages{prepare("", "COPY numbers TO STDOUT"), bind("", ""), execute("", 0), syncs()}, want: "p:12 a:Hd+cC p:Z"},
		},
	}, {
		name:   "copy in",
		owners: owners{"a": "COPY kept FROM STDIN", "b": "COPY kept FROM STDIN (FORMAT csv)", "c": "COPY brought FROM STDIN"},
		setup:  "CREATE TABLE brought (n int, t text)",
		steps: []step{
			simple("COPY kept FROM STDIN", "a:G"),
			{send: messages{copyData("501\tx\n50"), copyData("2\ty\n"), &pgproto3.CopyDone{}}, want: "+a:C p:Z"},
			{send: messages{prepare("", "COPY kept FROM STDIN (FORMAT csv)"), bind("", ""), execute("", 0)}, want: "p:12 b:G"},
			{send: messages{copyData("503,z\n"), &pgproto3.CopyDone{}, syncs()}, want: "+b:C p:Z"},
			simple("COPY brought FROM STDIN", "c:G"),
			{send: append(fiftyMegabytes(), &pgproto3.CopyDone{}), want: "+c:C p:Z"},
		},
	}, {
		name:   "copy in that fails",
		owners: owners{"a": "COPY kept FROM STDIN"},
		steps: []step{
			simple("COPY kept FROM STDIN", "a:G"),
			{send: messages{copyData("601\tx\n"), &pgproto3.CopyFail{Message: "no more"}}, want: "+a:E p:Z"},
			simple("COPY kept FROM STDIN", "a:G"),
			{send: messages{copyData("602\tx\nno number\ty\n"), &pgproto3.CopyDone{}}, want: "+a:E p:Z"},
			simple("COPY kept FROM STDIN", "a:G"),
			{send: messages{copyData("603\tx\n"), &pgproto3.CopyDone{}}, want: "+a:C p:Z"},
			simple("COPY missing FROM STDIN", "x:E p:Z"),
		},
	}, {
		name:   "copy in that is terminated",
		owners: owners{"a": "COPY kept FROM STDIN"},
		steps: []step{
			simple("COPY kept FROM STDIN", "a:G"),
			{send: messages{copyData("604\tx\n"), &pgproto3.CopyDone{}}, want: "+a:C p:Z"},
			simple("COPY kept FROM STDIN", "a:G"),
			{send: messages{copyData("605\tx\n")}},
			{act: `DO $$BEGIN
				FOR i IN 1 .. 6000 LOOP
					EXIT WHEN EXISTS (SELECT FROM pg_stat_progress_copy WHERE pid = {pid} AND bytes_processed = 6);
					PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
				END LOOP; PERFORM pg_terminate_backend({pid}); END$$`, want: "+a:E !"},
		},
	}, {
		name:   "copy in with triggers",
		owners: owners{"a": "COPY deferred FROM STDIN"},
		steps: []step{
			simple("COPY deferred FROM STDIN", "a:G"),
			{send: messages{copyData("1\n2\n"), &pgproto3.CopyDone{}}, want: "+a:NNC p:Z"},
		},
	}}
}

func fiftyMegabytes() messages {
	var all messages
	for range 50 {
		all = append(all, copyData(megabyte()))
	}
	return all
}

func nestedForms() []form {
	return []form{{
		name:   "functions",
		owners: owners{"a": "SELECT nested($1)", "b": "SELECT nested(n) FROM numbers WHERE n <= $1"},
		steps: []step{
			simple("SELECT nested(1)", "a:TNDC p:Z"),
			{send: messages{prepare("", "SELECT nested(n) FROM numbers WHERE n <= $1"), bind("", "", "2"), execute("", 1), execute("", 1), execute("", 0), syncs()},
				want: "p:12 b:NDs +b:NDs +b:C p:Z"},
		},
	}, {
		name:   "security definer",
		owners: owners{"r": "other/SET ROLE {role}_other", "a": "other/SELECT defined($1)", "z": "RESET ROLE"},
		steps: []step{
			simple("SET ROLE {role}_other", "r:C p:SZ"),
			simple("SELECT defined(1)", "a:TNDC p:Z"),
			simple("RESET ROLE", "z:C p:SZ"),
		},
	}, {
		name:   "procedures and blocks",
		owners: owners{"a": "CALL commits(3)", "d": "DO $$BEGIN PERFORM nested(1); RAISE NOTICE 'done'; END$$"},
		steps: []step{
			simple("CALL commits(3)", "a:NNNTDC p:Z"),
			simple("DO $$BEGIN PERFORM nested(1); RAISE NOTICE 'done'; END$$", "d:NNC p:Z"),
			{send: messages{prepare("", "CALL commits(3)"), bind("", ""), describe('P', ""), execute("", 0), syncs()}, want: "p:12T a:NNNDC p:Z"},
		},
	}, {
		name:   "deferred triggers",
		owners: owners{"a": "INSERT INTO deferred VALUES ($1)", "b": "BEGIN", "e": "COMMIT"},
		steps: []step{
			simple("INSERT INTO deferred VALUES (1)", "a:NC p:Z"),
			simple("BEGIN; INSERT INTO deferred VALUES (2)", "b:C a:C p:Z"),
			simple("COMMIT", "e:NC p:Z"),
		},
	}, {
		name:   "fastpath",
		owners: owners{},
		steps:  []step{{send: messages{&pgproto3.FunctionCall{Function: 177, ArgFormatCodes: []uint16{0}, Arguments: [][]byte{[]byte("1"), []byte("2")}}}, want: "p:VZ"}},
	}, {
		name:   "parallel",
		owners: owners{"s": "SET parallel_setup_cost = 0", "c": "SET parallel_tuple_cost = 0", "a": "SELECT count(works(n)) FROM many"},
		steps: []step{
			simple("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0", "s:C c:C p:Z"),
			simple("SELECT count(works(n)) FROM many", "a:TNDC p:Z"),
		},
	}}
}

func preparedForms() []form {
	return []form{{
		name: "prepare and execute",
		owners: owners{"a": "PREPARE p (int) AS SELECT n FROM numbers WHERE n <= $1",
			"b": "PREPARE q (int) AS INSERT INTO kept VALUES ($1) RETURNING n", "c": "CREATE TEMP TABLE made AS EXECUTE p(1)", "d": "EXPLAIN (COSTS OFF) EXECUTE p(1)"},
		steps: []step{
			simple("PREPARE p (int) AS SELECT n FROM numbers WHERE n <= $1", "n:C p:Z"),
			simple("EXECUTE p(2)", "a:TDDC p:Z"), simple("EXECUTE p(nested(3))", "a:NTDDDC p:Z"),
			{send: messages{prepare("", "EXECUTE p(3)"), bind("", ""), describe('P', ""), execute("", 1), execute("", 2), execute("", 0), syncs()},
				want: "p:12T a:Ds +a:DDs +a:C p:Z"},
			simple("PREPARE q (int) AS INSERT INTO kept VALUES ($1) RETURNING n; EXECUTE q(701); EXECUTE q(701)", "n:C b:TDC b:E p:Z"),
			simple("CREATE TEMP TABLE made AS EXECUTE p(1)", "c:C p:Z"), simple("EXPLAIN (COSTS OFF) EXECUTE p(1)", "d:TD+C p:Z"),
			simple("DEALLOCATE p", "n:C p:Z"),
		},
	}, {
		name:   "execute again what has become invalid",
		setup:  "CREATE TABLE changes (n int); INSERT INTO changes VALUES (1)",
		owners: owners{"a": "PREPARE p AS SELECT n FROM changes"},
		steps: []step{
			simple("PREPARE p AS SELECT n FROM changes", "n:C p:Z"), simple("EXECUTE p", "a:TDC p:Z"),
			{act: "ALTER TABLE changes ADD m int", send: messages{query("EXECUTE p")}, want: "a:TDC p:Z"},
		},
	}, {
		name:   "utilities by name",
		owners: owners{"a": "SHOW work_mem", "b": "BEGIN", "e": "COMMIT"},
		steps: []step{
			{send: messages{prepare("a", "SHOW work_mem"), prepare("b", "BEGIN"), prepare("e", "COMMIT"), syncs()}, want: "p:111Z"},
			{send: messages{bind("", "b"), execute("", 0), bind("", "a"), execute("", 0), bind("", "e"), execute("", 0), syncs()}, want: "p:2 b:C p:2 a:DC p:2 e:C p:Z"},
			{send: messages{bind("", "b"), execute("", 0), bind("", "a"), execute("", 0), bind("", "e"), execute("", 0), syncs()}, want: "p:2 b:C p:2 a:DC p:2 e:C p:Z"},
			{send: messages{bind("", "b"), execute("", 0), bind("", "a"), execute("", 0), bind("", "e"), execute("", 0), syncs()}, want: "p:2 b:C p:2 a:DC p:2 e:C p:Z"},
		},
	}}
}
