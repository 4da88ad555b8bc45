/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/registry/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "ctrl/base/util.h"

#define MAX_REDIRECTS  8
#define CONNECT_MS     15000L
#define LOW_SPEED      512L /* bytes a second ... */
#define LOW_SPEED_S    30L  /* ... for so long are too little */
#define CURL_BUFFER    (256L * 1024)
#define DISCARDED_BODY (64U * 1024) /* of an error's */

TAILQ_HEAD(calls, weft_http_call);

struct weft_http {
	sd_event *event;
	CURLM *multi;
	sd_event_source *timer;
	struct calls calls;
};

struct weft_http_call {
	TAILQ_ENTRY(weft_http_call) link;
	struct weft_http *http;
	CURL *easy;
	struct curl_slist *headers, *addresses;
	bool added;   /* to the multi handle */
	bool aborted; /* by data(), with r */
	int r;
	unsigned redirects;
	size_t discarded;
	char *url, *origin, *authorization, *ca;
	char **extra;
	bool plain;
	uint64_t offset;
	struct weft_resolve *resolve;
	sd_event_source *defer; /* a failure to tell of from the loop */
	struct weft_http_head head;
	struct weft_err err;
	char text[CURL_ERROR_SIZE];
	weft_http_data_t data;
	weft_http_done_t done;
	void *userdata;
};

/* --- end of a call -------------------------------------------------------------------------------
 */

static void reset_easy(struct weft_http_call *call)
{
	if (call->added)
		curl_multi_remove_handle(call->http->multi, call->easy);
	call->added = false;
	curl_easy_cleanup(call->easy);
	call->easy = NULL;
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->addresses);
	call->headers = call->addresses = NULL;
}

static void free_call(struct weft_http_call *call)
{
	TAILQ_REMOVE(&call->http->calls, call, link);
	reset_easy(call);
	weft_resolve_free(call->resolve);
	sd_event_source_disable_unref(call->defer);
	strv_free(call->extra);
	free(call->url);
	free(call->origin);
	if (call->authorization)
		explicit_bzero(call->authorization, strlen(call->authorization));
	free(call->authorization);
	free(call->ca);
	free(call);
}

static void finish(struct weft_http_call *call, int r, bool transient)
{
	struct weft_http_head head = call->head;
	struct weft_http_result result = {
		.r = r, .err = call->err, .transient = transient, .head = &head};
	weft_http_done_t done = call->done;
	void *userdata = call->userdata;

	if (r < 0 && !result.err.code)
		weft_err_set(&result.err, r, "%s", strerror(-r));
	free_call(call);
	done(userdata, &result);
}

static int on_defer(sd_event_source *source, void *userdata)
{
	struct weft_http_call *call = userdata;

	(void)source;
	finish(call, -call->err.code, call->err.code != EINVAL && call->err.code != EPROTO);
	return 0;
}

/* From within the caller's own call, or libcurl's: told of when nobody else is on the stack. */
static void fail_later(struct weft_http_call *call)
{
	if (!call->err.code)
		weft_err_set(&call->err, ENOMEM, "out of memory");
	if (!call->defer && sd_event_add_defer(call->http->event, &call->defer, on_defer, call) < 0)
		call->defer = NULL;
}

/* --- libcurl's callbacks -------------------------------------------------------------------------
 */

static size_t on_header(char *line, size_t one, size_t n, void *userdata)
{
	struct weft_http_call *call = userdata;

	weft_http_head_line(&call->head, line, n * one);
	return n * one;
}

static size_t on_body(char *data, size_t one, size_t n, void *userdata)
{
	struct weft_http_call *call = userdata;
	int r;

	if (call->head.status < 200 || call->head.status > 299) {
		call->discarded += n * one;
		return call->discarded > DISCARDED_BODY ? 0 : n * one;
	}
	r = call->data(call->userdata, &call->head, data, n * one);
	if (r == -EAGAIN)
		return CURL_WRITEFUNC_PAUSE;
	if (r < 0) {
		call->aborted = true;
		call->r = r;
		return 0;
	}
	return n * one;
}

/* --- one hop -------------------------------------------------------------------------------------
 */

