/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/registry/registry.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "ctrl/base/util.h"
#include "runtimes/registry/challenge.h"

#define MAX_TRIES          5 /* in a row without a byte of progress */
#define MAX_TRIES_IN_HURRY 2
#define DELAY_MS           300
#define DELAY_MAX_S        60
#define MAX_MADE           3            /* others may use up what a token is good for */
#define MAX_TOKEN          (64U * 1024) /* of a token server's answer */

#define OCI    "application/vnd.oci.image."
#define DOCKER "application/vnd.docker.distribution.manifest."

TAILQ_HEAD(registry_calls, weft_registry_call);

struct weft_registry {
	struct weft_http *http;
	sd_event *event;
	struct weft_reference ref;
	struct weft_registry_settings settings;
	char what[512];
	char *authorization; /* what was accepted last; NULL: none was asked for */
	unsigned generation; /* of it, from 1 on */
	unsigned max_tries;
	struct registry_calls calls;
};

struct weft_registry_call {
	TAILQ_ENTRY(weft_registry_call) link;
	struct weft_registry *registry;
	struct weft_http_call *http;
	char *path; /* "manifests/1.25" */
	char digest[WEFT_OCI_DIGEST];
	bool manifest;
	unsigned used; /* generation of the authorization it was sent with */
	unsigned made; /* authorizations made for this request since it last got a byte */
	unsigned tries;
	sd_event_source *timer; /* until the next try */
	struct weft_err err;

	/* a text, or a token server's answer */
	char *text;
	size_t size, max;

	/* a blob */
	weft_registry_data_t data;
	uint64_t at, end; /* bytes handed on, and all */
	uint64_t skip;    /* to be passed over: it answers from its beginning */
	bool checked;     /* the head of this answer was looked at */

	weft_registry_done_t done;
	void *userdata;
};

static int send_request(struct weft_registry_call *call);

/* --- end -----------------------------------------------------------------------------------------
 */

static void free_call(struct weft_registry_call *call)
{
	TAILQ_REMOVE(&call->registry->calls, call, link);
	weft_http_cancel(call->http);
	sd_event_source_disable_unref(call->timer);
	free(call->path);
	free(call->text);
	free(call);
}

static void finish(struct weft_registry_call *call, int r, const char *media_type)
{
	weft_registry_done_t done = call->done;
	void *userdata = call->userdata;
	struct weft_err err = call->err;
	_cleanup_(freep) char *text = TAKE_PTR(call->text);
	size_t size = call->size;
	char type[128] = "";

	if (media_type)
		snprintf(type, sizeof(type), "%.*s", (int)strcspn(media_type, "; \t"), media_type);
	if (r < 0 && !err.code)
		weft_err_set(&err, r, "%s: %s", call->registry->what, strerror(-r));
	free_call(call);
	done(userdata, r, &err, r == 0 ? text : NULL, r == 0 ? size : 0, type);
}

static int __attribute__((format(printf, 3, 4)))
fail(struct weft_registry_call *call, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	weft_err_vset(&call->err, code, fmt, ap);
	va_end(ap);
	return weft_err_prefix(&call->err, "%s", call->registry->what);
}

bool weft_registry_is_away(int r)
{
	return r == -EHOSTUNREACH || r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EIO ||
	       r == -ENETUNREACH || r == -EAGAIN;
}

/* --- trying again --------------------------------------------------------------------------------
 */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_registry_call *call = userdata;
	int r;

	(void)source;
	(void)usec;
	call->timer = sd_event_source_disable_unref(call->timer);
	r = send_request(call);
	if (r < 0)
		finish(call, r, NULL);
	return 0;
}

static int wait_and_try(struct weft_registry_call *call, uint64_t ms)
{
	return sd_event_add_time_relative(call->registry->event, &call->timer, CLOCK_MONOTONIC,
		ms * 1000, 1000, on_timer, call);
}

/* err of the call says what went wrong, should it stay so. */
static void try_again(struct weft_registry_call *call, unsigned after_s)
{
	uint64_t ms = (uint64_t)DELAY_MS << call->tries;
	int r = -call->err.code;

	if (after_s > DELAY_MAX_S || ++call->tries >= call->registry->max_tries) {
		finish(call, r, NULL);
		return;
	}
	if (ms < after_s * 1000ULL)
		ms = after_s * 1000ULL;
	if (wait_and_try(call, ms) < 0)
		finish(call, -ENOMEM, NULL);
}

/* --- credentials ---------------------------------------------------------------------------------
 */

