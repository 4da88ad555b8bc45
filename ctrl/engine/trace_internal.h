/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_ENGINE_TRACE_INTERNAL_H
#define WEFT_ENGINE_TRACE_INTERNAL_H

#include <jansson.h>

#include "ctrl/dataplane/dp_trace.h"

struct trace_request {
	const char *service;
	uint64_t duration_ms, interval_ms;
};

/* The document of ctrl/schema/api.md. ended: why it is the last one, NULL while it goes on. */
json_t *trace_view(const struct trace_request *q, const struct weft_dp_trace_report *report,
	uint64_t t_ms, const char *ended);

#endif
