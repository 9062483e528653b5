package test

import "github.com/jackc/pgx/v5/pgproto3"

func errorForms() []form {
	return []form{{
		name:   "errors before a statement is known",
		owners: owners{},
		steps: []step{
			simple("SELEC", "n:E p:Z"), simple("SELECT * FROM missing", "n:E p:Z"),
			{send: messages{prepare("", "SELEC"), bind("", ""), execute("", 0), syncs()}, want: "n:E p:Z"},
			{send: messages{bind("", "missing"), syncs()}, want: "n:E p:Z"},
			{send: messages{execute("missing", 0), syncs()}, want: "n:E p:Z"},
			{send: messages{prepare("", "SELECT $1::int"), bind("", "", "no number"), syncs()}, want: "p:1 n:E p:Z"},
		},
	}, {
		name:   "errors when it is planned",
		owners: owners{"a": "SELECT $1/$2"},
		steps: []step{
			simple("SELECT 1/1", "a:TDC p:Z"), simple("SELECT 1/0", "a:E p:Z"),
			{send: messages{prepare("", "SELECT 2/0"), bind("", ""), execute("", 0), syncs()}, want: "p:1 a:E p:Z"},
		},
	}, {
		name:   "errors when it starts",
		setup:  "CREATE TABLE secret (n int); GRANT ALL ON secret TO {role}_other",
		owners: owners{"r": "other/SET ROLE {role}_other", "a": "other/SELECT * FROM secret"},
		steps: []step{
			simple("SET ROLE {role}_other", "r:C p:SZ"), simple("SELECT * FROM secret", "a:TC p:Z"),
			{act: "REVOKE ALL ON secret FROM {role}_other", send: messages{query("SELECT * FROM secret")}, want: "a:E p:Z"},
			{send: messages{prepare("", "SELECT * FROM secret"), bind("", ""), execute("", 0), syncs()}, want: "p:1 a:E p:Z"},
		},
	}, {
		name:   "errors in the middle",
		owners: owners{"a": "SELECT $1/(n-$2) FROM numbers", "b": "SELECT $1"},
		steps: []step{
			simple("SELECT 1/(n-100) FROM numbers", "a:TD+C p:Z"),
			simple("SELECT 1; SELECT 1/(n-3) FROM numbers; SELECT 2", "b:TDC a:TDDE p:Z"),
			{send: messages{prepare("", "SELECT 1/(n-3) FROM numbers"), bind("", ""), execute("", 1), execute("", 0), execute("", 0), syncs()},
				want: "p:12 a:Ds +a:DE p:Z"},
		},
	}, {
		name:   "aborted transaction",
		owners: owners{"b": "BEGIN", "a": "SELECT $1/(n-$2) FROM numbers", "e": "ROLLBACK"},
		steps: []step{
			simple("SELECT 1/(n-100) FROM numbers", "a:TD+C p:Z"),
			simple("BEGIN; SELECT 1/(n-1) FROM numbers", "b:C a:TE p:Z"), simple("SELECT 1", "n:E p:Z"),
			{send: messages{prepare("", "SELECT 1"), bind("", ""), execute("", 0), syncs()}, want: "n:E p:Z"},
			simple("ROLLBACK", "e:C p:Z"),
		},
	}, {
		name:   "errors at a commit",
		setup:  "CREATE TABLE twice (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
		owners: owners{"b": "BEGIN", "a": "INSERT INTO twice VALUES ($1), ($2)", "e": "COMMIT"},
		steps: []step{
			simple("INSERT INTO twice VALUES (8), (9)", "a:C p:Z"), simple("INSERT INTO twice VALUES (1), (1)", "a:E p:Z"),
			simple("BEGIN; INSERT INTO twice VALUES (1), (1)", "b:C a:C p:Z"), simple("COMMIT", "e:E p:Z"),
			simple("BEGIN; COMMIT", "b:C e:C p:Z"),
			// Its end was told to the client before.
			{send: messages{prepare("", "INSERT INTO twice VALUES (1), (1)"), bind("", ""), execute("", 0), syncs()}, want: "p:12 a:C n:E p:Z"},
		},
	}, {
		name:   "cancelled",
		owners: owners{"a": "SELECT pg_sleep($1)", "b": "SELECT n, pg_sleep($1) FROM numbers"},
		steps: []step{
			simple("SELECT pg_sleep(0)", "a:TDC p:Z"), simple("SELECT n, pg_sleep(0) FROM numbers", "b:TD+C p:Z"),
			{send: messages{query("SELECT pg_sleep(600)")}},
			{act: cancelsSleeper, want: "a:TE p:Z"},
			{send: messages{prepare("", "SELECT pg_sleep(600)"), bind("", ""), execute("", 0), syncs()}},
			{act: cancelsSleeper, want: "p:12 a:E p:Z"},
		},
	}, {
		name:   "terminated in a statement",
		owners: owners{"a": "SELECT pg_sleep($1)"},
		steps: []step{
			simple("SELECT pg_sleep(0)", "a:TDC p:Z"),
			{send: messages{query("SELECT pg_sleep(600)")}},
			{act: sleeps + "PERFORM pg_terminate_backend({pid}); END$$", want: "a:TE !"},
		},
	}, {
		name:   "terminated between statements",
		owners: owners{"a": "SELECT $1"},
		steps:  []step{simple("SELECT 1", "a:TDC p:Z"), {act: "SELECT pg_terminate_backend({pid})", want: "n:E !"}},
	}}
}

