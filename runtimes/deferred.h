/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that a runtime owes its caller: runtime.h wants `done` called exactly once, from the
 * loop, never from within the call, and not at all after free(). Owe first, when failing is still
 * free; post later, which cannot fail. */
#ifndef WEFT_RUNTIMES_DEFERRED_H
#define WEFT_RUNTIMES_DEFERRED_H

#include <stdint.h>
#include <systemd/sd-event.h>

#include "runtimes/runtime.h"

struct weft_deferred; /* one answer owed */

/* All that one runtime owes; starts as {}. */
struct weft_deferred_set {
	struct weft_deferred *first;
};

/* Owe an answer. It belongs to the set until it has been given, or dropped. done may be NULL. */
int weft_deferred_done(struct weft_deferred_set *set, sd_event *event, weft_runtime_done_t done,
	void *userdata, struct weft_deferred **ret);
int weft_deferred_prepared(struct weft_deferred_set *set, sd_event *event,
	weft_runtime_prepared_t done, void *userdata, struct weft_deferred **ret);
int weft_deferred_probed(struct weft_deferred_set *set, sd_event *event, weft_runtime_probed_t done,
	void *userdata, struct weft_deferred **ret);

int weft_deferred_images(struct weft_deferred_set *set, sd_event *event, weft_runtime_images_t done,
	void *userdata, struct weft_deferred **ret);

/* Give the answer in the loop's next turn, exactly once; d must not be used afterwards. err may be
 * NULL or empty: strerror() then stands in. It is copied, as is ref. */
void weft_deferred_post(struct weft_deferred *d, int r, const struct weft_err *err);
void weft_deferred_post_prepared(
	struct weft_deferred *d, int r, const struct weft_err *err, const char *ref, uint64_t size);
/* caps is copied, at most WEFT_RUNTIME_MAX_CAPS of them. */
void weft_deferred_post_probed(
	struct weft_deferred *d, const struct weft_runtime_cap *caps, unsigned n_caps);

/* list is copied. */
void weft_deferred_post_images(struct weft_deferred *d, int r, const struct weft_err *err,
	const struct weft_runtime_image *list, unsigned n);

/* Never give it: the call itself failed. NULL is fine. */
void weft_deferred_drop(struct weft_deferred *d);
/* Drop all of a set, posted or not: what free() does first. */
void weft_deferred_drop_all(struct weft_deferred_set *set);

#endif
