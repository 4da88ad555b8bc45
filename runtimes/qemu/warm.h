/* SPDX-License-Identifier: Apache-2.0 */
/* Warm starts: instances that begin from a checkpoint of a guest that has booted, has started its
 * application, and waits for an address (guest_config.h). Its memory is a file that all instances
 * map and change copies of, so that nothing has to be read and they share what they do not change.
 *
 *   IMAGE/warm/BOOT-KEY/ram, state, seal.json    complete after one rename; touched when used
 *
 * KEY stands for all that the checkpoint depends on: the machine's shape, the kernel's command line
 * (with the application's arguments and environment), and the boot of the host. Made once, in the
 * background, by a qemu that is connected to nothing, one at a time. They go with their image, and
 * those that were not used for the longest time go when all of them take too much room. */
#ifndef WEFT_RUNTIMES_QEMU_WARM_H
#define WEFT_RUNTIMES_QEMU_WARM_H

#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "runtimes/image/unikernel.h"
#include "runtimes/qemu/machine.h"

#define WEFT_WARM_DELAY_MS  2000           /* after the instance that asks for it has started */
#define WEFT_WARM_MAX_BYTES (4ULL << 30)   /* on the disk, of all images' */
#define WEFT_WARM_SPARE     (256ULL << 20) /* stays free on the disk beside what one may take */

struct weft_warm;

/* What an instance needs one for. Strings belong to the caller. */
struct weft_warm_want {
	const char *image; /* reference */
	const char *image_dir;
	const struct weft_qemu_args *args;
	const char *shape;   /* weft_qemu_shape() of args */
	const char *cmdline; /* without an address: weft.net=fw_cfg */
};

/* images is whose images it is about, and has to live longer. */
int weft_warm_new(sd_event *event, struct weft_unikernel_store *images, const char *cgroup_root,
	struct weft_warm **ret, struct weft_err *err);
/* What is under way is ended. NULL is fine. */
void weft_warm_free(struct weft_warm *w);
WEFT_DEFINE_CLEANUP(struct weft_warm *, weft_warm_free);
/* For tests, instead of the numbers above. */
void weft_warm_set_delay(struct weft_warm *w, unsigned ms);
void weft_warm_set_room(struct weft_warm *w, uint64_t max_bytes, uint64_t spare);

/* The directory of a checkpoint that fits, whole as far as can be told without reading its memory;
 * *ret is owned by the caller. -ENOENT: there is none. Else the one that there is must not be used,
 * and err says why: it has been removed. */
int weft_warm_find(
	struct weft_warm *w, const struct weft_warm_want *want, char **ret, struct weft_err *err);

/* There was none, and the instance has booted: make one, unless that is under way or has failed
 * before. */
void weft_warm_make(struct weft_warm *w, const struct weft_warm_want *want);

/* An image goes: nothing is to be made of it any more. */
void weft_warm_forget(struct weft_warm *w, const char *image);

/* An instance that began from it did not run: away with it, and not again in this daemon's life. */
void weft_warm_spoil(struct weft_warm *w, const char *dir);

#endif
