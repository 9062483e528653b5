/*
 * version.h
 *		The module's version, which its agent is told.
 */
#ifndef PGN_VERSION_H
#define PGN_VERSION_H

#define PGN_VERSION "1.0"

#endif							/* PGN_VERSION_H */
