/* SPDX-License-Identifier: Apache-2.0 */
/* By URL. What a server says of a file's version (ETag, or else Last-Modified) is its mark: a
 * transfer goes on only if the server says that it is still that version. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/image/fetch_internal.h"

#define MAX_TRIES   6 /* in a row without a byte */
#define PAUSE_MS    500
#define MAX_PAUSE_S 30

static int try_once(struct weft_fetch *f);

/* A weak one promises no equal bytes. */
static bool is_etag(const char *mark)
{
	return mark[0] == '"';
}

static void note_mark(struct weft_fetch *f, const struct weft_http_head *head)
{
	snprintf(f->mark, sizeof(f->mark), "%s",
		is_etag(head->etag) ? head->etag : head->last_modified);
}

/* The answer's first bytes: do they follow what is here, or is all of it new? */
static int begin_writing(struct weft_fetch *f, const struct weft_http_head *head)
{
	f->begun = true;
	if (head->status == 206 && head->range_start != f->size && head->range_start != 0)
		return weft_err_set(&f->err, EPROTO,
			"image %s: the server sends another part than it was asked for", f->image);
	if (head->status == 206 && head->range_start != 0) {
		f->total = head->length == UINT64_MAX ? 0 : f->size + head->length;
		if (head->range_of != UINT64_MAX) /* it may send less than was asked for */
			f->total = head->range_of;
		return 0;
	}
	/* A part that begins at the beginning is a beginning, asked for or not. */
	note_mark(f, head);
	f->total = head->length == UINT64_MAX ? 0 : head->length;
	if (head->status == 206 && head->range_of != UINT64_MAX)
		f->total = head->range_of;
	return fetch_begin_anew(f);
}

static int on_data(void *userdata, const struct weft_http_head *head, const char *data, size_t size)
{
	struct weft_fetch *f = userdata;
	int r = f->begun ? 0 : begin_writing(f, head);

	if (r == 0 && f->total > WEFT_FETCH_MAX_BYTES)
		r = fetch_too_large(f);
	return r < 0 ? r : fetch_write(f, data, size);
}

static int refused(struct weft_fetch *f, int status)
{
	static const char *const hints[] = {"is the address right?",
		"name a user and a password for the host in the file of --registries, below "
		"\"auths\""};
	bool missing = status == 404 || status == 410, secret = status == 401 || status == 403;
	int code = missing ? ENOENT : secret ? EACCES : EIO;

	weft_err_set(
		&f->err, code, "image %s: the server answers with status %d", f->image, status);
	return missing || secret ? weft_err_hint(&f->err, "%s", hints[secret]) : -code;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_fetch *f = userdata;
	int r;

	(void)source;
	(void)usec;
	f->err = (struct weft_err){};
	r = try_once(f);
	if (r < 0)
		fetch_end(f, r);
	return 0;
}

static int again(struct weft_fetch *f, unsigned after_s)
{
	uint64_t ms = f->fetcher->pause_ms ? f->fetcher->pause_ms : PAUSE_MS;

	if (f->size > f->size_then)
		f->tries = 0;
	if (++f->tries >= MAX_TRIES)
		return -EAGAIN;
	ms <<= f->tries - 1;
	if (after_s && after_s <= MAX_PAUSE_S)
		ms = after_s * 1000ULL;
	f->timer = sd_event_source_disable_unref(f->timer);
	return sd_event_add_time_relative(
		f->fetcher->event, &f->timer, CLOCK_MONOTONIC, ms * 1000, 10000, on_timer, f);
}

static bool worth_another(int status)
{
	return status == 408 || status == 429 || status >= 500;
}

/* The part that is here is none of what is there now. */
static int from_nothing(struct weft_fetch *f)
{
	f->mark[0] = '\0';
	return fetch_begin_anew(f);
}

/* Nothing may have come: it is empty. */
static int take_body(struct weft_fetch *f, const struct weft_http_head *head)
{
	int r = f->begun ? 0 : begin_writing(f, head);

	if (r < 0 || f->size >= f->total)
		return r;
	f->away = true; /* what is missing is asked for */
	return weft_err_set(&f->err, EPROTO,
		"image %s: the server sends %llu bytes of %llu, and no more", f->image,
		(unsigned long long)f->size, (unsigned long long)f->total);
}

