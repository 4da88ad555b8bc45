/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of unikernel images: unpacked by an unprivileged worker, addressed by the sha256 of the
 * file they came from, complete after one rename. unpack.h says what an image may hold.
 *
 *   DIR/<sha256>/kernel, initrd, files/, manifest.json        owned by root, for root alone
 *   DIR/.fetch/, DIR/.sources/                                fetch.h, and what it has fetched
 */
#ifndef WEFT_RUNTIMES_IMAGE_UNIKERNEL_H
#define WEFT_RUNTIMES_IMAGE_UNIKERNEL_H

#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "runtimes/image/unpack.h"
#include "runtimes/runtime.h"

struct weft_unikernel_store;

/* dir is made when missing; what an interrupted unpacking left there is removed. libexec_dir is
 * where weft-unpack is. On success the caller owns *ret. */
int weft_unikernel_store_new(sd_event *event, const char *dir, const char *libexec_dir,
	struct weft_unikernel_store **ret, struct weft_err *err);
/* Ends what is under way; no `done` is called any more. NULL is fine. */
void weft_unikernel_store_free(struct weft_unikernel_store *s);
WEFT_DEFINE_CLEANUP(struct weft_unikernel_store *, weft_unikernel_store_free);

const char *weft_unikernel_store_dir(const struct weft_unikernel_store *s);

/* Who fetches for it. */
struct weft_fetcher *weft_unikernel_fetcher(struct weft_unikernel_store *s);

/* As prepare() of runtime.h says; image may be anything that fetch.h knows; the ref is
 * "sha256:<64 hex digits>". */
int weft_unikernel_prepare(struct weft_unikernel_store *s, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err);

/* A prepared image. */
struct weft_unikernel {
	char *dir; /* where kernel and initrd are */
	enum weft_arch arch;
	struct weft_unpacked what;
};

/* On success the caller owns *ret. -ENOENT: no such image is prepared; -EINVAL: not a ref. */
int weft_unikernel_load(struct weft_unikernel_store *s, const char *ref,
	struct weft_unikernel **ret, struct weft_err *err);
void weft_unikernel_free(struct weft_unikernel *u); /* NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_unikernel *, weft_unikernel_free);

/* All that are prepared; the caller frees *ret. */
int weft_unikernel_list(
	struct weft_unikernel_store *s, struct weft_runtime_image **ret, unsigned *ret_n);
/* With all that was made of it. Instances that run go on. -ENOENT: not there. */
int weft_unikernel_remove(struct weft_unikernel_store *s, const char *ref, struct weft_err *err);

#endif
