/* SPDX-License-Identifier: Apache-2.0 */
/* Incremental parser of one HTTP/1.x response (RFC 9112). It keeps no body and no header but what
 * decides where the response ends and whether the connection may be used again.
 *
 * Strict where leniency would make the end of a message ambiguous (differing Content-Length,
 * Content-Length beside Transfer-Encoding, whitespace before a colon, a CR alone); lenient in what
 * is harmless (bare LF as line end, missing reason phrase, folded values of other headers). */
#ifndef WEFT_LOADGEN_HTTP_RESPONSE_H
#define WEFT_LOADGEN_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	HTTP_LINE_MAX = 8192,    /* bytes of one line without its end */
	HTTP_HEADER_MAX = 65536, /* bytes of all header and trailer lines of one response */
	HTTP_INTERIM_MAX = 16,   /* 1xx responses before the final one */
};

enum http_part {
	HTTP_STATUS_LINE,
	HTTP_HEADER,
	HTTP_BODY_SIZED,
	HTTP_BODY_TO_EOF,
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK_DATA,
	HTTP_CHUNK_END,
	HTTP_TRAILER,
	HTTP_COMPLETE,
	HTTP_MALFORMED,
};

struct http_response {
	/* To read once the response is complete. */
	unsigned status;
	bool keep_alive;     /* the connection may carry another request */
	const char *problem; /* why the response is malformed, else NULL */

	/* The parser's own. */
	enum http_part part;
	bool head, http10, close, persist, has_length, has_coding, chunked;
	unsigned interim;
	uint64_t length; /* Content-Length, then what is left of the body or of the chunk */
	size_t header_bytes;
	enum { HTTP_FIELD_OTHER, HTTP_FIELD_FRAMING } last_field;
	size_t line_len;
	char line[HTTP_LINE_MAX]; /* a line that did not arrive in one piece */
};

/* Begin a new response; head: it answers a HEAD request. */
void http_response_init(struct http_response *p, bool head);

/* Take the next bytes. 1: complete, *ret_used bytes belonged to it; 0: all were used, more must
 * come; -EBADMSG: malformed, p->problem says why. May not be called again after 1 or -EBADMSG. */
int http_response_feed(struct http_response *p, const char *data, size_t size, size_t *ret_used);

/* The connection ended. 1: that completed the response; -EPIPE: it is truncated. */
int http_response_eof(struct http_response *p);

#endif
