/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that come line by line out of a pipe (NDJSON), for as long as somebody writes into it and
 * the client listens. A first line that is an error is an answer of its own. */
#ifndef WEFT_API_PIPE_H
#define WEFT_API_PIPE_H

#include <microhttpd.h>
#include <systemd/sd-event.h>

#include "ctrl/base/err.h"

struct weft_api_pipe;

/* All that a server has, so that it can end them. */
struct weft_api_pipes {
	sd_event *event;
	struct weft_api_pipe *first;
};

/* Takes fd. The connection is suspended until the first line is there; then its handler is called
 * again and has to call weft_api_pipe_reply(). */
int weft_api_pipe_new(struct weft_api_pipes *all, struct MHD_Connection *c, int fd,
	struct weft_api_pipe **ret, struct weft_err *err);
/* MHD_YES once an answer is queued. */
enum MHD_Result weft_api_pipe_reply(struct weft_api_pipe *s);
/* When its connection's request is over. Closes the pipe. NULL is fine. */
void weft_api_pipe_free(struct weft_api_pipe *s);
/* Break the answer off, as if the other end of the pipe had failed. May free s. */
void weft_api_pipe_cut(struct weft_api_pipe *s);
/* Let go of all connections: MHD_stop_daemon() wants none suspended. */
void weft_api_pipes_end(struct weft_api_pipes *all);

#endif
