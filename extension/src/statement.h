/*
 * statement.h
 *		Whose bytes a session's messages are.
 */
#ifndef PGN_STATEMENT_H
#define PGN_STATEMENT_H

#include "postgres.h"

extern void pgn_statement_init(void);
extern void pgn_statement_open(void);
extern void pgn_statement_message(char type, const char *body, size_t len);
extern void pgn_statement_close(void);

#endif							/* PGN_STATEMENT_H */
