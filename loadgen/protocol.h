/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a request, and the vtable that a protocol implements. A driver sees bytes only:
 * sockets, time, queues and retries are the engine's. */
#ifndef WEFT_LOADGEN_PROTOCOL_H
#define WEFT_LOADGEN_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "ctrl/base/err.h"

struct load_options;
struct load_target;

enum load_class {
	LOAD_OK,
	LOAD_CONNECT_REFUSED,
	LOAD_CONNECT_TIMEOUT,
	LOAD_CONNECT_RESET,  /* RST on a new connection before a request was sent */
	LOAD_CONNECT_FAILED, /* any other reason: no route, no free port ... */
	LOAD_RESET,          /* RST while a response was due */
	LOAD_CLOSED,         /* EOF before the response was complete */
	LOAD_TIMEOUT,
	LOAD_HTTP_4XX,
	LOAD_HTTP_5XX,
	LOAD_MALFORMED, /* the response is not of the protocol */
	LOAD_OVERLOAD,  /* the queue of requests that wait for a connection was full */
	LOAD_CLASS_COUNT,
};

const char *load_class_name(enum load_class c); /* "ok", "connect_refused" ... */

struct load_reply {
	enum load_class class;
	bool keep; /* the connection may carry another request */
};

struct load_protocol {
	const char *scheme, *port; /* of the URL; port in decimal */
	size_t state_size;         /* of one connection; zeroed before its first use */

	/* Make what all connections share, read-only from then on. */
	int (*setup)(const struct load_options *o, const struct load_target *t, void **ret_shared,
		struct weft_err *err);
	void (*teardown)(void *shared); /* NULL is allowed */

	/* A request goes out on a connection that has none: expect its response. The bytes to send
	 * stay valid until the response is complete. */
	void (*begin)(const void *shared, void *state, struct iovec *ret_request);

	/* Bytes that came in. 1: the response is complete and *ret is set; 0: more must come;
	 * -EBADMSG: malformed, or bytes that belong to no response. */
	int (*feed)(void *state, const void *data, size_t size, struct load_reply *ret);

	/* The server closed the connection. 1: that completed the response; -EPIPE: it did not. */
	int (*eof)(void *state, struct load_reply *ret);
};

extern const struct load_protocol load_http;

const struct load_protocol *load_protocol_find(const char *scheme); /* NULL: unknown */

#endif
