/*
 * tcpinfo.h
 *		What the kernel counts of a connection.
 *
 * This file and tcpinfo.c know nothing of the server, whose headers include
 * another definition of struct tcp_info than the kernel's.
 */
#ifndef PGN_TCPINFO_H
#define PGN_TCPINFO_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A connection's counters, of TCP's payload; of a Unix socket only bytes_out, of
 * the protocol. The kernel's numbers of segments have 32 bits and begin anew.
 */
typedef struct PgnTraffic
{
	uint64_t	bytes_in;
	uint64_t	bytes_out;		/* less the retransmitted */
	uint64_t	segments_in;
	uint64_t	segments_out;
	uint64_t	retransmitted_bytes;
	uint64_t	retransmitted_segments;
} PgnTraffic;

extern bool pgn_tcp_traffic(int socket, PgnTraffic *traffic);
extern uint64_t pgn_socket_cookie(int socket);

#endif							/* PGN_TCPINFO_H */
