/*
 * text.h
 *		Bytes that somebody else chose, made harmless.
 */
#ifndef PGN_TEXT_H
#define PGN_TEXT_H

#include "frame.h"

/*
 * A palloc'd, terminated copy in which \xNN stands for each byte that is no
 * text in the encoding, and for control characters other than those between
 * words and lines if they are not wanted.
 */
extern char *pgn_text(int encoding, PgnSlice bytes, bool control, Size *len);

#endif							/* PGN_TEXT_H */