/* The request is made again with it at once. */
static void use(struct weft_registry_call *call, char *authorization)
{
	struct weft_registry *r = call->registry;
	int q;

	if (r->authorization)
		explicit_bzero(r->authorization, strlen(r->authorization));
	free(r->authorization);
	r->authorization = authorization;
	r->generation++;
	call->made++;
	q = authorization ? send_request(call) : -ENOMEM;
	if (q < 0)
		finish(call, q, NULL);
}

static int denied(struct weft_registry_call *call)
{
	const struct weft_registry *r = call->registry;

	fail(call, EACCES, "registry %s does not give it to %s", r->ref.host,
		r->settings.user ? r->settings.user : "anybody");
	return weft_err_hint(&call->err,
		r->settings.user ? "check the name, and the password in the file of --registries"
				 : "check the name; a private image wants a password in the file "
				   "of --registries");
}

static int on_text(void *userdata, const struct weft_http_head *head, const char *data, size_t size)
{
	struct weft_registry_call *call = userdata;
	char *p;

	(void)head;
	if (size > call->max - call->size)
		return -EFBIG;
	p = realloc(call->text, call->size + size + 1);
	if (!p)
		return -ENOMEM;
	memcpy(p + call->size, data, size);
	call->text = p;
	call->size += size;
	p[call->size] = '\0';
	return 0;
}

static void on_token(void *userdata, const struct weft_http_result *result)
{
	struct weft_registry_call *call = userdata;
	_cleanup_(freep) char *token = NULL;
	int status = result->head->status;

	call->http = NULL;
	if (result->r < 0 || status >= 500 || status == 429) {
		if (result->r < 0)
			call->err = result->err;
		else
			weft_err_set(&call->err, EIO, "its token server says HTTP %d", status);
		weft_err_prefix(&call->err, "%s", call->registry->what);
		if (result->r < 0 && !result->transient)
			finish(call, result->r, NULL);
		else
			try_again(call, result->head->retry_after_s);
		return;
	}
	if (status != 200) {
		finish(call, denied(call), NULL);
		return;
	}
	token = weft_registry_token(call->text ? call->text : "", call->size);
	if (!token) {
		finish(call, fail(call, EBADMSG, "its token server's answer has no token"), NULL);
		return;
	}
	use(call, weft_strf("Bearer %s", token));
	explicit_bzero(token, strlen(token));
}

static bool add_query(CURLU *u, const char *key, const char *value)
{
	_cleanup_(freep) char *pair = weft_strf("%s=%s", key, value);

	return pair && curl_url_set(u, CURLUPART_QUERY, pair,
			       CURLU_APPENDQUERY | CURLU_URLENCODE) == CURLUE_OK;
}

static char *token_url(const struct weft_registry *r, const struct weft_challenge *c)
{
	_cleanup_(freep) char *scope = weft_strf("repository:%s:pull", r->ref.name);
	CURLU *u = curl_url();
	char *text = NULL, *copy = NULL;

	if (u && scope && curl_url_set(u, CURLUPART_URL, c->realm, 0) == CURLUE_OK &&
		(!*c->service || add_query(u, "service", c->service)) &&
		add_query(u, "scope", *c->scope ? c->scope : scope) &&
		curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK)
		copy = strdup(text);
	curl_free(text);
	curl_url_cleanup(u);
	return copy;
}

static int fetch_token(struct weft_registry_call *call, const struct weft_challenge *c)
{
	struct weft_registry *r = call->registry;
	_cleanup_(freep) char *url = token_url(r, c);
	_cleanup_(freep) char *auth = r->settings.user ? weft_registry_basic(&r->settings) : NULL;
	const struct weft_http_request q = {
		.url = url,
		.authorization = auth,
		.ca = r->settings.ca,
		.plain = r->settings.insecure,
		.data = on_text,
		.done = on_token,
		.userdata = call,
	};

	if (!url)
		return fail(call, EPROTO, "registry %s names no token server", r->ref.host);
	free(TAKE_PTR(call->text));
	call->size = 0;
	call->max = MAX_TOKEN;
	return weft_http_get(r->http, &q, &call->http);
}

/* 401: somebody else may have got a new token meanwhile; else get one, but not twice. */
static void unauthorized(struct weft_registry_call *call, const struct weft_http_head *head)
{
	struct weft_registry *r = call->registry;
	struct weft_challenge c;
	int q;

	if (call->used != r->generation) {
		q = send_request(call);
		if (q < 0)
			finish(call, q, NULL);
		return;
	}
	weft_challenge_parse(head->authenticate, strlen(head->authenticate), &c);
	if (call->made >= (c.scheme == WEFT_CHALLENGE_BASIC ? 1 : MAX_MADE) ||
		c.scheme == WEFT_CHALLENGE_NONE ||
		(c.scheme == WEFT_CHALLENGE_BASIC && !r->settings.user)) {
		finish(call, denied(call), NULL);
	} else if (c.scheme == WEFT_CHALLENGE_BASIC) {
		use(call, weft_registry_basic(&r->settings));
	} else {
		q = fetch_token(call, &c);
		if (q < 0)
			finish(call, q, NULL);
	}
}

