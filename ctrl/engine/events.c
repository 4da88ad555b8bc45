/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of lines in memory, and the same lines in a file that is appended to and, when it has
 * grown to twice what the ring may hold, replaced by the ring. A line that the disk did not take
 * whole is skipped by who reads it next, and its number, which somebody may have seen, is not given
 * out again: numbers are reserved (reserve.h). Where that cannot be done either, they go on at the
 * time of day in microseconds, which is beyond any that were given out before. */
#include "ctrl/engine/events.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "ctrl/engine/reserve.h"

#define FILE_MAX (4U * WEFT_EVENTS_MAX_BYTES) /* of another daemon's, before it is ignored */

struct weft_events {
	char *lines[WEFT_EVENTS_MAX]; /* of number seq at seq % WEFT_EVENTS_MAX */
	uint64_t first, last;
	size_t bytes;
	char *path;
	int fd; /* -1: in memory only, or to be written anew */
	size_t file_bytes;
	bool complained;
	struct weft_reserve *numbers; /* NULL: in memory only */
	bool unreserved;              /* the last one was not */
	void (*news)(void *userdata);
	void *userdata;
	weft_events_observe_t observe;
	void *observer;
};

static char **place(struct weft_events *l, uint64_t seq)
{
	return &l->lines[seq % WEFT_EVENTS_MAX];
}

static void forget_first(struct weft_events *l)
{
	char **p = place(l, l->first++);

	l->bytes -= *p ? strlen(*p) : 0;
	free(TAKE_PTR(*p));
}

/* Numbers that were left out, because their events were lost, have no line. */
static void go_to(struct weft_events *l, uint64_t seq)
{
	if (seq - l->last >= WEFT_EVENTS_MAX) {
		while (l->first <= l->last)
			forget_first(l);
		l->first = seq;
	}
	l->last = seq;
	while (l->last - l->first >= WEFT_EVENTS_MAX)
		forget_first(l);
}

/* Takes line over. */
static void keep(struct weft_events *l, uint64_t seq, char *line)
{
	go_to(l, seq);
	*place(l, seq) = line;
	l->bytes += strlen(line);
	while (l->bytes > WEFT_EVENTS_MAX_BYTES && l->first < l->last)
		forget_first(l);
}

/* --- the file ----------------------------------------------------------------------------------
 */

static void load_line(struct weft_events *l, const char *line)
{
	json_auto_t *doc = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	const json_t *seq = json_object_get(doc, "seq");
	char *copy;

	if (!json_is_integer(seq) || json_integer_value(seq) <= (json_int_t)l->last)
		return;
	copy = strdup(line);
	if (!copy)
		return;
	if (l->last == 0) /* the file begins in the middle */
		l->first = (uint64_t)json_integer_value(seq), l->last = l->first - 1;
	keep(l, (uint64_t)json_integer_value(seq), copy);
}

