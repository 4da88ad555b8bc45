/* SPDX-License-Identifier: Apache-2.0 */
/* Private to ctrl/api: whether the client of a suspended connection, at which libmicrohttpd does
 * not look, is still there. */
#ifndef WEFT_API_GONE_H
#define WEFT_API_GONE_H

#include <microhttpd.h>
#include <systemd/sd-event.h>

#include "ctrl/base/err.h"

struct weft_api_gone {
	int fd; /* a copy of the connection's socket, -1: none */
	sd_event_source *source;
};
#define WEFT_API_GONE_INIT \
	{                  \
		.fd = -1   \
	}

/* handler is called once it has gone; over TCP who has closed one direction is taken to be. On
 * failure, too, weft_api_gone_end() is to be called. */
int weft_api_gone_watch(struct weft_api_gone *g, sd_event *event, struct MHD_Connection *c,
	sd_event_io_handler_t handler, void *userdata, struct weft_err *err);
void weft_api_gone_end(struct weft_api_gone *g);

#endif
