/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP API (ctrl/schema/api.md) on a unix socket and, with TLS and tokens, on a TCP port,
 * served by libmicrohttpd from the daemon's own loop: no threads. */
#ifndef WEFT_API_SERVER_H
#define WEFT_API_SERVER_H

#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"
#include "ctrl/engine/engine.h"

struct weft_api;

/* How much of a listener one user (a uid, a token, an address without one) may have. */
struct weft_api_each {
	unsigned connections, streams, calls;
	unsigned head_s; /* the head of a request has to be there by then */
};

/* Texts must outlive the server. */
struct weft_api_config {
	const char *socket;             /* mode 0660 */
	const char *socket_group;       /* NULL: that of the process */
	const char *listen;             /* "ADDRESS:PORT"; NULL: no TCP */
	const char *tls_cert, *tls_key; /* files; needed with listen */
	const char *tokens;             /* file; needed with listen */
	struct weft_api_each each;
};

/* A socket file nobody listens on is replaced; one that is alive is -EADDRINUSE. engine must
 * outlive the server. */
int weft_api_open(sd_event *event, const struct weft_api_config *config, struct weft_engine *engine,
	struct weft_api **ret, struct weft_err *err);
/* "ADDRESS:PORT", or -EINVAL. */
int weft_api_check_listen(const char *text);
/* Can certificate, key and tokens be read? */
int weft_api_check(const struct weft_api_config *config, struct weft_err *err);
/* Read certificate, key and tokens again. On failure those that there were go on. */
int weft_api_reload(struct weft_api *api, struct weft_err *err);
void weft_api_free(struct weft_api *api); /* removes the socket file */
WEFT_DEFINE_CLEANUP(struct weft_api *, weft_api_free);

#endif
