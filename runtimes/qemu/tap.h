/* SPDX-License-Identifier: Apache-2.0 */
/* More queues for the tap that an instance was given, and the kernel's back-end for them. */
#ifndef WEFT_RUNTIMES_QEMU_TAP_H
#define WEFT_RUNTIMES_QEMU_TAP_H

#include <stdbool.h>

#include "ctrl/base/err.h"

/* Open n more queues of the macvtap or multi-queue tap behind fd, close-on-exec. On failure none is
 * open. -ENOTSUP: the tap was made with one queue. */
int weft_tap_queues(int fd, unsigned n, int *ret_fds, struct weft_err *err);

/* Does vhost-net work on this host? Found out by trying, every time: it is quick. */
bool weft_vhost_net_usable(void);
/* Open it n times. */
int weft_vhost_net_open(unsigned n, int *ret_fds, struct weft_err *err);

/* A tap of n queues, with vnet_hdr, that is connected to nothing and that nobody can see: in a
 * network namespace of its own, which goes when it is closed. */
int weft_tap_nowhere(unsigned n, int *ret_fds, struct weft_err *err);

#endif