static char *url_part(const char *url, CURLUPart part, unsigned flags)
{
	CURLU *u = curl_url();
	char *text = NULL, *copy = NULL;

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(u, part, &text, flags) == CURLUE_OK)
		copy = strdup(text);
	curl_free(text);
	curl_url_cleanup(u);
	return copy;
}

/* "https://host:443": what an Authorization header is meant for. */
static char *origin_of(const char *url)
{
	_cleanup_(freep) char *scheme = url_part(url, CURLUPART_SCHEME, 0);
	_cleanup_(freep) char *host = url_part(url, CURLUPART_HOST, 0);
	_cleanup_(freep) char *port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);

	return scheme && host && port ? weft_strf("%s://%s:%s", scheme, host, port) : NULL;
}

static bool add_line(struct curl_slist **list, const char *text)
{
	struct curl_slist *more = text ? curl_slist_append(*list, text) : NULL;

	if (more)
		*list = more;
	return more != NULL;
}

static int make_headers(struct weft_http_call *call)
{
	_cleanup_(freep) char *origin = origin_of(call->url), *line = NULL;
	bool ok = origin && add_line(&call->headers, "Accept-Encoding: identity");

	for (char **h = call->extra; ok && h && *h; h++)
		ok = add_line(&call->headers, *h);
	if (ok && call->authorization && strcmp(origin, call->origin) == 0) {
		line = weft_strf("Authorization: %s", call->authorization);
		ok = add_line(&call->headers, line);
		if (line)
			explicit_bzero(line, strlen(line));
	}
	return ok ? 0 : -ENOMEM;
}

static int set_up(struct weft_http_call *call)
{
	CURL *c = call->easy = curl_easy_init();
	char range[32];
	bool ok = c != NULL;

	if (!c || make_headers(call) < 0)
		return -ENOMEM;
#define SET(option, value) ok = ok && curl_easy_setopt(c, option, value) == CURLE_OK
	SET(CURLOPT_URL, call->url);
	SET(CURLOPT_PROTOCOLS_STR, call->plain ? "http,https" : "https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_HTTPHEADER, call->headers);
	SET(CURLOPT_USERAGENT, "weft/" WEFT_VERSION);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	SET(CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED);
	SET(CURLOPT_LOW_SPEED_TIME, LOW_SPEED_S);
	SET(CURLOPT_BUFFERSIZE, CURL_BUFFER);
	SET(CURLOPT_ERRORBUFFER, call->text);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, call);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, call);
	SET(CURLOPT_PRIVATE, call);
	SET(CURLOPT_RESOLVE, call->addresses);
	if (call->ca)
		SET(CURLOPT_CAINFO, call->ca); /* the system's directory stays */
	if (call->offset > 0) {
		snprintf(range, sizeof(range), "%llu-", (unsigned long long)call->offset);
		SET(CURLOPT_RANGE, range);
	}
#undef SET
	return ok ? 0 : -ENOMEM;
}

static int begin(struct weft_http_call *call)
{
	int r = set_up(call);

	if (r < 0)
		return r;
	call->head = (struct weft_http_head){};
	call->discarded = 0;
	if (curl_multi_add_handle(call->http->multi, call->easy) != CURLM_OK)
		return -ENOMEM;
	call->added = true;
	return 0;
}

static void on_resolved(void *userdata, const char *addresses, const char *why)
{
	struct weft_http_call *call = userdata;
	_cleanup_(freep) char *host = url_part(call->url, CURLUPART_HOST, 0);
	_cleanup_(freep) char *port = url_part(call->url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	_cleanup_(freep) char *entry = NULL;

	weft_resolve_free(TAKE_PTR(call->resolve));
	if (!addresses) {
		weft_err_set(&call->err, EHOSTUNREACH, "%s: %s", host ? host : call->url, why);
		finish(call, -EHOSTUNREACH, true);
		return;
	}
	entry = host && port ? weft_strf("+%s:%s:%s", host, port, addresses) : NULL;
	if (!add_line(&call->addresses, entry) || begin(call) < 0)
		finish(call, -ENOMEM, true);
}

/* A proxy looks hosts up itself; its own name is left to libcurl. */
static bool has_proxy(bool plain)
{
	static const char *const secure[] = {"https_proxy", "HTTPS_PROXY"};
	static const char *const all[] = {"all_proxy", "ALL_PROXY"};
	const char *http = getenv("http_proxy");

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		const char *a = getenv(all[i]), *s = getenv(secure[i]);

		if ((a && *a) || (!plain && s && *s))
			return true;
	}
	return plain && http && *http;
}

