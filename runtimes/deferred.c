/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/deferred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"

struct weft_deferred {
	struct weft_deferred_set *set;
	struct weft_deferred *prev, *next;
	sd_event_source *source;
	weft_runtime_done_t done;
	weft_runtime_prepared_t prepared;
	weft_runtime_probed_t probed;
	void *userdata;
	int r;
	struct weft_err err;
	char *ref;
	uint64_t size;
	struct weft_runtime_cap caps[WEFT_RUNTIME_MAX_CAPS];
	unsigned n_caps;
	weft_runtime_images_t images;
	struct weft_runtime_image *list;
	unsigned n_list;
};

static void unlink_from_set(struct weft_deferred *d)
{
	if (d->next)
		d->next->prev = d->prev;
	if (d->prev)
		d->prev->next = d->next;
	else
		d->set->first = d->next;
}

static void destroy(struct weft_deferred *d)
{
	sd_event_source_disable_unref(d->source);
	free(d->ref);
	free(d->list);
	free(d);
}

void weft_deferred_drop(struct weft_deferred *d)
{
	if (!d)
		return;
	unlink_from_set(d);
	destroy(d);
}

void weft_deferred_drop_all(struct weft_deferred_set *set)
{
	while (set->first)
		weft_deferred_drop(set->first);
}

static int on_turn(sd_event_source *source, void *userdata)
{
	struct weft_deferred *d = userdata;

	(void)source;
	unlink_from_set(d); /* the callback may free the runtime and its set */
	if (d->prepared)
		d->prepared(d->userdata, d->r, &d->err, d->ref, d->size);
	else if (d->probed)
		d->probed(d->userdata, d->caps, d->n_caps);
	else if (d->images)
		d->images(d->userdata, d->r, &d->err, d->list, d->n_list);
	else if (d->done)
		d->done(d->userdata, d->r, &d->err);
	destroy(d);
	return 0;
}

static int owe(
	struct weft_deferred_set *set, sd_event *event, void *userdata, struct weft_deferred **ret)
{
	struct weft_deferred *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	r = sd_event_add_defer(event, &d->source, on_turn, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->source, SD_EVENT_OFF);
	if (r < 0) {
		destroy(d);
		return r;
	}
	d->userdata = userdata;
	d->set = set;
	d->next = set->first;
	if (d->next)
		d->next->prev = d;
	set->first = d;
	*ret = d;
	return 0;
}

int weft_deferred_done(struct weft_deferred_set *set, sd_event *event, weft_runtime_done_t done,
	void *userdata, struct weft_deferred **ret)
{
	int r = owe(set, event, userdata, ret);

	if (r == 0)
		(*ret)->done = done;
	return r;
}

int weft_deferred_prepared(struct weft_deferred_set *set, sd_event *event,
	weft_runtime_prepared_t done, void *userdata, struct weft_deferred **ret)
{
	int r = owe(set, event, userdata, ret);

	if (r == 0)
		(*ret)->prepared = done;
	return r;
}

int weft_deferred_probed(struct weft_deferred_set *set, sd_event *event, weft_runtime_probed_t done,
	void *userdata, struct weft_deferred **ret)
{
	int r = owe(set, event, userdata, ret);

	if (r == 0)
		(*ret)->probed = done;
	return r;
}

int weft_deferred_images(struct weft_deferred_set *set, sd_event *event, weft_runtime_images_t done,
	void *userdata, struct weft_deferred **ret)
{
	int r = owe(set, event, userdata, ret);

	if (r == 0)
		(*ret)->images = done;
	return r;
}

void weft_deferred_post(struct weft_deferred *d, int r, const struct weft_err *err)
{
	d->r = r;
	if (err && err->code)
		d->err = *err;
	else if (r < 0)
		weft_err_set(&d->err, r, "%s", strerror(-r));
	sd_event_source_set_enabled(d->source, SD_EVENT_ONESHOT);
}

void weft_deferred_post_prepared(
	struct weft_deferred *d, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	if (ref) {
		d->ref = strdup(ref);
		if (!d->ref)
			r = -ENOMEM;
	}
	d->size = size;
	weft_deferred_post(d, r, err);
}

void weft_deferred_post_probed(
	struct weft_deferred *d, const struct weft_runtime_cap *caps, unsigned n_caps)
{
	d->n_caps = n_caps < WEFT_RUNTIME_MAX_CAPS ? n_caps : WEFT_RUNTIME_MAX_CAPS;
	memcpy(d->caps, caps, d->n_caps * sizeof(*caps));
	weft_deferred_post(d, 0, NULL);
}

void weft_deferred_post_images(struct weft_deferred *d, int r, const struct weft_err *err,
	const struct weft_runtime_image *list, unsigned n)
{
	d->list = n ? calloc(n, sizeof(*d->list)) : NULL;
	if (d->list) {
		memcpy(d->list, list, n * sizeof(*list));
		d->n_list = n;
	} else if (n) {
		r = -ENOMEM;
	}
	weft_deferred_post(d, r, err);
}
