/*
 * inbox.h
 *		What the agent says, and what is done about it.
 */
#ifndef PGN_INBOX_H
#define PGN_INBOX_H

#include "supervise.h"

/* Instead of a sentence: the agent speaks another protocol than we do. */
extern const char pgn_other_protocol[];

/* NULL, or why the agent has to be stopped. */
extern const char *pgn_inbox_receive(PgnSupervision *sup, int64 now);
extern const char *pgn_inbox_errors(PgnSupervision *sup, int64 now);

#endif							/* PGN_INBOX_H */
