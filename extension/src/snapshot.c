/*
 * snapshot.c
 *		pg_netstat_read(name): a snapshot's rows, as the row type that the caller
 *		expects.
 *
 * Nothing here knows a column. The caller's row type must agree with the types
 * that the snapshot says it has, column by column, before any receive function
 * sees a byte. A caller may ask for fewer columns, the first ones, so that a
 * newer agent serves the views of an older version of the extension.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "rows.h"
#include "shmem.h"
#include "text.h"

PG_FUNCTION_INFO_V1(pg_netstat_read);

/* Snapshots that there may be none of yet, and who may read them. */
static const struct
{
	const char *name;
	bool		everyone;
}			known[] = {
	{"pg_netstat", true},
	{"pg_netstat_device", true},
	{"pg_netstat_status", true},
	{"pg_netstat_activity", false},
	{"pg_netstat_client", false},
	{"pg_netstat_network", false},
	{"pg_netstat_database", false},
	{"pg_netstat_role", false},
	{"pg_netstat_application", false},
	{"pg_netstat_statements", false},
};

/* How a column's bytes become a datum. */
typedef struct Column
{
	Oid			type;
	FmgrInfo	receive;		/* unless it is text, which is made here */
	Oid			ioparam;
} Column;

/* Where a receive function failed, for the error's context. */
typedef struct Place
{
	const char *snapshot;
	const char *column;
} Place;

static void
place_callback(void *arg)
{
	Place	   *place = arg;

	/*
	 * Receive functions take their bytes for a client's. Whoever is told so gives
	 * a connection up that nothing is wrong with.
	 */
	if (geterrcode() == ERRCODE_PROTOCOL_VIOLATION)
		errcode(ERRCODE_INVALID_BINARY_REPRESENTATION);
	if (place->column != NULL)
		errcontext("column \"%s\" of snapshot \"%s\"", place->column, place->snapshot);
}

/* Tells whether a snapshot may be missing; raises an error if it may not be read. */
static bool
check_name(const char *name)
{
	const char *found = NULL;

	for (size_t i = 0; i < lengthof(known); i++)
	{
		if (strcmp(known[i].name, name) != 0)
			continue;
		if (known[i].everyone)
			return true;
		found = known[i].name;
	}
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for snapshot \"%s\"", name),
				 errhint("Only roles with privileges of pg_read_all_stats may read it.")));
	return found != NULL;
}

/* Prepares the result as SFRM_Materialize wants it. */
static Tuplestorestate *
begin_result(ReturnSetInfo *rsinfo)
{
	MemoryContext previous;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0 || rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("pg_netstat_read must be called in FROM, with a list of column definitions")));
	previous = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = CreateTupleDescCopy(rsinfo->expectedDesc);
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
											  false, work_mem);
	MemoryContextSwitchTo(previous);
	return rsinfo->setResult;
}

static void
mismatch(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("snapshot \"%s\" does not have the columns that are asked for", name),
			 errdetail_internal("%s", detail),
			 errhint("Run \"ALTER EXTENSION pg_netstat UPDATE\", and restart the server if it was not restarted since pg_netstat was upgraded.")));
}

/* Checks the caller's row type against the snapshot's, and finds the functions. */
static Column *
match_columns(const char *name, const PgnRows *rows, TupleDesc desc)
{
	Column	   *columns = palloc0(sizeof(Column) * desc->natts);

	if (desc->natts > rows->ncolumns)
		mismatch(name, psprintf("It has %d columns, and %d are asked for.", rows->ncolumns, desc->natts));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Oid			type = pgn_rows_type(rows, i);
		Oid			receive;

		if (attribute->atttypid != type || attribute->atttypmod != -1)
			mismatch(name, psprintf("Column %d has the type %s, and %s is asked for.", i + 1,
									format_type_extended(type, -1, FORMAT_TYPE_ALLOW_INVALID),
									format_type_with_typemod(attribute->atttypid, attribute->atttypmod)));
		columns[i].type = type;
		if (type == TEXTOID)
			continue;
		getTypeBinaryInputInfo(type, &receive, &columns[i].ioparam);
		fmgr_info(receive, &columns[i].receive);
	}
	return columns;
}

/* The byte behind a field ends it for the receive function, and is put back. */
static Datum
receive_field(Column *column, PgnField *field)
{
	char	   *data = unconstify(char *, field->value.data);
	StringInfoData buffer;
	char		kept;
	Datum		value;

	if (column->type == TEXTOID)
	{
		Size		len;
		char	   *text = pgn_text(GetDatabaseEncoding(), field->value, true, &len);

		return PointerGetDatum(cstring_to_text_with_len(text, (int) len));
	}
	buffer.data = data;
	buffer.len = (int) field->value.len;
	buffer.maxlen = buffer.len + 1;
	buffer.cursor = 0;
	kept = data[buffer.len];
	data[buffer.len] = '\0';
	value = ReceiveFunctionCall(&column->receive, &buffer, column->ioparam, -1);
	data[buffer.len] = kept;
	if (buffer.cursor != buffer.len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("incorrect binary data format")));
	return value;
}

static void
read_row(PgnRows *rows, Column *columns, Place *place, TupleDesc desc, Tuplestorestate *result)
{
	Datum		values[PGN_COLUMNS_MAX];
	bool		nulls[PGN_COLUMNS_MAX];

	for (int i = 0; i < rows->ncolumns; i++)
	{
		PgnField	field;

		if (!pgn_rows_field(rows, &field))
			return;
		if (i >= desc->natts)
			continue;
		place->column = NameStr(TupleDescAttr(desc, i)->attname);
		nulls[i] = field.null;
		values[i] = field.null ? (Datum) 0 : receive_field(&columns[i], &field);
	}
	place->column = NULL;
	tuplestore_putvalues(result, desc, values, nulls);
}

static void
read_rows(const char *name, PgnSlice data, ReturnSetInfo *rsinfo)
{
	MemoryContext per_row = AllocSetContextCreate(CurrentMemoryContext, "pg_netstat row", ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous;
	ErrorContextCallback callback;
	Place		place = {name, NULL};
	Column	   *columns = NULL;
	PgnRows		rows;

	if (pgn_rows_open(&rows, data))
		columns = match_columns(name, &rows, rsinfo->setDesc);
	callback.callback = place_callback;
	callback.arg = &place;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	previous = MemoryContextSwitchTo(per_row);
	while (columns != NULL && pgn_rows_next(&rows))
	{
		CHECK_FOR_INTERRUPTS();
		read_row(&rows, columns, &place, rsinfo->setDesc, rsinfo->setResult);
		MemoryContextReset(per_row);
	}
	MemoryContextSwitchTo(previous);
	error_context_stack = callback.previous;
	MemoryContextDelete(per_row);
	if (rows.wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("snapshot \"%s\" is damaged", name),
				 errdetail_internal("%s.", rows.wrong)));
}

Datum
pg_netstat_read(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		may_be_missing;
	PgnSlice	data;
	Size		len = 0;

	pgn_require_shared();
	may_be_missing = check_name(name);
	begin_result(rsinfo);
	data.data = pgn_copy_out(name, &len);
	data.len = len;
	if (data.data != NULL)
	{
		read_rows(name, data, rsinfo);
		pfree(unconstify(char *, data.data));
	}
	else if (!may_be_missing)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no such snapshot: \"%s\"", name),
				 errhint("The view may be of another version than the agent: see \"SELECT * FROM pg_netstat_status\", and restart the server if it was not restarted since pg_netstat was upgraded.")));
	return (Datum) 0;
}
