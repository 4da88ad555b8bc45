/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a qemu. Everything it needs is handed over open or named relative to its working
 * directory; no shell. */
#ifndef WEFT_RUNTIMES_QEMU_SPAWN_H
#define WEFT_RUNTIMES_QEMU_SPAWN_H

#include <sys/types.h>

#include "runtimes/qemu/machine.h"

struct weft_qemu_spawn {
	struct weft_qemu_args *args; /* its vhost is found out here */
	const char *image_dir, *netns, *cgroup;
	int monitor;     /* listening */
	int output;      /* its stdout and stderr */
	const int *taps; /* args->queues of them */
	int config;      /* of args->config, else -1 */
};

/* A socket DIR/qmp.sock that listens: whoever connects need not wait for qemu, which greets when it
 * is ready. *ret_path is owned by the caller. On failure there is none. */
int weft_qemu_listen(const char *dir, int *ret_fd, char **ret_path, struct weft_err *err);

/* The child is the caller's, as of weft_process_spawn(). */
int weft_qemu_spawn(
	const struct weft_qemu_spawn *s, pid_t *ret_pid, int *ret_pidfd, struct weft_err *err);

#endif
