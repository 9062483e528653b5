/*
 * tcpinfo.c
 *		Reads a connection's counters from the kernel.
 */
#include "tcpinfo.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

/* After a reset. What was not sent then never will be, but still counts as such. */
#define STATE_CLOSE 7

/* States in which the peer's FIN has come, which bytes_received includes. */
#define STATE_CLOSE_WAIT 8
#define STATE_LAST_ACK 9
#define STATE_CLOSING 11

static bool
read_info(int socket, struct tcp_info *info)
{
	socklen_t	len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return getsockopt(socket, IPPROTO_TCP, TCP_INFO, info, &len) == 0 &&
		len >= offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(info->tcpi_bytes_retrans);
}

/*
 * Tells what the connection has carried so far: of what was written, all that is
 * sent or will be, once each. False if this is no TCP connection, or the kernel
 * is older than these counters (4.19).
 */
bool
pgn_tcp_traffic(int socket, PgnTraffic *traffic)
{
	struct tcp_info info;
	struct tcp_info later;

	/*
	 * The kernel reads the state before it locks the socket, so a FIN may be among
	 * the bytes and not in the state: unless that is the same later.
	 */
	if (!read_info(socket, &later))
		return false;
	do
	{
		info = later;
		if (!read_info(socket, &later))
			return false;
	} while (info.tcpi_state != later.tcpi_state);
	traffic->bytes_in = info.tcpi_bytes_received;
	if ((info.tcpi_state == STATE_CLOSE_WAIT || info.tcpi_state == STATE_LAST_ACK ||
		 info.tcpi_state == STATE_CLOSING) && traffic->bytes_in > 0)
		traffic->bytes_in--;
	traffic->bytes_out = info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
	if (info.tcpi_state != STATE_CLOSE)
		traffic->bytes_out += info.tcpi_notsent_bytes;
	traffic->segments_in = info.tcpi_segs_in;
	traffic->segments_out = info.tcpi_segs_out;
	traffic->retransmitted_bytes = info.tcpi_bytes_retrans;
	traffic->retransmitted_segments = info.tcpi_total_retrans;
	return true;
}

/* What sock_diag calls the socket by; 0 if the kernel cannot tell. */
uint64_t
pgn_socket_cookie(int socket)
{
	uint64_t	cookie = 0;
	socklen_t	len = sizeof(cookie);

	if (getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &len) != 0)
		return 0;
	return cookie;
}
