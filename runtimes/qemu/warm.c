/* SPDX-License-Identifier: Apache-2.0 */
/* Which checkpoints there are, and which are to be made. */
#include "runtimes/qemu/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"
#include "runtimes/qemu/warm_job.h"

#define MAX_QUEUE  16
#define MAX_FAILED 32

struct weft_warm {
	sd_event *event;
	struct weft_unikernel_store *images;
	char *cgroup;
	unsigned delay_ms;
	uint64_t max_bytes, spare;
	struct weft_warm_job *queue[MAX_QUEUE]; /* [0] is under way */
	unsigned n_queue;
	char *failed[MAX_FAILED]; /* directories, a ring */
	unsigned n_failed;
	sd_event_source *begin;
};

/* --- which ---------------------------------------------------------------------------------------
 */

char *weft_warm_purpose(const struct weft_warm_want *want)
{
	char boot[64];

	if (weft_boot_id(boot, sizeof(boot)) < 0)
		return NULL;
	return weft_strf("boot=%s %s arguments: %s", boot, want->shape, want->cmdline);
}

static char *dir_of(const struct weft_warm_want *want)
{
	_cleanup_(freep) char *text = weft_warm_purpose(want);
	char digest[WEFT_OCI_DIGEST];

	if (!text)
		return NULL;
	weft_oci_digest(text, strlen(text), digest);
	return weft_strf("%s/warm/%.8s-%.32s", want->image_dir, text + strlen("boot="),
		WEFT_OCI_HEX(digest));
}

int weft_warm_find(
	struct weft_warm *w, const struct weft_warm_want *want, char **ret, struct weft_err *err)
{
	_cleanup_(freep) char *dir = dir_of(want), *purpose = weft_warm_purpose(want);
	int r;

	if (!dir || !purpose)
		return weft_err_set(err, ENOMEM, "out of memory");
	/* Used now: it is not among those that nobody misses. */
	if (utimensat(AT_FDCWD, dir, NULL, 0) < 0)
		return weft_err_set(err, errno, "checkpoint %s: %m", dir);
	r = weft_warm_check(dir, purpose, (uint64_t)want->args->memory_mb << 20, err);
	if (r < 0) {
		weft_warm_spoil(w, dir);
		return r == -ENOENT ? -EBADMSG : r; /* half of it is there */
	}
	*ret = TAKE_PTR(dir);
	return 0;
}

static bool has_failed(const struct weft_warm *w, const char *dir)
{
	for (unsigned i = 0; i < MAX_FAILED; i++)
		if (w->failed[i] && strcmp(w->failed[i], dir) == 0)
			return true;
	return false;
}

static void note_failed(struct weft_warm *w, const char *dir)
{
	char **at = &w->failed[w->n_failed++ % MAX_FAILED];

	free(*at);
	*at = strdup(dir);
}

void weft_warm_spoil(struct weft_warm *w, const char *dir)
{
	note_failed(w, dir);
	if (weft_warm_remove(dir) < 0)
		log_warning("checkpoint %s: cannot be removed", dir);
}

/* --- one after the other -------------------------------------------------------------------------
 */

static void begin_in(struct weft_warm *w, unsigned ms)
{
	sd_event_source_set_time_relative(w->begin, ms * 1000ULL);
	sd_event_source_set_enabled(w->begin, SD_EVENT_ONESHOT);
}

static void on_made(void *userdata, int r, const struct weft_err *err)
{
	struct weft_warm *w = userdata;
	struct weft_warm_job *job = w->queue[0];
	struct weft_err why = *err;

	if (r == 0)
		r = weft_warm_trim(weft_unikernel_store_dir(w->images), w->max_bytes,
			weft_warm_job_dir(job), &why);
	if (r < 0 && r != -ECANCELED)
		log_warning("image %s cannot be started from a checkpoint: %s",
			weft_warm_job_image(job), why.msg);
	if (r < 0 && r != -ECANCELED && r != -ENOSPC) /* there may be room the next time */
		note_failed(w, weft_warm_job_dir(job));
	memmove(w->queue, w->queue + 1, --w->n_queue * sizeof(w->queue[0]));
	weft_warm_job_free(job);
	if (w->n_queue > 0)
		begin_in(w, 0);
}

