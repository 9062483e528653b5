/*
 * statement.c
 *		Whose bytes a session's messages are.
 */
#include "statement.h"

/* The session is open. */
void
pgn_statement_open(void)
{
}

/* The session sends a message, of which len bytes are its body. */
void
pgn_statement_message(char type, const char *body, size_t len)
{
	(void) type;
	(void) body;
	(void) len;
}
