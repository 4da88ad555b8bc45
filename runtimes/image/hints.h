/* SPDX-License-Identifier: Apache-2.0 */
/* weft.json, which an image may carry beside its kernel: what weft cannot guess about a guest. All
 * members are optional, unknown ones are ignored.
 *
 *   machine  "microvm" | "q35" | "pc"   default "q35", which Unikraft's kernels want
 *   netdev   "ip" | "ipv4_addr"         how the kernel takes its address: netdev.ip=ADDR/LEN:GW
 *                                       (Unikraft 0.16 and later) or the older three arguments
 *   ring3    true | false               runs in ring 3, so KVM helps where only ring 3 is native
 *   accel    "auto" | "kvm" | "tcg"     "kvm": whenever the guest can run on it at all
 *   kernel_args "..."                   more kernel arguments ("vfs.fstab=...", "spin=50")
 *   args     "..."                      application arguments when the descriptor gives none
 */
#ifndef WEFT_RUNTIMES_IMAGE_HINTS_H
#define WEFT_RUNTIMES_IMAGE_HINTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ctrl/base/err.h"

#define WEFT_HINTS_ARGS_MAX 1024

enum weft_machine { WEFT_MACHINE_Q35, WEFT_MACHINE_PC, WEFT_MACHINE_MICROVM, WEFT_MACHINE_COUNT };
enum weft_netdev_args { WEFT_NETDEV_IP, WEFT_NETDEV_IPV4_ADDR, WEFT_NETDEV_COUNT };
enum weft_accel_hint { WEFT_ACCEL_AUTO, WEFT_ACCEL_KVM, WEFT_ACCEL_TCG, WEFT_ACCEL_COUNT };

struct weft_hints {
	enum weft_machine machine;
	enum weft_netdev_args netdev;
	enum weft_accel_hint accel;
	bool ring3;
	char kernel_args[WEFT_HINTS_ARGS_MAX]; /* "": none */
	char args[WEFT_HINTS_ARGS_MAX];        /* "": none */
};

const char *weft_machine_name(enum weft_machine m);

/* From a file's text. *ret is complete, with defaults, on success. -EBADMSG with the position:
 * "weft.json: line 3: machine ...". */
int weft_hints_parse(const char *text, size_t size, struct weft_hints *ret, struct weft_err *err);
/* The same from and to an object; a new reference, NULL when out of memory. */
int weft_hints_from_json(const json_t *o, struct weft_hints *ret, struct weft_err *err);
json_t *weft_hints_to_json(const struct weft_hints *h);

#endif