/* A disk that is full is worse than a slow start. */
static int check_room(
	const struct weft_warm *w, const struct weft_warm_job *job, struct weft_err *err)
{
	const char *dir = weft_unikernel_store_dir(w->images);
	uint64_t memory = weft_warm_job_memory(job), room;
	struct statvfs fs;

	if (statvfs(dir, &fs) < 0)
		return weft_err_set(err, errno, "%s: %m", dir);
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room >= memory + w->spare)
		return 0;
	weft_err_set(err, ENOSPC, "%s has %llu MiB left, and it may take %llu MiB", dir,
		(unsigned long long)(room >> 20), (unsigned long long)(memory >> 20));
	return weft_err_hint(err, "make room there: weft image prune");
}

static int on_begin(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_warm *w = userdata;
	struct weft_err err = {};
	int r;

	(void)source;
	(void)usec;
	r = w->n_queue > 0 ? check_room(w, w->queue[0], &err) : 0;
	if (r == 0 && w->n_queue > 0)
		r = weft_warm_job_start(
			w->queue[0], w->event, w->images, w->cgroup, on_made, w, &err);
	if (r < 0)
		on_made(w, r, &err);
	return 0;
}

void weft_warm_make(struct weft_warm *w, const struct weft_warm_want *want)
{
	_cleanup_(freep) char *dir = dir_of(want);
	int r;

	if (!dir || has_failed(w, dir) || w->n_queue == MAX_QUEUE)
		return;
	for (unsigned i = 0; i < w->n_queue; i++)
		if (strcmp(weft_warm_job_dir(w->queue[i]), dir) == 0 &&
			!weft_warm_job_cancelled(w->queue[i]))
			return;
	r = weft_warm_job_new(want, dir, &w->queue[w->n_queue]);
	if (r < 0) {
		log_debug("image %s: checkpoint: %s", want->image, strerror(-r));
		return;
	}
	if (w->n_queue++ == 0)
		begin_in(w, w->delay_ms);
}

void weft_warm_forget(struct weft_warm *w, const char *image)
{
	struct weft_warm_job *first = w->n_queue > 0 ? w->queue[0] : NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < w->n_queue; i++) {
		/* One that runs leaves the queue when its qemu has ended. */
		if (strcmp(weft_warm_job_image(w->queue[i]), image) == 0 &&
			!weft_warm_job_cancel(w->queue[i]))
			weft_warm_job_free(w->queue[i]);
		else
			w->queue[n++] = w->queue[i];
	}
	w->n_queue = n;
	if (n > 0 && w->queue[0] != first)
		begin_in(w, 0);
}

/* --- life ----------------------------------------------------------------------------------------
 */

void weft_warm_set_delay(struct weft_warm *w, unsigned ms)
{
	w->delay_ms = ms;
}

void weft_warm_set_room(struct weft_warm *w, uint64_t max_bytes, uint64_t spare)
{
	w->max_bytes = max_bytes;
	w->spare = spare;
}

int weft_warm_new(sd_event *event, struct weft_unikernel_store *images, const char *cgroup_root,
	struct weft_warm **ret, struct weft_err *err)
{
	_cleanup_(weft_warm_freep) struct weft_warm *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return weft_err_set(err, ENOMEM, "qemu: out of memory");
	w->event = sd_event_ref(event);
	w->images = images;
	w->delay_ms = WEFT_WARM_DELAY_MS;
	w->max_bytes = WEFT_WARM_MAX_BYTES;
	w->spare = WEFT_WARM_SPARE;
	/* No instance has such a name. */
	w->cgroup = weft_strf("%s/_warm", cgroup_root);
	r = w->cgroup ? sd_event_add_time_relative(
				event, &w->begin, CLOCK_MONOTONIC, 0, 100000, on_begin, w)
		      : -ENOMEM;
	if (r >= 0)
		r = sd_event_source_set_enabled(w->begin, SD_EVENT_OFF);
	if (r < 0)
		return weft_err_set(err, r, "qemu: %s", strerror(-r));
	/* What a daemon that was killed has left. */
	r = weft_warm_clean(w->cgroup);
	if (r < 0)
		return weft_err_set(err, r, "cgroup %s: remove what is left in it: %s", w->cgroup,
			strerror(-r));
	weft_warm_remove_old(weft_unikernel_store_dir(images));
	*ret = TAKE_PTR(w);
	return 0;
}

void weft_warm_free(struct weft_warm *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < w->n_queue; i++)
		weft_warm_job_free(w->queue[i]);
	for (unsigned i = 0; i < MAX_FAILED; i++)
		free(w->failed[i]);
	sd_event_source_disable_unref(w->begin);
	sd_event_unref(w->event);
	free(w->cgroup);
	free(w);
}