// sleeps waits until the session sleeps in a statement.
const (
	sleeps = `DO $$BEGIN
		FOR i IN 1 .. 6000 LOOP
			EXIT WHEN EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep');
			PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
		END LOOP; `
	cancelsSleeper = sleeps + "PERFORM pg_cancel_backend({pid}); END$$"
)

func otherForms() []form {
	return []form{{
		name:   "notifications",
		owners: owners{"l": "LISTEN news", "a": "NOTIFY news, 'x'", "b": "SELECT pg_notify($1, $2)"},
		steps: []step{
			simple("LISTEN news", "l:C p:Z"), simple("NOTIFY news, 'x'", "a:C p:AZ"),
			simple("SELECT pg_notify('news', 'y')", "b:TDC p:AZ"),
			{act: "NOTIFY news, 'z'", want: "p:A"},
		},
	}, {
		name:       "replication of a database",
		parameters: map[string]string{"replication": "database"},
		owners:     owners{"a": "SELECT $1"},
		steps: []step{
			simple("IDENTIFY_SYSTEM", "n:TDC p:Z"), simple("SHOW work_mem", "n:TDC p:Z"), simple("SELECT 1", "a:TDC p:Z"),
			simple("NONSENSE", "n:E p:Z"), simple("SELECT 2", "a:TDC p:Z"),
		},
	}, {
		name:       "replication",
		parameters: map[string]string{"replication": "true"},
		owners:     owners{},
		steps: []step{
			simple("IDENTIFY_SYSTEM", "n:TDC p:Z"),
			simple("BASE_BACKUP (CHECKPOINT 'fast', WAIT false, MANIFEST 'no')", "n:TDCTD+CHd+cTDCC p:Z"),
			simple("CREATE_REPLICATION_SLOT {role} TEMPORARY PHYSICAL", "n:TDC p:Z"),
			simple("START_REPLICATION SLOT {role} PHYSICAL {lsn}", "n:W"),
			{act: "SELECT pg_switch_wal()", want: "n:d"},
			{send: messages{&pgproto3.CopyDone{}}, want: "n:d*cCC p:Z"},
		},
	}}
}

// explainedForms have messages that auto_explain sends when a query ends.
func explainedForms() []form {
	return []form{{
		name: "auto_explain",
		owners: owners{"s": "SET auto_explain.log_level = 'notice'", "a": "SELECT n FROM numbers WHERE n = $1",
			"f": "SELECT nested($1)", "z": "RESET auto_explain.log_level"},
		steps: []step{
			simple("SET auto_explain.log_level = 'notice'", "s:C p:Z"), simple("SELECT n FROM numbers WHERE n = 3", "a:TDNC p:Z"),
			simple("SELECT nested(1)", "f:TN+DNC p:Z"),
			// The portal ends with the transaction.
			{send: messages{prepare("", "SELECT n FROM numbers WHERE n = 3"), bind("", ""), execute("", 0), syncs()}, want: "p:12 a:DC +a:N p:Z"},
			{send: messages{prepare("", "SELECT n FROM numbers WHERE n = 3"), bind("", ""), execute("", 1), syncs()}, want: "p:12 a:Ds +a:N p:Z"},
			simple("RESET auto_explain.log_level", "z:C p:Z"),
		},
	}}
}