static int start_hop(struct weft_http_call *call)
{
	_cleanup_(freep) char *host = url_part(call->url, CURLUPART_HOST, 0);
	_cleanup_(freep) char *scheme = url_part(call->url, CURLUPART_SCHEME, 0);

	if (!host || !*host || !scheme)
		return weft_err_set(&call->err, EINVAL, "\"%.300s\" is no URL", call->url);
	if (strcmp(scheme, "https") != 0 && !(call->plain && strcmp(scheme, "http") == 0)) {
		weft_err_set(&call->err, EPROTO, "%.300s is not https", call->url);
		return weft_err_hint(&call->err,
			"if that is meant, say so in the file of --registries: \"insecure\": true");
	}
	if (weft_resolve_is_address(host) || has_proxy(strcmp(scheme, "http") == 0))
		return begin(call);
	return weft_resolve(call->http->event, host, on_resolved, call, &call->resolve);
}

/* --- what libcurl has finished -------------------------------------------------------------------
 */

/* Resets, cut connections and slow ones may do better; certificates and protocols will not. */
static int explain(struct weft_http_call *call, CURLcode c, bool *ret_transient)
{
	_cleanup_(freep) char *host = url_part(call->url, CURLUPART_HOST, 0);
	const char *text = *call->text ? call->text : curl_easy_strerror(c);
	const char *where = host ? host : call->url;

	*ret_transient = true;
	switch (c) {
	case CURLE_OUT_OF_MEMORY:
		return weft_err_set(&call->err, ENOMEM, "%s: out of memory", where);
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return weft_err_set(&call->err, EHOSTUNREACH, "%s: %s", where, text);
	case CURLE_COULDNT_CONNECT:
		return weft_err_set(&call->err, ECONNREFUSED, "%s: %s", where, text);
	case CURLE_OPERATION_TIMEDOUT:
		return weft_err_set(&call->err, ETIMEDOUT, "%s: %s", where, text);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		*ret_transient = false;
		weft_err_set(&call->err, EPROTO, "%s: %s", where, text);
		return weft_err_hint(&call->err,
			"a registry with a certificate of one's own: name its CA in the file of "
			"--registries");
	case CURLE_SSL_CONNECT_ERROR:
		*ret_transient = false;
		weft_err_set(&call->err, EPROTO, "%s: no TLS there: %s", where, text);
		return weft_err_hint(&call->err,
			"if it is plain HTTP that is meant, say so in the file of --registries: "
			"\"insecure\": true");
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		*ret_transient = false;
		return weft_err_set(&call->err, EPROTO, "%s: %s", where, text);
	default:
		return weft_err_set(&call->err, EIO, "%s: %s", where, text);
	}
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* To where the answer says; its own origin is looked at anew. */
static int follow(struct weft_http_call *call)
{
	const char *next = NULL;
	char *url;

	curl_easy_getinfo(call->easy, CURLINFO_REDIRECT_URL, &next);
	if (!next)
		return weft_err_set(&call->err, EPROTO, "%.200s: redirects to nowhere", call->url);
	if (++call->redirects > MAX_REDIRECTS)
		return weft_err_set(&call->err, EPROTO, "%.200s: redirects too often", call->url);
	url = strdup(next);
	if (!url)
		return -ENOMEM;
	free(call->url);
	call->url = url;
	reset_easy(call);
	return start_hop(call);
}

static void ended(struct weft_http_call *call, CURLcode c)
{
	bool transient = false;
	int r = 0;

	if (is_redirect(call->head.status) && (c == CURLE_OK || c == CURLE_WRITE_ERROR)) {
		r = follow(call);
		if (r < 0)
			finish(call, r, false);
		return;
	}
	if (call->aborted)
		r = call->r;
	else if (c == CURLE_WRITE_ERROR && call->discarded > DISCARDED_BODY)
		r = 0; /* an error that goes on and on */
	else if (c != CURLE_OK)
		r = explain(call, c, &transient);
	finish(call, r, transient);
}

static void collect(struct weft_http *http)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(http->multi, &left))) {
		CURLcode c = m->data.result;
		char *private = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
		ended((struct weft_http_call *)(void *)private, c);
	}
}