static int take_result(struct weft_fetch *f, const struct weft_http_result *res)
{
	int status = res->head->status, r = res->r;

	if (r < 0) {
		if (!f->err.code) {
			f->err = res->err;
			weft_err_prefix(&f->err, "image %s", f->image);
			if (r == -EPROTO)
				weft_err_hint(&f->err, "is it the server that is meant? Plain http "
						       "has to be asked for by http://");
		}
		f->away = res->transient;
		return r;
	}
	if (status == 304) {
		f->unchanged = true;
		memcpy(f->mark, f->known, sizeof(f->mark));
		return 0;
	}
	if (status == 200 || status == 206)
		return take_body(f, res->head);
	f->away = worth_another(status);
	return refused(f, status);
}

static void on_done(void *userdata, const struct weft_http_result *res)
{
	struct weft_fetch *f = userdata;
	int r;

	f->call = NULL;
	if (res->r == 0 && res->head->status == 416 && f->size > 0 && from_nothing(f) == 0 &&
		again(f, 0) >= 0)
		return;
	r = take_result(f, res);
	if (r < 0 && f->away && again(f, res->head->retry_after_s) >= 0)
		return;
	fetch_end(f, r);
}

/* What the file of registries says of the host: a CA of its own, a password. */
static int load_settings(struct weft_fetch *f, struct weft_registry_settings *ret)
{
	const char *host = strstr(f->image, "://") + 3;
	size_t n = strcspn(host, "/?#");
	struct weft_reference ref = {};

	if (n >= sizeof(ref.host))
		return weft_err_set(&f->err, EINVAL, "image %.200s: is that a URL?", f->image);
	memcpy(ref.host, host, n);
	return weft_registry_settings_load(f->fetcher->registries, &ref, ret, &f->err);
}

static int get(struct weft_fetch *f, struct weft_http_request *q)
{
	struct weft_registry_settings settings = {};
	_cleanup_(freep) char *password = NULL;
	int r = load_settings(f, &settings);

	if (r < 0)
		return r;
	q->ca = settings.ca;
	if (settings.user && (!q->plain || settings.insecure)) {
		password = weft_registry_basic(&settings);
		r = password ? 0 : -ENOMEM;
	}
	q->authorization = password;
	if (r == 0)
		r = weft_http_get(f->fetcher->http, q, &f->call);
	if (password)
		explicit_bzero(password, strlen(password));
	weft_registry_settings_done(&settings);
	return r;
}

static int try_once(struct weft_fetch *f)
{
	char line[WEFT_FETCH_MARK + 32];
	const char *headers[] = {NULL, NULL};
	_cleanup_(freep) char *url = strndup(f->image, strcspn(f->image, "#"));
	struct weft_http_request q = {
		.url = url,
		.headers = headers,
		.plain = strncmp(f->image, "http://", 7) == 0,
		.data = on_data,
		.done = on_done,
		.userdata = f,
	};

	if (!url)
		return -ENOMEM;
	f->begun = f->away = false;
	f->size_then = f->size;
	if (f->size > 0 && *f->mark) {
		q.offset = f->size;
		snprintf(line, sizeof(line), "If-Range: %s", f->mark);
		headers[0] = line;
	} else if (*f->known) {
		snprintf(line, sizeof(line), "%s: %s",
			is_etag(f->known) ? "If-None-Match" : "If-Modified-Since", f->known);
		headers[0] = line;
	}
	return get(f, &q);
}

int fetch_http(struct weft_fetch *f)
{
	_cleanup_(freep) char *mark = NULL;
	int r = 0;

	/* What an earlier try has left, whatever it is a part of: the server says whether it goes
	 * on. */
	if (fetch_load_mark(f, &mark) == 0) {
		snprintf(f->mark, sizeof(f->mark), "%s", mark);
		r = fetch_open(f);
	}
	return r < 0 ? r : try_once(f);
}
