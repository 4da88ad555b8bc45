/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/log_rotate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"

#define INTERVAL_MS 1000
#define CHUNK       (512 * 1024) /* copied in one turn of the loop */

struct weft_log_rotate {
	char *path, *old, *tmp;
	uint64_t max;
	unsigned interval_ms;
	sd_event_source *timer;
	int from, to; /* while copying, else -1 */
	off_t at;
};

static void stop_copying(struct weft_log_rotate *l)
{
	closep(&l->from);
	closep(&l->to);
	if (l->to >= 0)
		unlink(l->tmp);
	l->from = l->to = -1;
}

/* Open both ends when the log has grown too large; more than max at its end is not worth keeping.
 */
static void begin(struct weft_log_rotate *l)
{
	struct stat st;

	l->from = open(l->path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
	if (l->from < 0 || fstat(l->from, &st) < 0 || !S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size <= l->max) {
		stop_copying(l);
		return;
	}
	l->at = (uint64_t)st.st_size > 2 * l->max ? st.st_size - (off_t)l->max : 0;
	l->to = open(l->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (l->to < 0) {
		log_warning("log %s is not rotated: %s: %m", l->path, l->tmp);
		stop_copying(l);
	}
}

/* True when the end was reached, or there is no way to go on. */
static bool copy(struct weft_log_rotate *l)
{
	ssize_t n = sendfile(l->to, l->from, &l->at, CHUNK);

	if (n == CHUNK || (n < 0 && errno == EINTR))
		return false;
	if (n < 0) {
		log_warning("log %s is not rotated: copy it to %s: %m", l->path, l->tmp);
		stop_copying(l);
		return true;
	}
	/* No more than a few lines were added since: take them as well. */
	while (n > 0)
		n = sendfile(l->to, l->from, &l->at, CHUNK);
	if (ftruncate(l->from, 0) < 0 || rename(l->tmp, l->old) < 0)
		log_warning("log %s is not rotated: %m", l->path);
	else
		closep(&l->to), l->to = -1; /* tmp is old now */
	stop_copying(l);
	return true;
}

/* What somebody who was killed has left: all of the log, which is emptied and has begun anew, or a
 * part of it. */
static void finish_earlier(struct weft_log_rotate *l)
{
	struct stat log, copied;

	if (lstat(l->tmp, &copied) < 0)
		return;
	if (S_ISREG(copied.st_mode) && lstat(l->path, &log) == 0 && log.st_size < copied.st_size)
		rename(l->tmp, l->old);
	else
		unlink(l->tmp);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_log_rotate *l = userdata;
	bool done;

	(void)usec;
	if (l->from < 0)
		begin(l);
	done = l->from < 0 || copy(l);
	sd_event_source_set_time_relative(source, done ? l->interval_ms * 1000ULL : 0);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

int weft_log_rotate_new(sd_event *event, const char *path, uint64_t max_bytes, unsigned interval_ms,
	struct weft_log_rotate **ret)
{
	_cleanup_(weft_log_rotate_freep) struct weft_log_rotate *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->from = l->to = -1;
	l->max = max_bytes;
	l->interval_ms = interval_ms ? interval_ms : INTERVAL_MS;
	l->path = strdup(path);
	l->old = weft_strf("%s.1", path);
	l->tmp = weft_strf("%s.1.tmp", path);
	if (!l->path || !l->old || !l->tmp)
		return -ENOMEM;
	finish_earlier(l);
	r = sd_event_add_time_relative(
		event, &l->timer, CLOCK_MONOTONIC, l->interval_ms * 1000ULL, 100000, on_timer, l);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(l);
	return 0;
}

void weft_log_rotate_free(struct weft_log_rotate *l)
{
	if (!l)
		return;
	stop_copying(l);
	sd_event_source_disable_unref(l->timer);
	free(l->path);
	free(l->old);
	free(l->tmp);
	free(l);
}
