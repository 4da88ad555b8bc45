/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps a log that another process appends to (O_APPEND) below a size: what is in it is copied to
 * PATH.1, in place of the last one, and the file is emptied. The writer goes on with the same file
 * and knows nothing of it, so that this works for a qemu that hangs, that an earlier daemon has
 * started, and for its console and its own messages alike; while no daemon runs, the log just
 * grows. What is written within the microseconds between the last copy and the emptying is lost. */
#ifndef WEFT_RUNTIMES_LOG_ROTATE_H
#define WEFT_RUNTIMES_LOG_ROTATE_H

#include <stdint.h>
#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"

struct weft_log_rotate;

/* Looks at it every interval_ms (0: a second). On success the caller owns *ret. */
int weft_log_rotate_new(sd_event *event, const char *path, uint64_t max_bytes, unsigned interval_ms,
	struct weft_log_rotate **ret);
void weft_log_rotate_free(struct weft_log_rotate *l); /* NULL is fine; the files stay */
WEFT_DEFINE_CLEANUP(struct weft_log_rotate *, weft_log_rotate_free);

#endif
