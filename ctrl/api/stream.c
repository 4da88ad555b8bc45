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
	uint64_t at;    /* events: that comes next; resources: their changes are said up to there */
	unsigned kinds; /* of resources, 0: events */
	json_t *queue;  /* what is known of them, and is sent next; NULL: nothing */
	size_t queued;  /* so many of it were taken out */
	bool over;      /* nothing comes after that */
	char *frame;    /* NULL: none is under way */
	size_t off;     /* so much of it is sent */
	uint64_t end_ns, beat_ns;
	bool suspended, sse;
};

struct weft_api_streams {
	struct weft_engine *engine;
	struct weft_events *log;
	sd_event_source *timer;
	struct stream *list;
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

int weft_api_streams_open(
	sd_event *event, struct weft_engine *engine, struct weft_api_streams **ret)
{
	struct weft_api_streams *all = calloc(1, sizeof(*all));
	int r;

	if (!all)
		return -ENOMEM;
	all->engine = engine;
	all->log = weft_engine_events(engine);
	r = sd_event_add_time(event, &all->timer, CLOCK_MONOTONIC, 0, 0, on_timer, all);
	if (r < 0) {
		free(all);
		return r;
	}
	sd_event_source_set_enabled(all->timer, SD_EVENT_OFF);
	weft_events_listen(all->log, on_news, all);
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

/* A line, or what a browser's EventSource reads. */
static char *framed(const struct stream *t, uint64_t id, const char *line)
{
	if (!t->sse)
		return weft_strf("%s\n", line);
	return weft_strf("id: %" PRIu64 "\ndata: %s\n\n", id, line);
}

static char *next_event(struct stream *t)
{
	const struct weft_events *log = t->all->log;
	const char *line = NULL;

	if (t->at < weft_events_first(log))
		t->at = weft_events_first(log);
	while (t->at <= weft_events_last(log) && !(line = weft_events_line(log, t->at)))
		t->at++;
	return line ? framed(t, t->at++, line) : NULL;
}

/* The last that it is told: it was too slow, or may not see it any more. */
static char *last_word(struct stream *t, const struct weft_err *err)
{
	struct weft_api_response a = {0};
	char *frame;

	weft_api_error(err, 0, &a);
	frame = a.body ? framed(t, t->at, a.body) : NULL;
	free(a.body);
	t->over = true;
	return frame;
}

/* An id is said only with the last of its changes: who comes back with it has seen them all. */
static char *next_change(struct stream *t)
{
	struct weft_err err = {0};
	_cleanup_(freep) char *line = NULL;
	const json_t *item;

	if (t->queued == json_array_size(t->queue)) {
		json_decref(t->queue);
		t->queue = NULL;
		t->queued = 0;
		if (weft_engine_watch_next(t->all->engine, t->kinds, &t->at, &t->queue, &err) < 0)
			return last_word(t, &err);
	}
	item = json_array_get(t->queue, t->queued);
	line = item ? json_dumps(item, JSON_COMPACT) : NULL;
	if (!line)
		return NULL;
	if (++t->queued < json_array_size(t->queue) && t->sse)
		return weft_strf("data: %s\n\n", line);
	return framed(t, t->at, line);
}

static size_t send_frame(struct stream *t, char *buf, size_t max)
{
	size_t left = strlen(t->frame) - t->off, n = left < max ? left : max;

	memcpy(buf, t->frame + t->off, n);
	t->off += n;
	if (n == left) {
		free(TAKE_PTR(t->frame));
		t->off = 0;
	}
	return n;
}

static ssize_t reader(void *cls, uint64_t pos, char *buf, size_t max)
{
	struct stream *t = cls;
	uint64_t now = weft_now_ns();

	(void)pos;
	if (!t->frame && !t->over)
		t->frame = t->kinds ? next_change(t) : next_event(t);
	if (t->frame) {
		t->beat_ns = now + BEAT_NS;
		return (ssize_t)send_frame(t, buf, max);
	}
	if (t->all->ending || t->over || now >= t->end_ns)
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
	json_decref(t->queue);
	free(t->frame);
	free(t);
}

static void arm(struct weft_api_streams *all)
{
	uint64_t now = 0;

	sd_event_now(sd_event_source_get_event(all->timer), CLOCK_MONOTONIC, &now);
	sd_event_source_set_time(all->timer, now + LOOK_US);
	sd_event_source_set_enabled(all->timer, SD_EVENT_ONESHOT);
}

static int begin_watch(struct stream *t, const struct weft_api_response *a, struct weft_err *err)
{
	struct weft_engine *e = t->all->engine;

	if (!a->list)
		return weft_engine_watch_check(e, a->since, err);
	return weft_engine_watch_list(e, t->kinds, &t->queue, &t->at);
}

int weft_api_stream_start(struct weft_api_streams *all, struct MHD_Connection *c,
	const struct weft_api_response *a, struct weft_err *err)
{
	uint64_t now = weft_now_ns();
	struct MHD_Response *r;
	struct stream *t;
	enum MHD_Result q;
	int failed;

	t = calloc(1, sizeof(*t));
	if (!t)
		return weft_err_set(err, ENOMEM, "out of memory");
	t->all = all;
	t->connection = c;
	t->sse = strcmp(a->type, WEFT_API_SSE) == 0;
	t->kinds = a->kinds;
	t->at = a->kinds ? a->since : weft_events_next(all->log, a->since);
	failed = t->kinds ? begin_watch(t, a, err) : 0;
	if (failed < 0) {
		free(t);
		return failed;
	}
	t->end_ns = now + a->follow_s * 1000000000ULL;
	t->beat_ns = now + BEAT_NS;
	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, reader, t, on_gone);
	if (!r) {
		json_decref(t->queue);
		free(t);
		return weft_err_set(err, ENOMEM, "out of memory");
	}
	t->next = all->list;
	all->list = t;
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

/* Half a line may have been sent: it is sent to its end. */
void weft_api_streams_revoke(
	struct weft_api_streams *all, struct MHD_Connection *c, const struct weft_err *err)
{
	for (struct stream *t = all->list; t; t = t->next) {
		char *rest = t->frame, *word;

		if (t->connection != c || t->over)
			continue;
		word = last_word(t, err);
		t->frame = rest && word ? weft_strf("%s%s", rest, word) : TAKE_PTR(word);
		if (t->frame != rest)
			free(rest);
		free(word);
		if (!t->frame)
			t->off = 0;
		all->news = true;
	}
}

void weft_api_streams_end(struct weft_api_streams *all)
{
	all->ending = all->news = true;
	weft_api_streams_wake(all);
}
