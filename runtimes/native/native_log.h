/* SPDX-License-Identifier: Apache-2.0 */
/* The writer of a native instance's log: weft-log, beside the instance in a cgroup of its own, so
 * that it is not within the instance's limits, and goes on while no daemon runs. */
#ifndef WEFT_RUNTIMES_NATIVE_LOG_H
#define WEFT_RUNTIMES_NATIVE_LOG_H

#include <stdint.h>
#include <sys/types.h>

#include "ctrl/base/err.h"

struct weft_native_log {
	const char *id, *program; /* program: weft-log */
	const char *path;         /* of the log */
	uint64_t max_bytes;       /* 0: it is not rotated */
	const char *cgroup;
};

/* Start one. It ends by itself, with all that was said, once nobody has ret_end any more: the end
 * of a pipe for the instance's output. Its cgroup is the caller's to remove, also after failure. */
int weft_native_log_start(const struct weft_native_log *log, pid_t *ret_pid, int *ret_pidfd,
	int *ret_end, struct weft_err *err);

#endif
