/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of our namespace that come and go, as the kernel tells it. */
#ifndef WEFT_DATAPLANE_LINK_WATCH_H
#define WEFT_DATAPLANE_LINK_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/err.h"

struct weft_link_watch;

/* gone: deleted, or moved to another namespace. Else it is new or has changed. */
typedef void (*weft_link_watch_t)(void *userdata, uint32_t ifindex, bool gone);

int weft_link_watch_open(
	weft_link_watch_t cb, void *userdata, struct weft_link_watch **ret, struct weft_err *err);
void weft_link_watch_free(struct weft_link_watch *w);
WEFT_DEFINE_CLEANUP(struct weft_link_watch *, weft_link_watch_free);

int weft_link_watch_fd(const struct weft_link_watch *w); /* readable: call run() */
/* Call cb for what has happened. -ENOBUFS: some of it was lost, look for yourself. */
int weft_link_watch_run(struct weft_link_watch *w);

#endif
