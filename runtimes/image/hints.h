/* SPDX-License-Identifier: Apache-2.0 */
/* weft.json, which an image may carry beside its kernel: what weft cannot guess about a guest. All
 * members are optional, unknown ones are ignored.
 *
 *   machine  "auto" | "microvm" | "q35" | "pc" | "virt"
 *                                       auto: arm64 has virt alone; amd64: pc for Linux, else q35,
 *                                       which Unikraft's kernels want
 *   netdev   "auto" | "ip" | "ipv4_addr" | "linux"
 *                                       how the kernel takes its address: netdev.ip=ADDR/LEN:GW
 *                                       (Unikraft 0.16 and later), the older three arguments, or
 *                                       Linux's ip=. auto: by what the kernel's own text knows
 *   ipv6     true | false               takes weft.ip6=ADDR/LEN weft.gw6=GW beside it, and ip6= and
 *                                       gw6= of guest_config.h; by default none, as Unikraft's
 *   powerdown true | false              shuts down when its power button is pressed; by default
 *                                       only Linux is taken to
 *   queues   1 .. 8                     pairs of queues its network driver can use; default 1
 *   watchdog true | false               feeds an i6300esb watchdog once it has started it
 *   warm     "no" | "can" | "yes"       takes its address again after it was restored from a
 *                                       checkpoint (warm.h); yes: and is worth starting so
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
#include "ctrl/base/virt.h"
#include "runtimes/image/kernel.h"

#define WEFT_HINTS_ARGS_MAX 1024
#define WEFT_MAX_QUEUES     8

enum weft_machine {
	WEFT_MACHINE_AUTO,
	WEFT_MACHINE_Q35,
	WEFT_MACHINE_PC,
	WEFT_MACHINE_MICROVM,
	WEFT_MACHINE_VIRT,
	WEFT_MACHINE_COUNT,
};
enum weft_netdev_args {
	WEFT_NETDEV_AUTO,
	WEFT_NETDEV_IP,
	WEFT_NETDEV_IPV4_ADDR,
	WEFT_NETDEV_LINUX,
	WEFT_NETDEV_COUNT,
};
enum weft_accel_hint { WEFT_ACCEL_AUTO, WEFT_ACCEL_KVM, WEFT_ACCEL_TCG, WEFT_ACCEL_COUNT };
enum weft_warm_hint { WEFT_WARM_NO, WEFT_WARM_CAN, WEFT_WARM_YES, WEFT_WARM_COUNT };

struct weft_hints {
	enum weft_machine machine;
	enum weft_netdev_args netdev;
	enum weft_accel_hint accel;
	enum weft_warm_hint warm;
	bool ring3;
	bool ipv6;
	int powerdown; /* -1: not said */
	bool watchdog;
	unsigned queues;
	char kernel_args[WEFT_HINTS_ARGS_MAX]; /* "": none */
	char args[WEFT_HINTS_ARGS_MAX];        /* "": none */
};

const char *weft_machine_name(enum weft_machine m);
int weft_machine_parse(const char *s); /* the enum or -EINVAL */

/* What an image says that has no weft.json. */
void weft_hints_default(struct weft_hints *ret);
/* From a file's text. *ret is complete, with defaults, on success. -EBADMSG with the position:
 * "weft.json: line 3: machine ...". */
int weft_hints_parse(const char *text, size_t size, struct weft_hints *ret, struct weft_err *err);
/* The same from and to an object; a new reference, NULL when out of memory. */
int weft_hints_from_json(const json_t *o, struct weft_hints *ret, struct weft_err *err);
json_t *weft_hints_to_json(const struct weft_hints *h);

/* Decide whatever is left open, for the kernel that the hints go with. */
void weft_hints_settle(struct weft_hints *h, enum weft_arch arch, const struct weft_kernel *kernel);

#endif
