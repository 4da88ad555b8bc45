/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP API on a unix socket (ctrl/schema/api.md), served by libmicrohttpd from the daemon's own
 * loop: no threads. */
#ifndef WEFT_API_SERVER_H
#define WEFT_API_SERVER_H

#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "ctrl/engine/engine.h"

struct weft_api;

/* Listen on socket_path (mode 0660). A socket file nobody listens on is replaced; one that is alive
 * is -EADDRINUSE. engine must outlive the server. */
int weft_api_open(sd_event *event, const char *socket_path, struct weft_engine *engine,
	struct weft_api **ret, struct weft_err *err);
void weft_api_free(struct weft_api *api); /* removes the socket file */
WEFT_DEFINE_CLEANUP(struct weft_api *, weft_api_free);

#endif
