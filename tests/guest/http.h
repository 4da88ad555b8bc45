/* SPDX-License-Identifier: Apache-2.0 */
/* An incremental parser of HTTP/1.x requests: takes bytes as they come, keeps no copy of them,
 * needs no memory but itself. Compiles hosted as well, for tests.
 *
 * Request smuggling is kept out by refusing what can be read in two ways: Transfer-Encoding,
 * several lengths, folded lines, white space before a colon, a bare CR. A bare LF ends a line. */
#ifndef WEFT_GUEST_HTTP_H
#define WEFT_GUEST_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_TARGET_SIZE 128 /* longer targets are cut off: no page has such a name */
#define HTTP_MAX_LINE    8192
#define HTTP_MAX_HEAD    32768

enum http_method {
	HTTP_OTHER,
	HTTP_GET,
	HTTP_HEAD,
};

struct http_parser {
	/* The result, valid once http_done(). */
	uint16_t error; /* 0, or the status to answer with; the connection cannot go on then */
	enum http_method method;
	bool keep_alive;
	char target[HTTP_TARGET_SIZE]; /* as sent; terminated */
	uint16_t target_len;           /* as sent, also if that is more than fits */

	/* The parser's own. */
	uint8_t state;
	uint8_t header;
	uint8_t token_len;
	bool http11, has_host, has_length, has_close;
	char token[24];
	uint32_t line_len, head_len;
	uint64_t body_len;
};

/* Before each request. */
void http_init(struct http_parser *p);

/* Take up to len bytes; returns how many were taken. Stops behind the end of a request (its body,
 * too: bodies are skipped) and at an error. */
size_t http_feed(struct http_parser *p, const char *data, size_t len);

bool http_done(const struct http_parser *p);

/* Nothing of the next request has come yet. */
bool http_idle(const struct http_parser *p);

/* The path of the target: without scheme and authority of the absolute form, without the query. Not
 * terminated; returns its start in p->target and its length. */
const char *http_path(const struct http_parser *p, size_t *ret_len);

#endif
