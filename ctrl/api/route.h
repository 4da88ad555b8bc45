/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to the engine and back: no HTTP library in sight. */
#ifndef WEFT_API_ROUTE_H
#define WEFT_API_ROUTE_H

#include <stddef.h>

#include "ctrl/base/err.h"
#include "ctrl/engine/engine.h"

#define WEFT_API_MAX_BODY (1U << 20)

struct weft_api_request {
	const char *method; /* "GET" */
	const char *path;   /* "/v1/services/shop.web", without the query, decoded */
	const char *body;   /* NUL-terminated */
	size_t body_size;
	const char *(*query)(void *userdata, const char *key); /* NULL: not given */
	void *userdata;
};

struct weft_api_response {
	int status;
	const char *type; /* "application/json" or "text/plain; charset=utf-8" */
	char *body;       /* malloc'ed; the caller frees it */
};

/* Always fills ret; errors become the API's error document. */
void weft_api_route(struct weft_engine *engine, const struct weft_api_request *request,
	struct weft_api_response *ret);
void weft_api_error(const struct weft_err *err, int status, struct weft_api_response *ret);

#endif
