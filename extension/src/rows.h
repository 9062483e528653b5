/*
 * rows.h
 *		Walks the bytes of a snapshot: u16 number of columns, a u32 type OID for
 *		each, and the rows as COPY writes them in its binary format.
 *
 * Knows nothing of the server, like frame.h, and nothing of what a column means.
 */
#ifndef PGN_ROWS_H
#define PGN_ROWS_H

#include "frame.h"

#define PGN_COLUMNS_MAX 1600	/* as many as a table may have */

typedef struct PgnRows
{
	PgnReader	reader;			/* what was not walked yet */
	PgnSlice	types;			/* the type OIDs, 4 bytes each */
	uint16_t	ncolumns;
	const char *wrong;			/* NULL, or what is wrong with the bytes */
} PgnRows;

typedef struct PgnField
{
	bool		null;
	PgnSlice	value;
} PgnField;

extern bool pgn_rows_open(PgnRows *rows, PgnSlice data);
extern uint32_t pgn_rows_type(const PgnRows *rows, int column);
extern bool pgn_rows_next(PgnRows *rows);
extern bool pgn_rows_field(PgnRows *rows, PgnField *field);

/* NULL if all of it is well formed, or what is wrong. */
extern const char *pgn_rows_check(PgnSlice data);

#endif							/* PGN_ROWS_H */