/* --- answers -------------------------------------------------------------------------------------
 */

static void refused(struct weft_registry_call *call, const struct weft_http_head *head)
{
	const char *host = call->registry->ref.host;

	switch (head->status) {
	case 401:
		unauthorized(call, head);
		return;
	case 403:
		finish(call, denied(call), NULL);
		return;
	case 404:
		fail(call, ENOENT, "registry %s has no %s", host, call->path);
		weft_err_hint(&call->err, "check the name and the tag");
		finish(call, -ENOENT, NULL);
		return;
	case 429:
		fail(call, EAGAIN, "registry %s has been asked too often", host);
		weft_err_hint(&call->err, "wait, or have a password in the file of --registries");
		try_again(call, head->retry_after_s);
		return;
	default:
		fail(call, EIO, "registry %s says HTTP %d", host, head->status);
		if (head->status >= 500)
			try_again(call, head->retry_after_s);
		else
			finish(call, -EIO, NULL);
	}
}

static int check_digest(struct weft_registry_call *call)
{
	char digest[WEFT_OCI_DIGEST];

	weft_oci_digest(call->text ? call->text : "", call->size, digest);
	if (!*call->digest || strcmp(digest, call->digest) == 0)
		return 0;
	fail(call, EBADMSG, "registry %s sent for %.19s… what has the digest %.19s…",
		call->registry->ref.host, call->digest, digest);
	return weft_err_hint(&call->err, "try again; if it stays so, the registry is damaged");
}

static int end_of_text(struct weft_registry_call *call)
{
	if (!call->text)
		return fail(call, EBADMSG, "registry %s sent nothing for %s",
			call->registry->ref.host, call->path);
	return check_digest(call);
}

/* A connection that ends early at a proxy may look like the end of the body. */
static bool is_short(const struct weft_registry_call *call)
{
	return call->data && call->at < call->end;
}

static void network_failed(struct weft_registry_call *call, const struct weft_http_result *result)
{
	if (result->r == -EFBIG)
		fail(call, EBADMSG, "registry %s sent more than it should for %s",
			call->registry->ref.host, call->path);
	else if (!call->err.code || result->transient) {
		call->err = result->err;
		weft_err_prefix(&call->err, "%s", call->registry->what);
	}
	if (result->transient)
		try_again(call, 0);
	else
		finish(call, -call->err.code, NULL);
}

static void on_done(void *userdata, const struct weft_http_result *result)
{
	struct weft_registry_call *call = userdata;
	const struct weft_http_head *head = result->head;
	char type[sizeof(head->content_type)];

	call->http = NULL;
	if (result->r < 0) {
		network_failed(call, result);
	} else if (head->status != 200 && head->status != 206) {
		refused(call, head);
	} else if (is_short(call)) {
		fail(call, EBADMSG, "registry %s sent %llu of %llu bytes of %s",
			call->registry->ref.host, (unsigned long long)call->at,
			(unsigned long long)call->end, call->path);
		try_again(call, 0);
	} else {
		snprintf(type, sizeof(type), "%s", head->content_type);
		finish(call, call->data ? 0 : end_of_text(call), type);
	}
}

/* What is asked for from the middle may come from there, or whole. */
static int check_head(struct weft_registry_call *call, const struct weft_http_head *head)
{
	call->checked = true;
	call->skip = 0;
	if (head->status == 206 && head->range_start != UINT64_MAX && head->range_start != call->at)
		return fail(call, EBADMSG, "registry %s sent another part of %s",
			call->registry->ref.host, call->path);
	if (head->status != 206)
		call->skip = call->at;
	return 0;
}

static int on_blob(void *userdata, const struct weft_http_head *head, const char *data, size_t size)
{
	struct weft_registry_call *call = userdata;
	uint64_t skip;
	int r = call->checked ? 0 : check_head(call, head);

	if (r < 0)
		return r;
	skip = call->skip < size ? call->skip : size;
	if (size - skip > call->end - call->at)
		return -EFBIG;
	if (size > skip) {
		r = call->data(call->userdata, data + skip, size - skip);
		if (r < 0)
			return r;
	}
	call->skip -= skip;
	call->at += size - skip;
	if (size > skip) {
		call->tries = 0;
		call->made = 0; /* a token may expire, and be had anew */
	}
	return 0;
}

