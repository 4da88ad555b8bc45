/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to the engine and back: no HTTP library in sight. */
#ifndef WEFT_API_ROUTE_H
#define WEFT_API_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctrl/api/tokens.h"
#include "ctrl/base/err.h"
#include "ctrl/engine/engine.h"

#define WEFT_API_MAX_BODY   (1U << 20)
#define WEFT_API_MAX_FOLLOW 86400 /* seconds */

struct weft_api_request {
	const char *method; /* "GET" */
	const char *path;   /* "/v1/services/shop.web", without the query, decoded */
	const char *body;   /* NUL-terminated */
	size_t body_size;
	const char *(*query)(void *userdata, const char *key); /* NULL: not given */
	void *userdata;
	const char *if_match; /* the header If-Match: "12"; NULL: not given */
	uint64_t version;     /* weft_api_route() makes that of it */
};

struct weft_api_response {
	int status;
	const char *type; /* "application/json", "text/plain; charset=utf-8" */
	char *body;       /* malloc'ed; the caller frees it. NULL with follow, op or pipe */

	/* To be begun by weft_engine_do(), whose end is the answer; the caller frees it. */
	struct weft_engine_op *op;

	/* Events after number since as they happen, a line each, for follow_s seconds. */
	bool follow;
	uint64_t since;
	unsigned follow_s;
	unsigned kinds; /* not events, but the resources of these kinds (bits) that have changed ...
			 */
	bool list;      /* ... after they were listed, instead of after since */

	uint64_t version; /* of the resource that body has; 0: none */

	/* Above 0: the answer comes out of this pipe (pipe.h), which the caller closes. */
	int pipe;
};

/* Always fills ret, with a body or with what is to be followed; errors become the API's error
 * document. */
void weft_api_route(struct weft_engine *engine, const struct weft_api_request *request,
	struct weft_api_response *ret);
/* The role that a request needs: by its method, unless the route is one that operators or everybody
 * may use. What is no route needs READ, so that only those are told who are let in. */
enum weft_api_role weft_api_needs(const char *method, const char *path);
void weft_api_op_free(struct weft_engine_op *op); /* NULL is fine */
/* The answer that an op's end is. Takes doc over. */
void weft_api_op_answer(
	int r, const struct weft_err *err, json_t *doc, struct weft_api_response *ret);
void weft_api_error(const struct weft_err *err, int status, struct weft_api_response *ret);

#endif
