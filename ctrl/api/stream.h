/* SPDX-License-Identifier: Apache-2.0 */
/* Private to ctrl/api: answers that go on, an event a line, for as long as their client listens. */
#ifndef WEFT_API_STREAM_H
#define WEFT_API_STREAM_H

#include <microhttpd.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "ctrl/api/route.h"
#include "ctrl/engine/events.h"

#define WEFT_API_SSE "text/event-stream"

struct weft_api_streams;

/* engine must outlive it. */
int weft_api_streams_open(
	sd_event *event, struct weft_engine *engine, struct weft_api_streams **ret);
/* Once the daemon whose connections they are has stopped. */
void weft_api_streams_free(struct weft_api_streams *all);

/* Answer c with what a says is to be followed: Server-Sent Events if a's type is WEFT_API_SSE.
 * -ESTALE with err: what it asks for is not known any more. */
int weft_api_stream_start(struct weft_api_streams *all, struct MHD_Connection *c,
	const struct weft_api_response *a, struct weft_err *err);
/* Let those that have something to send go on; true: MHD_run() has work to do. */
bool weft_api_streams_wake(struct weft_api_streams *all);
/* End the one that c follows, with err as its last line. */
void weft_api_streams_revoke(
	struct weft_api_streams *all, struct MHD_Connection *c, const struct weft_err *err);
/* End all of them: MHD_stop_daemon() wants no connection suspended. */
void weft_api_streams_end(struct weft_api_streams *all);

#endif
