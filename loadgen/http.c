/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1 over TCP. Every request is the same bytes, made once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "loadgen/http_response.h"
#include "loadgen/options.h"
#include "loadgen/protocol.h"
#include "loadgen/target.h"

struct http_shared {
	char *request;
	size_t size;
	bool head;
};

static void http_teardown(void *shared)
{
	struct http_shared *s = shared;

	if (!s)
		return;
	free(s->request);
	free(s);
}

static void http_teardownp(struct http_shared **s)
{
	http_teardown(*s);
}

static bool is_idempotent(const char *method)
{
	static const char *const list[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (strcmp(method, list[i]) == 0)
			return true;
	return false;
}

static bool has_header(const struct load_options *o, const char *name)
{
	for (const char *const *h = o->headers; *h; h++)
		if (strncasecmp(*h, name, strlen(name)) == 0 && (*h)[strlen(name)] == ':')
			return true;
	return false;
}

static void write_request(FILE *f, const struct load_options *o, const struct load_target *t)
{
	fprintf(f, "%s %s HTTP/1.1\r\n", o->method, t->path);
	if (!has_header(o, "Host"))
		fprintf(f, "Host: %s\r\n", t->authority);
	if (!has_header(o, "User-Agent"))
		fprintf(f, "User-Agent: weft-load/" WEFT_VERSION "\r\n");
	for (const char *const *h = o->headers; *h; h++)
		fprintf(f, "%s\r\n", *h);
	if (o->close)
		fprintf(f, "Connection: close\r\n");
	if (o->data)
		fprintf(f, "Content-Length: %zu\r\n", strlen(o->data));
	fprintf(f, "\r\n%s", o->data ? o->data : "");
}

static int http_setup(const struct load_options *o, const struct load_target *t, void **ret_shared,
	struct weft_err *err)
{
	_cleanup_(http_teardownp) struct http_shared *s = calloc(1, sizeof(*s));
	FILE *f;

	if (o->retry_stale && !is_idempotent(o->method)) {
		weft_err_set(err, EINVAL, "--retry-stale %u with --method %s: not idempotent",
			o->retry_stale, o->method);
		return weft_err_hint(err,
			"such a request must not be sent twice (RFC 9110, 9.2.2): "
			"drop --retry-stale");
	}
	f = s ? open_memstream(&s->request, &s->size) : NULL;
	if (!f)
		return weft_err_set(err, ENOMEM, "the request to %s: out of memory", t->authority);
	write_request(f, o, t);
	if (fclose(f) != 0)
		return weft_err_set(err, ENOMEM, "the request to %s: out of memory", t->authority);
	s->head = strcmp(o->method, "HEAD") == 0;
	*ret_shared = TAKE_PTR(s);
	return 0;
}

static void http_begin(const void *shared, void *state, struct iovec *ret_request)
{
	const struct http_shared *s = shared;

	http_response_init(state, s->head);
	*ret_request = (struct iovec){.iov_base = s->request, .iov_len = s->size};
}

static void reply(const struct http_response *p, struct load_reply *ret)
{
	ret->class = p->status >= 500 ? LOAD_HTTP_5XX : p->status >= 400 ? LOAD_HTTP_4XX : LOAD_OK;
	ret->keep = p->keep_alive;
}

static int http_feed(void *state, const void *data, size_t size, struct load_reply *ret)
{
	struct http_response *p = state;
	size_t used = 0;
	int r = http_response_feed(p, data, size, &used);

	if (r <= 0)
		return r;
	/* There is no pipelining here, so what follows a response means that its length was wrong.
	 */
	if (used < size)
		return -EBADMSG;
	reply(p, ret);
	return 1;
}

static int http_eof(void *state, struct load_reply *ret)
{
	int r = http_response_eof(state);

	if (r > 0)
		reply(state, ret);
	return r;
}

const struct load_protocol load_http = {
	.scheme = "http",
	.port = "80",
	.state_size = sizeof(struct http_response),
	.setup = http_setup,
	.teardown = http_teardown,
	.begin = http_begin,
	.feed = http_feed,
	.eof = http_eof,
};
