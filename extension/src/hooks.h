/*
 * hooks.h
 *		How the server tells which statement it works on.
 */
#ifndef PGN_HOOKS_H
#define PGN_HOOKS_H

extern void pgn_hooks_install(void);

#endif							/* PGN_HOOKS_H */
