/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon's API that answers what a test wants, well or badly, on a unix socket of its own.
 * Anything that goes wrong in here ends the test program. */
#ifndef WEFT_TESTS_LIB_FAKE_API_H
#define WEFT_TESTS_LIB_FAKE_API_H

#include <stddef.h>

struct fake_reply {
	int status;        /* HTTP; 0: body is everything that is sent, whatever it is */
	const char *body;  /* NULL: the connection is closed without a word */
	const char *type;  /* Content-Type, NULL: application/json */
	size_t cut;        /* close after so many bytes of the body; 0: all of it */
	unsigned delay_ms; /* before it is sent; stopping does not wait for it */
	unsigned hang_ms;  /* after it was sent, before the connection is closed; the same */
	unsigned away_ms;  /* after it was sent nobody listens for so long */
};

struct fake_route {
	const char *request;              /* "GET /v1/status", query included */
	const struct fake_reply *replies; /* one after the other, the last one again and again */
	size_t n_replies;
};

struct fake_api;

/* routes ends with request == NULL and must live until stop. Unknown requests: a plain 404. */
struct fake_api *fake_api_start(const struct fake_route *routes);
const char *fake_api_host(const struct fake_api *f); /* "unix:..." */
/* Stop, and return the requests that came, a line each: "POST /v1/swaps {...}". To be freed. */
char *fake_api_stop(struct fake_api *f);

#endif
