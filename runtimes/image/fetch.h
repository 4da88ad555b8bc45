/* SPDX-License-Identifier: Apache-2.0 */
/* Fetching a unikernel's image into a file: from an https or http URL, or from a registry, where it
 * is an artifact of one layer (a tar archive as unpack.h has it, or a bare kernel), or of several
 * that are titled by the names which the files have in such an archive ("kernel", "weft.json",
 * ...).
 *
 *   https://HOST/PATH[#sha256=HEX]        HOST[:PORT]/NAME[:TAG][@sha256:HEX]
 *
 * What fails for a while is tried again, and goes on where it stopped, also in the next daemon's
 * life if the server can say that it is still the same. Nothing fetched is trusted yet. */
#ifndef WEFT_RUNTIMES_IMAGE_FETCH_H
#define WEFT_RUNTIMES_IMAGE_FETCH_H

#include <systemd/sd-event.h>

#include "ctrl/base/cleanup.h"
#include "runtimes/runtime.h"

#define WEFT_FETCH_MAX_BYTES (512ULL << 20)
#define WEFT_FETCH_MARK      512

struct weft_fetcher;
struct weft_fetch; /* one under way */

/* dir is made when missing; what was given up there long ago is removed. On success the caller owns
 * *ret. */
int weft_fetcher_new(
	sd_event *event, const char *dir, struct weft_fetcher **ret, struct weft_err *err);
void weft_fetcher_free(struct weft_fetcher *f); /* ends what is under way; NULL is fine */
WEFT_DEFINE_CLEANUP(struct weft_fetcher *, weft_fetcher_free);
/* As of weft_runtime_config. */
int weft_fetcher_set_registries(struct weft_fetcher *f, const char *file);
void weft_fetcher_on_progress(
	struct weft_fetcher *f, weft_runtime_progress_t progress, void *userdata);
/* For tests: between two tries, at first; 0: as it is. */
void weft_fetcher_set_pause(struct weft_fetcher *f, unsigned ms);

/* Is it a name that is to be fetched, and not a path or file:// URL? */
bool weft_fetch_is_remote(const char *image);
/* Is it a name of a kind that can be fetched? -ENOTSUP, -EINVAL. */
int weft_fetch_check(const char *image, struct weft_err *err);
/* The digest that a URL says its file has, or NULL; a reference's is its manifest's. */
const char *weft_fetch_digest(const char *image);

struct weft_fetched {
	int r; /* 0 or a negative errno; then err says why */
	const struct weft_err *err;
	bool away;          /* r < 0: who has it cannot be reached at the moment */
	bool unchanged;     /* it is what it was when mark was said */
	const char *path;   /* the file, which the receiver removes; NULL when unchanged */
	const char *digest; /* that its content must have, 64 hex digits; NULL: not said */
	const char *mark; /* tells the next time whether it is still the same; "": cannot be told */
};
/* Once, from the loop; all of it lives until the callback returns. The fetch is gone. */
typedef void (*weft_fetched_t)(void *userdata, const struct weft_fetched *res);

/* mark: what was said the last time, if that is still here; else NULL. Strings are copied. */
int weft_fetch(struct weft_fetcher *f, const char *image, enum weft_arch arch, const char *mark,
	weft_fetched_t done, void *userdata, struct weft_fetch **ret, struct weft_err *err);
void weft_fetch_cancel(struct weft_fetch *fetch); /* keeps what there is of it; NULL is fine */

#endif
