/*
 * session.h
 *		The session that this backend serves, and what it carries.
 */
#ifndef PGN_SESSION_H
#define PGN_SESSION_H

extern void pgn_session_install(void);

#endif							/* PGN_SESSION_H */
