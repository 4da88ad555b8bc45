/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/grpc/grpc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ctrl/base/util.h"
#include "runtimes/grpc/session.h"

#define MAX_MESSAGE (16U << 20)
#define MAX_HEADERS 24

int weft_grpc_errno(int status)
{
	static const int codes[] = {
		[WEFT_GRPC_OK] = 0,
		[WEFT_GRPC_CANCELLED] = ECANCELED,
		[WEFT_GRPC_UNKNOWN] = EIO,
		[WEFT_GRPC_INVALID_ARGUMENT] = EINVAL,
		[WEFT_GRPC_DEADLINE_EXCEEDED] = ETIMEDOUT,
		[WEFT_GRPC_NOT_FOUND] = ENOENT,
		[WEFT_GRPC_ALREADY_EXISTS] = EEXIST,
		[WEFT_GRPC_PERMISSION_DENIED] = EACCES,
		[WEFT_GRPC_RESOURCE_EXHAUSTED] = ENOSPC,
		[WEFT_GRPC_FAILED_PRECONDITION] = EBUSY,
		[WEFT_GRPC_ABORTED] = EAGAIN,
		[WEFT_GRPC_OUT_OF_RANGE] = ERANGE,
		[WEFT_GRPC_UNIMPLEMENTED] = ENOTSUP,
		[WEFT_GRPC_INTERNAL] = EPROTO,
		[WEFT_GRPC_UNAVAILABLE] = ECONNREFUSED,
		[WEFT_GRPC_DATA_LOSS] = EIO,
		[WEFT_GRPC_UNAUTHENTICATED] = EACCES,
	};

	return status >= 0 && (size_t)status < ARRAY_SIZE(codes) ? codes[status] : EIO;
}

/* --- client --------------------------------------------------------------------------------------
 */

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

void weft_grpc_destroy(struct weft_grpc *g)
{
	weft_grpc_session_close(g);
	sd_event_source_disable_unref(g->redial);
	sd_event_source_disable_unref(g->work);
	sd_event_unref(g->event);
	strv_free(g->metadata);
	free(g->socket);
	free(g);
}

int weft_grpc_new(const struct weft_grpc_config *config, struct weft_grpc **ret)
{
	_cleanup_(weft_grpc_freep) struct weft_grpc *g = NULL;
	struct sockaddr_un address;
	int r;

	if (strlen(config->socket) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->fd = -1;
	TAILQ_INIT(&g->calls);
	TAILQ_INIT(&g->ready);
	g->event = sd_event_ref(config->event);
	g->socket = strdup(config->socket);
	g->metadata = copy_strings(config->metadata);
	if (!g->socket || !g->metadata)
		return -ENOMEM;
	g->max_message = config->max_message ? config->max_message : MAX_MESSAGE;
	g->on_connection = config->on_connection;
	g->userdata = config->userdata;
	r = weft_grpc_session_init(g);
	if (r < 0)
		return r;
	weft_grpc_session_dial(g);
	*ret = TAKE_PTR(g);
	return 0;
}

void weft_grpc_free(struct weft_grpc *g)
{
	struct weft_grpc_call *call;

	if (!g || g->doomed)
		return;
	while ((call = TAILQ_FIRST(&g->calls)))
		weft_grpc_call_free(call);
	g->doomed = true;
	if (!g->delivering)
		weft_grpc_destroy(g);
}

pid_t weft_grpc_peer(const struct weft_grpc *g)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	if (g->fd < 0 || getsockopt(g->fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return 0;
	return cred.pid;
}

/* --- calls ---------------------------------------------------------------------------------------
 */

void weft_grpc_call_ready(struct weft_grpc_call *call)
{
	if (call->ready)
		return;
	call->ready = true;
	TAILQ_INSERT_TAIL(&call->g->ready, call, ready_link);
	sd_event_source_set_enabled(call->g->work, SD_EVENT_ONESHOT);
}

void weft_grpc_call_detach(struct weft_grpc_call *call)
{
	nghttp2_session *session = call->g->session;

	if (!session || call->stream < 0)
		return;
	/* What still arrives for the stream must not reach a call that is gone. */
	nghttp2_session_set_stream_user_data(session, call->stream, NULL);
	nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_CANCEL);
	call->stream = -1;
}

void weft_grpc_call_fail(struct weft_grpc_call *call, int status, const char *fmt, ...)
{
	va_list ap;

	if (call->ended)
		return;
	va_start(ap, fmt);
	vsnprintf(call->message, sizeof(call->message), fmt, ap);
	va_end(ap);
	call->status = status;
	call->ended = true;
	weft_grpc_call_detach(call);
	weft_grpc_call_ready(call);
}

void weft_grpc_call_free(struct weft_grpc_call *call)
{
	struct weft_grpc *g = call->g;

	weft_grpc_call_detach(call);
	if (call->ready)
		TAILQ_REMOVE(&g->ready, call, ready_link);
	TAILQ_REMOVE(&g->calls, call, link);
	if (g->current == call)
		g->current = NULL;
	sd_event_source_disable_unref(call->timer);
	weft_grpc_buf_free(&call->in);
	weft_grpc_buf_free(&call->out);
	if (call->reply)
		protobuf_c_message_free_unpacked(call->reply, NULL);
	free(call);
}

void weft_grpc_cancel(struct weft_grpc_call *call)
{
	if (call)
		weft_grpc_call_free(call);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_grpc_call *call = userdata;

	(void)source;
	(void)usec;
	weft_grpc_call_fail(
		call, WEFT_GRPC_DEADLINE_EXCEEDED, "no answer within %u ms", call->timeout_ms);
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *userdata)
{
	struct weft_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);
	size_t have = call ? weft_grpc_buf_size(&call->out) : 0;

	(void)source;
	(void)userdata;
	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (have == 0 && !call->out_last)
		return NGHTTP2_ERR_DEFERRED;
	if (size > have)
		size = have;
	if (size > 0)
		memcpy(buf, call->out.data + call->out.start, size);
	weft_grpc_buf_drop(&call->out, size);
	if (size == have && call->out_last)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)size;
}

