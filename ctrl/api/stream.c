/* SPDX-License-Identifier: Apache-2.0 */
/* A stream without news is suspended, so that it costs nothing. libmicrohttpd does not look at a
 * suspended connection at all, so an empty line every ten seconds finds out who has gone. */
#include "ctrl/api/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"

#define BEAT_NS 10000000000ULL
#define LOOK_US 1000000ULL /* how late an end or a beat may be */
#define BLOCK   16384

struct stream {
	struct stream *next;
	struct weft_api_streams *all;
	struct MHD_Connection *connection;
	uint64_t at; /* the event that comes next */
	size_t off;  /* so much of its line is sent */
	uint64_t end_ns, beat_ns;
	bool suspended, sse;
};

struct weft_api_streams {
	struct weft_events *log;
	sd_event_source *timer;
	struct stream *list;
	unsigned n;
	bool news, ending;
};

static void on_news(void *userdata)
{
	struct weft_api_streams *all = userdata;

	all->news = true;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct weft_api_streams *all = userdata;
	uint64_t now = weft_now_ns();

	for (struct stream *t = all->list; t; t = t->next)
		all->news |= now >= t->end_ns || now >= t->beat_ns;
	sd_event_source_set_time(s, usec + LOOK_US);
	sd_event_source_set_enabled(s, all->list ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	return 0;
}

int weft_api_streams_open(sd_event *event, struct weft_events *log, struct weft_api_streams **ret)
{
	struct weft_api_streams *all = calloc(1, sizeof(*all));
	int r;

	if (!all)
		return -ENOMEM;
	all->log = log;
	r = sd_event_add_time(event, &all->timer, CLOCK_MONOTONIC, 0, 0, on_timer, all);
	if (r < 0) {
		free(all);
		return r;
	}
	sd_event_source_set_enabled(all->timer, SD_EVENT_OFF);
	weft_events_listen(log, on_news, all);
	*ret = all;
	return 0;
}

void weft_api_streams_free(struct weft_api_streams *all)
{
	if (!all)
		return;
	weft_events_listen(all->log, NULL, NULL);
	sd_event_source_disable_unref(all->timer);
	free(all);
}

/* What of one part of a frame fits into buf: parts before it, and what is sent of it, count into
 * t->off. */
static size_t put_part(struct stream *t, const char *part, size_t *before, char *buf, size_t max)
{
	size_t size = strlen(part), n = 0;

	if (t->off >= *before && t->off < *before + size) {
		size_t from = t->off - *before;

		n = size - from < max ? size - from : max;
		memcpy(buf, part + from, n);
		t->off += n;
	}
	*before += size;
	return n;
}

/* What of the next event's frame fits into buf: its line, or what a browser's EventSource reads. */
static size_t put_line(struct stream *t, const char *line, char *buf, size_t max)
{
	char head[48] = "";
	const char *const parts[] = {head, line, t->sse ? "\n\n" : "\n"};
	size_t before = 0, n = 0;

	if (t->sse)
		snprintf(head, sizeof(head), "id: %" PRIu64 "\ndata: ", t->at);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		n += put_part(t, parts[i], &before, buf + n, max - n);
	if (t->off == before) {
		t->at++;
		t->off = 0;
	}
	return n;
}

static const char *next_line(struct stream *t)
{
	const struct weft_events *log = t->all->log;
	const char *line = NULL;

	/* One that was half sent when it was forgotten cannot be ended any more. */
	if (t->at < weft_events_first(log)) {
		t->at = weft_events_first(log);
		t->off = 0;
	}
	while (t->at <= weft_events_last(log) && !(line = weft_events_line(log, t->at)))
		t->at++;
	return line;
}

static ssize_t reader(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct stream *t = cls;
	uint64_t now = weft_now_ns();
	bool torn = t->off && t->at < weft_events_first(t->all->log);
	const char *line;

	(void)pos;
	if (torn)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	line = next_line(t);
	if (line) {
		t->beat_ns = now + BEAT_NS;
		return (ssize_t)put_line(t, line, buf, max);
	}
	if (t->all->ending || now >= t->end_ns)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (now >= t->beat_ns) {
		t->beat_ns = now + BEAT_NS;
		if (t->sse && max >= 3) {
			memcpy(buf, ":\n\n", 3);
			return 3;
		}
		buf[0] = '\n';
		return 1;
	}
	t->suspended = true;
	MHD_suspend_connection(t->connection);
	return 0;
}

static void on_gone(void *cls)
{
	struct stream *t = cls;

	for (struct stream **p = &t->all->list; *p; p = &(*p)->next)
		if (*p == t) {
			*p = t->next;
			break;
		}
	t->all->n--;
	free(t);
}

static void arm(struct weft_api_streams *all)
{
	uint64_t now = 0;

	sd_event_now(sd_event_source_get_event(all->timer), CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(all->timer, now + LOOK_US);
	sd_event_source_set_enabled(all->timer, SD_EVENT_ONESHOT);
}

int weft_api_stream_start(struct weft_api_streams *all, struct MHD_Connection *c,
	const struct weft_api_response *a, struct weft_err *err)
{
	uint64_t now = weft_now_ns();
	struct MHD_Response *r;
	struct stream *t;
	enum MHD_Result q;

	if (all->n >= WEFT_API_MAX_STREAMS) {
		weft_err_set(err, ENODEV, "%u clients follow the events already", all->n);
		return weft_err_hint(err, "end one of them, or ask without wait");
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return weft_err_set(err, ENOMEM, "out of memory");
	t->all = all;
	t->connection = c;
	t->sse = strcmp(a->type, WEFT_API_SSE) == 0;
	t->at = weft_events_next(all->log, a->since);
	t->end_ns = now + a->follow_s * 1000000000ULL;
	t->beat_ns = now + BEAT_NS;
	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, reader, t, on_gone);
	if (!r) {
		free(t);
		return weft_err_set(err, ENOMEM, "out of memory");
	}
	t->next = all->list;
	all->list = t;
	all->n++;
	MHD_add_response_header(r, "Content-Type", a->type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	q = MHD_queue_response(c, (unsigned)a->status, r);
	MHD_destroy_response(r); /* and t with it, unless it was queued */
	arm(all);
	return q == MHD_YES ? 0 : weft_err_set(err, EIO, "the answer could not be begun");
}

bool weft_api_streams_wake(struct weft_api_streams *all)
{
	bool any = false;

	if (!all->news)
		return false;
	all->news = false;
	for (struct stream *t = all->list; t; t = t->next) {
		if (!t->suspended)
			continue;
		t->suspended = false;
		MHD_resume_connection(t->connection);
		any = true;
	}
	return any;
}

void weft_api_streams_end(struct weft_api_streams *all)
{
	all->ending = all->news = true;
	weft_api_streams_wake(all);
}
