/*
 * frame.h
 *		The frames that pass between the worker and the agent: u32 length of
 *		what follows, u8 type, body. All integers are big endian; a string is its
 *		u32 length and its bytes.
 *
 * This file and frame.c know nothing of the server, so that they can be fuzzed
 * and tested alone. What is decoded points into the caller's buffer.
 */
#ifndef PGN_FRAME_H
#define PGN_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Changes whenever a frame changes its meaning or its form. */
#define PGN_PROTOCOL 2

#define PGN_LENGTH_BYTES 4		/* the u32 before each frame */
#define PGN_FRAME_SLACK 65536	/* a frame may exceed a whole set by this */
#define PGN_LOG_MAX 8192		/* type and body of a log frame at most */
#define PGN_NAME_MAX 63			/* bytes of a snapshot's name at most */

/* from the worker to the agent */
#define PGN_HELLO 'H'
#define PGN_CONFIG 'C'
#define PGN_RESTORE 'S'
#define PGN_RESTORED 'T'
#define PGN_EVENT 'E'
#define PGN_LIVE 'L'
#define PGN_ENDED 'X'
#define PGN_TAKEN 'K'
#define PGN_RESET 'Z'
#define PGN_QUIT 'Q'

/* from the agent to the worker */
#define PGN_AGENT_HELLO 'h'
#define PGN_AGENT_TAKE 't'
#define PGN_AGENT_SNAPSHOT 's'
#define PGN_AGENT_PUBLISH 'p'
#define PGN_AGENT_LOG 'l'
#define PGN_AGENT_BEAT 'b'

/* levels of a log frame */
#define PGN_LOG_DEBUG 0
#define PGN_LOG_LOG 1
#define PGN_LOG_WARNING 2
#define PGN_LOG_ERROR 3

/* kinds of events */
#define PGN_EVENT_ACCOUNT 1
#define PGN_EVENT_STATEMENT 2
#define PGN_EVENT_GHOST 3
#define PGN_EVENT_FOLDED 4

/* Bytes that somebody else owns; not terminated. */
typedef struct PgnSlice
{
	const char *data;
	size_t		len;
} PgnSlice;

/* One frame within a buffer. */
typedef struct PgnFrame
{
	uint8_t		type;
	PgnSlice	body;
	size_t		size;			/* of the whole frame, its length included */
} PgnFrame;

typedef enum PgnFrameResult
{
	PGN_FRAME_MORE,				/* size says how many bytes are needed in all */
	PGN_FRAME_WHOLE,
	PGN_FRAME_BAD
} PgnFrameResult;

extern PgnFrameResult pgn_frame_next(PgnSlice buffer, uint64_t max_length, PgnFrame *frame);

/* What an agent's frame says; which members are set follows from the type. */
typedef struct PgnMessage
{
	uint8_t		type;
	uint8_t		level;			/* log */
	uint32_t	protocol;		/* hello */
	uint32_t	request;		/* take */
	uint64_t	event_seq;		/* publish */
	uint64_t	reset_seq;		/* publish */
	PgnSlice	name;			/* snapshot; hello: the agent's version */
	PgnSlice	data;			/* snapshot; log: the message */
	PgnSlice	detail;			/* log */
	PgnSlice	hint;			/* log */
} PgnMessage;

/* NULL, or what is wrong with the frame. */
extern const char *pgn_message_decode(const PgnFrame *frame, PgnMessage *message);

/*
 * Writes frames into a buffer of fixed size. What does not fit is counted but
 * not written, so a first pass with size 0 tells the size needed.
 */
typedef struct PgnWriter
{
	char	   *data;
	size_t		size;
	size_t		len;			/* bytes put, may exceed size */
	size_t		start;			/* of the frame begun last */
} PgnWriter;

extern void pgn_put_begin(PgnWriter *writer, uint8_t type);
extern void pgn_put_end(PgnWriter *writer);
extern void pgn_put_u8(PgnWriter *writer, uint8_t value);
extern void pgn_put_u32(PgnWriter *writer, uint32_t value);
extern void pgn_put_u64(PgnWriter *writer, uint64_t value);
extern void pgn_put_bytes(PgnWriter *writer, const void *data, size_t len);
extern void pgn_put_slice(PgnWriter *writer, PgnSlice slice);
extern void pgn_put_string(PgnWriter *writer, const char *string);

/*
 * Reads values one after another. Once something is not there, everything
 * further is zero or empty, and bad is set.
 */
typedef struct PgnReader
{
	PgnSlice	rest;
	bool		bad;
} PgnReader;

extern uint8_t pgn_get_u8(PgnReader *reader);
extern uint16_t pgn_get_u16(PgnReader *reader);
extern uint32_t pgn_get_u32(PgnReader *reader);
extern uint64_t pgn_get_u64(PgnReader *reader);
extern PgnSlice pgn_get_bytes(PgnReader *reader, size_t len);
extern PgnSlice pgn_get_slice(PgnReader *reader);

extern bool pgn_name_valid(PgnSlice name);

#endif							/* PGN_FRAME_H */
