/*
 * rows.c
 *		Walking a snapshot's bytes, without the server's headers.
 */
#include "rows.h"

#include <string.h>

/* How the binary format of COPY begins: signature, no flags, no extension. */
static const char copy_header[11 + 4 + 4] = "PGCOPY\n\377\r\n";

/* Reads what is before the first row. */
bool
pgn_rows_open(PgnRows *rows, PgnSlice data)
{
	PgnSlice	header;

	memset(rows, 0, sizeof(*rows));
	rows->reader.rest = data;
	rows->ncolumns = pgn_get_u16(&rows->reader);
	if (rows->reader.bad || rows->ncolumns < 1 || rows->ncolumns > PGN_COLUMNS_MAX)
	{
		rows->wrong = "a snapshot has no valid number of columns";
		return false;
	}
	rows->types = pgn_get_bytes(&rows->reader, (size_t) rows->ncolumns * 4);
	header = pgn_get_bytes(&rows->reader, sizeof(copy_header));
	if (rows->reader.bad || memcmp(header.data, copy_header, sizeof(copy_header)) != 0)
	{
		rows->wrong = "a snapshot does not begin as COPY in binary format does";
		return false;
	}
	return true;
}

uint32_t
pgn_rows_type(const PgnRows *rows, int column)
{
	PgnReader	reader = {{rows->types.data + (size_t) column * 4, 4}, false};

	return pgn_get_u32(&reader);
}

/* Goes to the next row; false at the end, or if something is wrong. */
bool
pgn_rows_next(PgnRows *rows)
{
	uint16_t	count = pgn_get_u16(&rows->reader);

	if (rows->wrong != NULL)
		return false;
	if (rows->reader.bad)
		rows->wrong = "a snapshot is cut short";
	else if (count == 0xFFFF)
	{
		if (rows->reader.rest.len > 0)
			rows->wrong = "a snapshot goes on after its end";
		return false;
	}
	else if (count != rows->ncolumns)
		rows->wrong = "a row has another number of fields than its snapshot has columns";
	return rows->wrong == NULL;
}

/* Reads the row's next field; to be called once for each column. */
bool
pgn_rows_field(PgnRows *rows, PgnField *field)
{
	int32_t		len = (int32_t) pgn_get_u32(&rows->reader);

	field->null = len == -1;
	field->value.data = "";
	field->value.len = 0;
	if (!field->null && !rows->reader.bad)
	{
		if (len < 0)
			rows->reader.bad = true;
		else
			field->value = pgn_get_bytes(&rows->reader, (size_t) len);
	}
	if (rows->reader.bad)
		rows->wrong = "a field is cut short";
	return rows->wrong == NULL;
}

const char *
pgn_rows_check(PgnSlice data)
{
	PgnRows		rows;
	PgnField	field;

	if (!pgn_rows_open(&rows, data))
		return rows.wrong;
	while (pgn_rows_next(&rows))
	{
		for (int i = 0; i < rows.ncolumns; i++)
		{
			if (!pgn_rows_field(&rows, &field))
				return rows.wrong;
		}
	}
	return rows.wrong;
}
