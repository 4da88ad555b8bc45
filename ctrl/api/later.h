/* SPDX-License-Identifier: Apache-2.0 */
/* Private to ctrl/api: answers that come when the engine has done what was asked for. Meanwhile the
 * connection is suspended, and costs nothing. */
#ifndef WEFT_API_LATER_H
#define WEFT_API_LATER_H

#include <microhttpd.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "ctrl/api/route.h"

struct weft_api_laters;
struct weft_api_later;

/* NULL: out of memory. */
struct weft_api_laters *weft_api_laters_new(sd_event *event, struct weft_engine *e);
/* Once the daemon whose connections they are has stopped. NULL is fine. */
void weft_api_laters_free(struct weft_api_laters *all);

/* Begin what a->op says, which is freed, and suspend c. When its client goes away, what can be
 * ended is. On failure *ret is untouched. */
int weft_api_later_begin(struct weft_api_laters *all, struct MHD_Connection *c,
	struct weft_api_response *a, struct weft_api_later **ret, struct weft_err *err);
/* The connection goes on: this is its answer. l is gone. */
void weft_api_later_take(struct weft_api_later *l, struct weft_api_response *ret);
/* The connection is gone. NULL is fine. */
void weft_api_later_drop(struct weft_api_later *l);

/* Its answer is err, and what was begun is ended where it can be. */
void weft_api_later_end(struct weft_api_later *l, const struct weft_err *err);

/* Let those go on whose answer has come; true: MHD_run() has work to do. */
bool weft_api_laters_wake(struct weft_api_laters *all);
/* Answer all of them: MHD_stop_daemon() wants no connection suspended. */
void weft_api_laters_end(struct weft_api_laters *all);

#endif
