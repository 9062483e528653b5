/*
 * channel.c
 *		Buffers over a socket that does not block.
 */
#include "channel.h"

#include <sys/socket.h>

#include "utils/memutils.h"

#define BUFFER_LEAST 65536
#define BUFFER_KEPT (1024 * 1024)	/* a larger one is given back when it is empty */

static void
buffer_free(PgnBuffer *buffer)
{
	if (buffer->data != NULL)
		pfree(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}

/* Makes room for len more bytes behind what is there. */
static void
buffer_extend(PgnBuffer *buffer, Size len)
{
	Size		used = buffer->end - buffer->start;

	if (buffer->size - buffer->end >= len)
		return;
	if (buffer->size - used < len)
	{
		Size		size = Max(Max(used + len, 2 * buffer->size), BUFFER_LEAST);
		char	   *data = MemoryContextAllocHuge(TopMemoryContext, size);

		if (used > 0)
			memcpy(data, buffer->data + buffer->start, used);
		buffer_free(buffer);
		buffer->data = data;
		buffer->size = size;
	}
	else if (used > 0)
		memmove(buffer->data, buffer->data + buffer->start, used);
	buffer->start = 0;
	buffer->end = used;
}

static void
buffer_consume(PgnBuffer *buffer, Size len)
{
	buffer->start += len;
	if (buffer->start < buffer->end)
		return;
	buffer->start = buffer->end = 0;
	if (buffer->size > BUFFER_KEPT)
		buffer_free(buffer);
}

void
pgn_channel_open(PgnChannel *channel, int socket, int64 now)
{
	pgn_channel_close(channel);
	channel->socket = socket;
	channel->progress = now;
}

/* Forgets what is in the buffers; the socket is closed by its owner. */
void
pgn_channel_close(PgnChannel *channel)
{
	buffer_free(&channel->in);
	buffer_free(&channel->out);
	memset(channel, 0, sizeof(*channel));
	channel->socket = -1;
}

/* Bytes that wait for the agent to read. */
Size
pgn_channel_pending(const PgnChannel *channel)
{
	return channel->out.end - channel->out.start;
}

/* Where the caller has to write len bytes for the agent. */
char *
pgn_channel_reserve(PgnChannel *channel, Size len)
{
	char	   *place;

	buffer_extend(&channel->out, len);
	place = channel->out.data + channel->out.end;
	channel->out.end += len;
	return place;
}

/* Sends what the socket takes. */
void
pgn_channel_flush(PgnChannel *channel, int64 now)
{
	PgnBuffer  *out = &channel->out;

	while (out->end > out->start && !channel->deaf)
	{
		ssize_t		sent = send(channel->socket, out->data + out->start, out->end - out->start,
								MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0)
		{
			buffer_consume(out, sent);
			channel->progress = now;
		}
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		else if (errno != EINTR)
			channel->deaf = true;
	}
	/* What it wrote before its end is still to be read. */
	if (channel->deaf)
		buffer_consume(out, out->end - out->start);
	channel->progress = now;
}

/*
 * Receives once, having made room for a frame of the size wanted in all; returns
 * how many bytes came.
 */
Size
pgn_channel_receive(PgnChannel *channel, Size wanted)
{
	PgnBuffer  *in = &channel->in;
	Size		used = in->end - in->start;
	Size		len = Max(wanted > used ? wanted - used : 0, BUFFER_LEAST / 2);
	ssize_t		got;

	/* No more than that, so that a call has a bounded amount of work behind it. */
	buffer_extend(in, len);
	got = recv(channel->socket, in->data + in->end, len, MSG_DONTWAIT);
	if (got > 0)
	{
		in->end += got;
		return got;
	}
	if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		channel->closed = true;
	return 0;
}

/* What came and was not consumed yet. */
PgnSlice
pgn_channel_received(const PgnChannel *channel)
{
	PgnSlice	slice = {channel->in.data + channel->in.start, channel->in.end - channel->in.start};

	return slice;
}

void
pgn_channel_consume(PgnChannel *channel, Size len)
{
	buffer_consume(&channel->in, len);
}
