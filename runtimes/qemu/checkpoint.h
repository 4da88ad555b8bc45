/* SPDX-License-Identifier: Apache-2.0 */
/* A file that holds a checkpoint: a head that says which machines it fits, then qemu's state. */
#ifndef WEFT_RUNTIMES_QEMU_CHECKPOINT_H
#define WEFT_RUNTIMES_QEMU_CHECKPOINT_H

#include <stddef.h>

#include "ctrl/base/err.h"

#define WEFT_CHECKPOINT_HEAD 4096 /* bytes before the state */
#define WEFT_SHAPE_MAX       512

/* Make it; the descriptor, close-on-exec, stands where the state begins. shape is one line that
 * says all that has to be equal where it is restored: a few WORD=VALUE. */
int weft_checkpoint_create(const char *path, const char *shape, int *ret_fd, struct weft_err *err);

/* Open it, standing where the state begins. -EBADMSG: no checkpoint; -EINVAL: it is of another
 * shape, and err says in what. */
int weft_checkpoint_open(const char *path, const char *shape, int *ret_fd, struct weft_err *err);

/* The first word in which two shapes differ, as "memory=64 there, memory=32 here". Returns buf. */
const char *weft_shape_difference(const char *there, const char *here, char *buf, size_t size);

#endif
