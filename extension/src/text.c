/*
 * text.c
 *		Escapes what is not valid in an encoding, instead of failing on it.
 *
 * Names reach us raw, some of them from a stranger's startup packet. No query
 * and no log line may fail because of what they contain.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "text.h"

/* Length of the character at the beginning, 0 if it has to be escaped. */
static int
valid_length(int encoding, const char *s, Size len, bool control)
{
	int			size;

	if (*s == '\0')
		return 0;
	/* The server indents the further lines of a log message itself. */
	if (!control && (((unsigned char) *s < ' ' && *s != '\n' && *s != '\t') || *s == 0x7F))
		return 0;

	/*
	 * A database without an encoding says nothing of these bytes, and the
	 * server fails a query whose result is not valid in the client's encoding.
	 */
	if (encoding == PG_SQL_ASCII && IS_HIGHBIT_SET(*s))
		return 0;
	size = pg_encoding_verifymbchar(encoding, s, (int) Min(len, 16));
	return Max(size, 0);
}

char *
pgn_text(int encoding, PgnSlice bytes, bool control, Size *len)
{
	static const char digits[] = "0123456789abcdef";
	char	   *result;
	Size		used = 0;

	/* Nearly always all of it is text. */
	if (control && encoding != PG_SQL_ASCII && pg_encoding_verifymbstr(encoding, bytes.data, (int) bytes.len) == (int) bytes.len)
	{
		*len = bytes.len;
		return pnstrdup(bytes.data, bytes.len);
	}
	result = palloc(bytes.len * 4 + 1);
	for (size_t i = 0; i < bytes.len;)
	{
		const char *s = bytes.data + i;
		int			size = valid_length(encoding, s, bytes.len - i, control);

		if (size > 0)
		{
			memcpy(result + used, s, size);
			used += size;
			i += size;
			continue;
		}
		result[used++] = '\\';
		result[used++] = 'x';
		result[used++] = digits[(unsigned char) *s >> 4];
		result[used++] = digits[(unsigned char) *s & 15];
		i++;
	}
	result[used] = '\0';
	*len = used;
	return result;
}
