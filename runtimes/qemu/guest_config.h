/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest can read of weft in qemu's fw_cfg, and read again after it was restored from a
 * checkpoint: who it is now. The text has always the same size, as guests remember it.
 *
 *   weft-guest 1
 *   state=wait                   do not answer to any address yet; read again soon
 *   state=go                     from here on all the rest is there:
 *   name=shop.web.1
 *   mac=02:00:0a:13:01:02
 *   ip=10.19.1.2/26              not there: no address
 *   gw=10.19.1.1                 not there: none
 *   ip6=fc00::102/128            likewise
 *   gw6=fe80::1
 *   time_ms=1767225600000        since the epoch, when qemu was started
 *   seed=<64 hex digits>         for random numbers, never the same
 */
#ifndef WEFT_RUNTIMES_QEMU_GUEST_CONFIG_H
#define WEFT_RUNTIMES_QEMU_GUEST_CONFIG_H

#include <stdbool.h>

#include "runtimes/runtime.h"

#define WEFT_GUEST_CONFIG_NAME "opt/weft/guest"
#define WEFT_GUEST_CONFIG_SIZE 512
/* What a guest writes to its console when it waits: now a checkpoint can be made of it. */
#define WEFT_GUEST_WAITS       "weft-guest: waiting for an address"

/* The text, NUL-terminated, behind it newlines up to the size. id NULL: wait. */
int weft_guest_config_text(
	const char *id, const struct weft_runtime_net *net, char buf[WEFT_GUEST_CONFIG_SIZE + 1]);
/* A file in memory with it, close-on-exec. */
int weft_guest_config_file(const char *id, const struct weft_runtime_net *net, int *ret_fd);

#endif
