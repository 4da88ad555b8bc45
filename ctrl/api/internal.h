/* SPDX-License-Identifier: Apache-2.0 */
/* Between the table of routes and the requests that need more than a row in it. */
#ifndef WEFT_API_INTERNAL_H
#define WEFT_API_INTERNAL_H

#include <jansson.h>

#include "ctrl/api/route.h"

/* Takes doc over, which may be NULL: -ENOMEM then. */
int api_answer(struct weft_api_response *ret, int status, json_t *doc);

/* If-Match, of a request that names its resource in its body. */
int api_unchanged(struct weft_engine *e, const struct weft_api_request *q,
	enum weft_engine_kind kind, const char *name, struct weft_err *err);

/* name is what the path's '*' stands for. */
#define API_REQUEST(fn)                                                                   \
	int fn(struct weft_engine *e, const struct weft_api_request *q, const char *name, \
		struct weft_api_response *ret, struct weft_err *err)
API_REQUEST(api_apply);
API_REQUEST(api_logs);
API_REQUEST(api_events);
API_REQUEST(api_watch);
API_REQUEST(api_weights);
API_REQUEST(api_settings);
API_REQUEST(api_scale);
API_REQUEST(api_swap);
API_REQUEST(api_attach);
API_REQUEST(api_peer);
API_REQUEST(api_peer_import);
API_REQUEST(api_pause);
API_REQUEST(api_resume);
API_REQUEST(api_exec);
API_REQUEST(api_images);
API_REQUEST(api_image_pull);
API_REQUEST(api_image_remove);
API_REQUEST(api_images_prune);
API_REQUEST(api_dp_lb);
API_REQUEST(api_dp_flows);
API_REQUEST(api_dp_stats);
API_REQUEST(api_trace);
API_REQUEST(api_web);
API_REQUEST(api_metrics);
API_REQUEST(api_healthz);
API_REQUEST(api_readyz);

#endif