static size_t add_header(nghttp2_nv *nv, size_t n, const char *name, const char *value)
{
	if (n >= MAX_HEADERS)
		return n;
	nv[n] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name, /* only read: nghttp2's types lack const */
		.value = (uint8_t *)(uintptr_t)value,
		.namelen = strlen(name),
		.valuelen = strlen(value),
	};
	return n + 1;
}

static void submit(struct weft_grpc_call *call, const struct weft_grpc_spec *spec)
{
	static const char *const fixed[] = {":method", "POST", ":scheme", "http", ":path", NULL,
		":authority", "localhost", "content-type", "application/grpc", "te", "trailers",
		"user-agent", "weft/" WEFT_VERSION};
	const nghttp2_data_provider body = {.read_callback = read_body};
	struct weft_grpc *g = call->g;
	nghttp2_nv nv[MAX_HEADERS];
	size_t n = 0;

	for (size_t i = 0; i + 1 < ARRAY_SIZE(fixed); i += 2)
		n = add_header(nv, n, fixed[i], fixed[i + 1] ? fixed[i + 1] : spec->method);
	for (char **m = g->metadata; m[0] && m[1]; m += 2)
		n = add_header(nv, n, m[0], m[1]);
	for (const char *const *m = spec->metadata; m && m[0] && m[1]; m += 2)
		n = add_header(nv, n, m[0], m[1]);
	call->stream = nghttp2_submit_request(g->session, NULL, nv, n, &body, call);
	if (call->stream < 0)
		weft_grpc_call_fail(call, WEFT_GRPC_INTERNAL, "begin the call: %s",
			nghttp2_strerror(call->stream));
}

int weft_grpc_begin(
	struct weft_grpc *g, const struct weft_grpc_spec *spec, struct weft_grpc_call **ret)
{
	struct weft_grpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return -ENOMEM;
	*call = (struct weft_grpc_call){
		.g = g,
		.stream = -1,
		.descriptor = spec->reply,
		.on_message = spec->on_message,
		.on_end = spec->on_end,
		.userdata = spec->userdata,
		.timeout_ms = spec->timeout_ms,
		.http = -1,
		.status = -1,
	};
	if (spec->timeout_ms && sd_event_add_time_relative(g->event, &call->timer, CLOCK_MONOTONIC,
					spec->timeout_ms * 1000ULL, 1000, on_deadline, call) < 0) {
		free(call);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&g->calls, call, link);
	if (!g->session)
		weft_grpc_session_dial(g);
	if (g->session)
		submit(call, spec);
	else
		weft_grpc_call_fail(call, WEFT_GRPC_UNAVAILABLE, "%s", g->reason);
	if (ret)
		*ret = call;
	return 0;
}