/* --- requests ------------------------------------------------------------------------------------
 */

static int send_request(struct weft_registry_call *call)
{
	static const char *const manifests[] = {"Accept: " OCI "index.v1+json, " OCI
						"manifest.v1+json, " DOCKER "list.v2+json, " DOCKER
						"v2+json",
		NULL};
	struct weft_registry *r = call->registry;
	_cleanup_(freep) char *url = weft_strf("%s://%s/v2/%s/%s",
		r->settings.insecure ? "http" : "https", r->ref.api, r->ref.name, call->path);
	const struct weft_http_request q = {
		.url = url,
		.headers = call->manifest ? manifests : NULL,
		.authorization = r->authorization,
		.ca = r->settings.ca,
		.plain = r->settings.insecure,
		.offset = call->at,
		.data = call->data ? on_blob : on_text,
		.done = on_done,
		.userdata = call,
	};

	if (!url)
		return -ENOMEM;
	free(TAKE_PTR(call->text));
	call->size = 0;
	call->max = WEFT_OCI_MAX_TEXT;
	call->checked = false;
	call->used = r->generation;
	return weft_http_get(r->http, &q, &call->http);
}

static int begin(struct weft_registry *r, const char *kind, const char *which,
	const struct weft_oci_descriptor *d, uint64_t offset, weft_registry_data_t data,
	weft_registry_done_t done, void *userdata, struct weft_registry_call **ret)
{
	struct weft_registry_call *call = calloc(1, sizeof(*call));
	int q;

	if (!call)
		return -ENOMEM;
	call->registry = r;
	TAILQ_INSERT_TAIL(&r->calls, call, link);
	call->path = weft_strf("%s/%s", kind, which);
	call->manifest = strcmp(kind, "manifests") == 0;
	call->data = data;
	call->done = done;
	call->userdata = userdata;
	call->at = offset;
	call->end = d ? d->size : 0;
	if (weft_oci_digest_valid(which))
		memcpy(call->digest, which, sizeof(call->digest));
	q = call->path ? send_request(call) : -ENOMEM;
	if (q < 0) {
		free_call(call);
		return q;
	}
	*ret = call;
	return 0;
}

int weft_registry_manifest(struct weft_registry *r, const char *which, weft_registry_done_t done,
	void *userdata, struct weft_registry_call **ret)
{
	return begin(r, "manifests", which, NULL, 0, NULL, done, userdata, ret);
}

int weft_registry_text(struct weft_registry *r, const struct weft_oci_descriptor *d,
	weft_registry_done_t done, void *userdata, struct weft_registry_call **ret)
{
	return begin(r, "blobs", d->digest, d, 0, NULL, done, userdata, ret);
}

int weft_registry_blob(struct weft_registry *r, const struct weft_oci_descriptor *d,
	uint64_t offset, weft_registry_data_t data, weft_registry_done_t done, void *userdata,
	struct weft_registry_call **ret)
{
	return begin(r, "blobs", d->digest, d, offset, data, done, userdata, ret);
}

void weft_registry_continue(struct weft_registry_call *call)
{
	if (call->http)
		weft_http_continue(call->http);
}

void weft_registry_cancel(struct weft_registry_call *call)
{
	if (call)
		free_call(call);
}

int weft_registry_new(struct weft_http *http, const struct weft_reference *ref,
	struct weft_registry_settings *settings, const char *what, struct weft_registry **ret)
{
	struct weft_registry *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	TAILQ_INIT(&r->calls);
	r->max_tries = MAX_TRIES;
	r->http = http;
	r->event = sd_event_ref(weft_http_event(http));
	r->ref = *ref;
	r->settings = *settings;
	*settings = (struct weft_registry_settings){};
	snprintf(r->what, sizeof(r->what), "%s", what);
	*ret = r;
	return 0;
}

void weft_registry_hurry(struct weft_registry *r, bool hurry)
{
	r->max_tries = hurry ? MAX_TRIES_IN_HURRY : MAX_TRIES;
}

void weft_registry_free(struct weft_registry *r)
{
	struct weft_registry_call *call;

	if (!r)
		return;
	while ((call = TAILQ_FIRST(&r->calls)))
		free_call(call);
	weft_registry_settings_done(&r->settings);
	if (r->authorization)
		explicit_bzero(r->authorization, strlen(r->authorization));
	free(r->authorization);
	sd_event_unref(r->event);
	free(r);
}