static void load(struct weft_events *l)
{
	_cleanup_(freep) char *text = NULL;
	char *save = NULL;
	size_t size = 0;
	int r = weft_read_file(l->path, FILE_MAX, &text, &size);

	if (r < 0 && r != -ENOENT)
		log_warning("events of earlier daemons: %s: %s", l->path, strerror(-r));
	if (r < 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		load_line(l, line);
}

static char *whole(const struct weft_events *l, size_t *ret_size)
{
	char *text = malloc(l->bytes + (l->last - l->first) + 2), *end = text;

	for (uint64_t seq = l->first; text && seq <= l->last; seq++) {
		const char *line = weft_events_line(l, seq);

		if (!line)
			continue;
		end = stpcpy(end, line);
		*end++ = '\n';
	}
	*ret_size = (size_t)(end - text);
	return text;
}

static int write_anew(struct weft_events *l)
{
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;
	int r;

	if (l->fd >= 0)
		close(TAKE_FD(l->fd));
	text = whole(l, &size);
	r = text ? weft_write_file(l->path, text, size, 0600) : -ENOMEM;
	if (r < 0)
		return r;
	l->fd = open(l->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	l->file_bytes = size;
	return l->fd < 0 ? -errno : 0;
}

static int append(struct weft_events *l, const char *line)
{
	_cleanup_(freep) char *text = weft_strf("%s\n", line);
	size_t size = strlen(line) + 1;

	if (!text)
		return -ENOMEM;
	l->file_bytes += size;
	return weft_write_all(l->fd, text, size);
}

static void write_line(struct weft_events *l, const char *line)
{
	int r;

	if (!l->path)
		return;
	r = l->fd >= 0 && l->file_bytes < 2 * WEFT_EVENTS_MAX_BYTES ? append(l, line)
								    : write_anew(l);
	if (r < 0 && !l->complained)
		log_warning("events are kept in memory only: %s: %s", l->path, strerror(-r));
	l->complained = r < 0;
	if (r < 0 && l->fd >= 0)
		close(TAKE_FD(l->fd));
}

/* --- numbers -----------------------------------------------------------------------------------
 */

static int open_numbers(struct weft_events *l)
{
	_cleanup_(freep) char *path = weft_strf("%s.reserved", l->path);
	int r = path ? weft_reserve_open(path, &l->numbers) : -ENOMEM;

	if (r == 0 && weft_reserve_last(l->numbers) > l->last) {
		go_to(l, weft_reserve_last(l->numbers));
		if (l->bytes == 0)
			l->first = l->last + 1;
	}
	return r;
}

/* Faster than events are, so that who comes after us begins beyond ours. */
static uint64_t realtime_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t next_number(struct weft_events *l)
{
	uint64_t seq = l->last + 1, now = realtime_us();
	bool before = l->unreserved;

	l->unreserved = l->numbers && !weft_reserve_take(l->numbers, seq);
	return l->unreserved && !before && seq < now ? now : seq;
}

/* -----------------------------------------------------------------------------------------------
 */

int weft_events_open(const char *path, struct weft_events **ret)
{
	_cleanup_(weft_events_freep) struct weft_events *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->fd = -1;
	l->first = 1;
	if (path && !(l->path = strdup(path)))
		return -ENOMEM;
	if (path) {
		load(l);
		if (open_numbers(l) < 0)
			return -ENOMEM;
	}
	*ret = TAKE_PTR(l);
	return 0;
}

void weft_events_free(struct weft_events *l)
{
	if (!l)
		return;
	weft_reserve_close(l->numbers, l->complained ? 0 : l->last);
	while (l->first <= l->last)
		forget_first(l);
	if (l->fd >= 0)
		close(l->fd);
	free(l->path);
	free(l);
}

static json_int_t clock_us(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (json_int_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void weft_events_add(struct weft_events *l, const char *kind, const char *action,
	const char *object, json_t *data)
{
	json_auto_t *doc = NULL;
	uint64_t seq;
	char *line;

	if (!l) {
		json_decref(data);
		return;
	}
	seq = next_number(l);
	doc = json_pack("{s:I, s:I, s:I, s:s, s:s, s:s, s:o*}", "seq", (json_int_t)seq, "t_us",
		clock_us(CLOCK_REALTIME), "mono_us", clock_us(CLOCK_MONOTONIC), "kind", kind,
		"action", action, "object", object, "data", data);
	line = doc ? json_dumps(doc, JSON_COMPACT) : NULL;
	if (!line) {
		go_to(l, seq);
		return;
	}
	keep(l, seq, line);
	write_line(l, line);
	if (l->observe)
		l->observe(l->observer, l->last, doc);
	if (l->news)
		l->news(l->userdata);
}

uint64_t weft_events_first(const struct weft_events *l)
{
	return l->first;
}

uint64_t weft_events_last(const struct weft_events *l)
{
	return l->last;
}

const char *weft_events_line(const struct weft_events *l, uint64_t seq)
{
	return seq < l->first || seq > l->last ? NULL : l->lines[seq % WEFT_EVENTS_MAX];
}

uint64_t weft_events_next(const struct weft_events *l, uint64_t since)
{
	return since > l->last || since < l->first ? l->first : since + 1;
}

void weft_events_observe(struct weft_events *l, weft_events_observe_t observe, void *userdata)
{
	l->observe = observe;
	l->observer = userdata;
}

void weft_events_replay(const struct weft_events *l, weft_events_observe_t observe, void *userdata)
{
	for (uint64_t seq = l->first; seq <= l->last; seq++) {
		const char *line = weft_events_line(l, seq);
		json_auto_t *doc = line ? json_loads(line, 0, NULL) : NULL;

		if (doc)
			observe(userdata, seq, doc);
	}
}

void weft_events_listen(struct weft_events *l, void (*news)(void *userdata), void *userdata)
{
	l->news = news;
	l->userdata = userdata;
}