void weft_grpc_send(struct weft_grpc_call *call, const ProtobufCMessage *message, bool last)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *p;

	if (call->ended || call->out_last)
		return;
	p = size > UINT32_MAX ? NULL
			      : weft_grpc_buf_reserve(&call->out, WEFT_GRPC_FRAME_HEADER + size);
	if (!p) {
		weft_grpc_call_fail(call, WEFT_GRPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	weft_grpc_frame_header(p, size);
	protobuf_c_message_pack(message, p + WEFT_GRPC_FRAME_HEADER);
	weft_grpc_buf_grow(&call->out, WEFT_GRPC_FRAME_HEADER + size);
	call->out_last = last;
	/* Fails before the request's headers are out; the body is asked for then anyhow. */
	(void)nghttp2_session_resume_data(call->g->session, call->stream);
}

/* --- delivery ------------------------------------------------------------------------------------
 */

static void finish(struct weft_grpc_call *call)
{
	ProtobufCMessage *reply = TAKE_PTR(call->reply);
	weft_grpc_end_t on_end = call->on_end;
	struct weft_grpc_result result = {.status = call->status};
	void *userdata = call->userdata;
	char message[sizeof(call->message)];

	memcpy(message, call->message, sizeof(message));
	if (result.status == WEFT_GRPC_OK && !call->on_message && !reply) {
		result.status = WEFT_GRPC_INTERNAL;
		snprintf(message, sizeof(message), "the server sent no answer");
	}
	result.message = message;
	result.reply = result.status == WEFT_GRPC_OK ? reply : NULL;
	weft_grpc_call_free(call);
	on_end(userdata, &result);
	if (reply)
		protobuf_c_message_free_unpacked(reply, NULL);
}

/* A broken answer is an error even when the server said OK after it. */
static void refuse(struct weft_grpc_call *call, int status, const char *why)
{
	weft_grpc_buf_free(&call->in);
	call->ended = false;
	weft_grpc_call_fail(call, status, "the server's answer is %s", why);
}

/* One message; the call may be gone afterwards. */
static void deliver_message(struct weft_grpc_call *call, const uint8_t *data, size_t size)
{
	ProtobufCMessage *m = protobuf_c_message_unpack(call->descriptor, NULL, size, data);

	if (!m) {
		refuse(call, WEFT_GRPC_INTERNAL, "malformed");
		return;
	}
	if (call->on_message) {
		call->on_message(call->userdata, m);
	} else if (call->reply) {
		refuse(call, WEFT_GRPC_INTERNAL, "more than one message");
	} else {
		call->reply = m;
		return;
	}
	protobuf_c_message_free_unpacked(m, NULL);
}

static void deliver_call(struct weft_grpc *g, struct weft_grpc_call *call)
{
	const uint8_t *data;
	size_t size;
	int r;

	g->current = call;
	while ((r = weft_grpc_frame_next(&call->in, g->max_message, &data, &size)) > 0) {
		deliver_message(call, data, size);
		if (g->current != call)
			return;
	}
	g->current = NULL;
	if (r == -EMSGSIZE)
		refuse(call, WEFT_GRPC_RESOURCE_EXHAUSTED, "larger than it may be");
	else if (r < 0)
		refuse(call, WEFT_GRPC_INTERNAL, "malformed");
	if (call->ended)
		finish(call);
}

void weft_grpc_deliver(struct weft_grpc *g)
{
	struct weft_grpc_call *call;

	if (g->delivering)
		return;
	g->delivering = true;
	while (!g->doomed && (call = TAILQ_FIRST(&g->ready))) {
		TAILQ_REMOVE(&g->ready, call, ready_link);
		call->ready = false;
		deliver_call(g, call);
	}
	while (!g->doomed && g->told != g->answered) {
		g->told = g->answered;
		if (g->on_connection)
			g->on_connection(g->userdata, g->told);
	}
	g->delivering = false;
	if (g->doomed)
		weft_grpc_destroy(g);
}