/* --- the loop ------------------------------------------------------------------------------------
 */

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct weft_http *http = userdata;
	int flags = 0, running;

	(void)source;
	if (revents & EPOLLIN)
		flags |= CURL_CSELECT_IN;
	if (revents & EPOLLOUT)
		flags |= CURL_CSELECT_OUT;
	if (revents & (EPOLLERR | EPOLLHUP))
		flags |= CURL_CSELECT_ERR;
	curl_multi_socket_action(http->multi, fd, flags, &running);
	collect(http);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_http *http = userdata;
	int running;

	(void)source;
	(void)usec;
	curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(http);
	return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *known)
{
	uint32_t events = 0;
	struct weft_http *http = userdata;
	sd_event_source *source = known;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(source);
		curl_multi_assign(http->multi, fd, NULL);
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	if (source)
		return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
	if (sd_event_add_io(http->event, &source, fd, events, on_io, http) < 0)
		return -1;
	curl_multi_assign(http->multi, fd, source);
	return 0;
}

static int on_timeout(CURLM *multi, long ms, void *userdata)
{
	struct weft_http *http = userdata;

	(void)multi;
	if (ms < 0)
		return sd_event_source_set_enabled(http->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
	if (sd_event_source_set_time_relative(http->timer, (uint64_t)ms * 1000) < 0)
		return -1;
	return sd_event_source_set_enabled(http->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

/* --- interface -----------------------------------------------------------------------------------
 */

int weft_http_new(sd_event *event, struct weft_http **ret)
{
	_cleanup_(weft_http_freep) struct weft_http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return -ENOMEM;
	TAILQ_INIT(&http->calls);
	http->event = sd_event_ref(event);
	http->multi = curl_multi_init();
	if (!http->multi)
		return -ENOMEM;
	r = sd_event_add_time(event, &http->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, http);
	if (r >= 0)
		r = sd_event_source_set_enabled(http->timer, SD_EVENT_OFF);
	if (r < 0)
		return r;
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	*ret = TAKE_PTR(http);
	return 0;
}

void weft_http_free(struct weft_http *http)
{
	struct weft_http_call *call;

	if (!http)
		return;
	while ((call = TAILQ_FIRST(&http->calls)))
		free_call(call);
	if (http->multi)
		curl_multi_cleanup(http->multi); /* takes its event sources with it */
	sd_event_source_disable_unref(http->timer);
	sd_event_unref(http->event);
	free(http);
}

sd_event *weft_http_event(const struct weft_http *http)
{
	return http->event;
}

static char **copy_strings(const char *const *v)
{
	size_t n = 0;
	char **copy;

	while (v && v[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(v[i]);
		if (!copy[i]) {
			strv_free(copy);
			return NULL;
		}
	}
	return copy;
}

static int copy_request(struct weft_http_call *call, const struct weft_http_request *q)
{
	call->plain = q->plain;
	call->offset = q->offset;
	call->data = q->data;
	call->done = q->done;
	call->userdata = q->userdata;
	call->url = strdup(q->url);
	call->origin = origin_of(q->url);
	call->authorization = q->authorization ? strdup(q->authorization) : NULL;
	call->ca = q->ca ? strdup(q->ca) : NULL;
	call->extra = copy_strings(q->headers);
	if (!call->origin && call->url)
		call->origin = strdup("");
	return call->url && call->origin && call->extra &&
			       (call->authorization || !q->authorization) && (call->ca || !q->ca)
		       ? 0
		       : -ENOMEM;
}

int weft_http_get(struct weft_http *http, const struct weft_http_request *request,
	struct weft_http_call **ret)
{
	struct weft_http_call *call = calloc(1, sizeof(*call));

	if (!call)
		return -ENOMEM;
	call->http = http;
	TAILQ_INSERT_TAIL(&http->calls, call, link);
	if (copy_request(call, request) < 0) {
		free_call(call);
		return -ENOMEM;
	}
	if (start_hop(call) < 0)
		fail_later(call);
	*ret = call;
	return 0;
}

void weft_http_continue(struct weft_http_call *call)
{
	if (call->added)
		curl_easy_pause(call->easy, CURLPAUSE_CONT);
}

void weft_http_cancel(struct weft_http_call *call)
{
	if (call)
		free_call(call);
}
