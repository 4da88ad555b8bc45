/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/grpc/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CHUNK         65536
#define TURNS         16 /* chunks read before others on the loop get their turn */
#define STREAM_WINDOW (1 << 20)
#define WINDOW        (1 << 24)
#define DELAY_MIN_MS  100
#define DELAY_MAX_MS  3200

/* Every call ends, and the next attempt is scheduled. Never from within nghttp2. */
static void __attribute__((format(printf, 2, 3))) lost(struct weft_grpc *g, const char *fmt, ...)
{
	struct weft_grpc_call *call;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(g->reason, sizeof(g->reason), fmt, ap);
	va_end(ap);
	weft_grpc_session_close(g);
	TAILQ_FOREACH(call, &g->calls, link)
	weft_grpc_call_fail(call, WEFT_GRPC_UNAVAILABLE, "%s", g->reason);
	g->answered = false;
	sd_event_source_set_enabled(g->work, SD_EVENT_ONESHOT);
	sd_event_source_set_time_relative(g->redial, g->delay_ms * 1000ULL);
	sd_event_source_set_enabled(g->redial, SD_EVENT_ONESHOT);
}

void weft_grpc_session_close(struct weft_grpc *g)
{
	struct weft_grpc_call *call;

	g->io = sd_event_source_disable_unref(g->io);
	nghttp2_session_del(g->session);
	g->session = NULL;
	closep(&g->fd);
	g->fd = -1;
	TAILQ_FOREACH(call, &g->calls, link)
	call->stream = -1;
}

/* --- nghttp2's callbacks: they only take notes ---------------------------------------------------
 */

static ssize_t on_send(
	nghttp2_session *session, const uint8_t *data, size_t size, int flags, void *userdata)
{
	struct weft_grpc *g = userdata;
	ssize_t n;

	(void)session;
	(void)flags;
	do
		n = send(g->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
	size_t size, void *userdata)
{
	struct weft_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);

	(void)flags;
	(void)userdata;
	if (!call || call->ended)
		return 0;
	if (weft_grpc_buf_add(&call->in, data, size) < 0)
		weft_grpc_call_fail(call, WEFT_GRPC_RESOURCE_EXHAUSTED, "out of memory");
	weft_grpc_call_ready(call);
	return 0;
}

static bool name_is(const char *name, const uint8_t *s, size_t size)
{
	return strlen(name) == size && memcmp(name, s, size) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_size, const uint8_t *value, size_t size, uint8_t flags, void *userdata)
{
	struct weft_grpc_call *call =
		nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	int status;

	(void)flags;
	(void)userdata;
	if (!call || call->ended)
		return 0;
	if (name_is("grpc-message", name, name_size))
		weft_grpc_parse_message(call->message, sizeof(call->message), value, size);
	else if (name_is(":status", name, name_size))
		call->http = weft_grpc_parse_status(value, size);
	else if (name_is("grpc-status", name, name_size)) {
		status = weft_grpc_parse_status(value, size);
		call->status = status < 0 ? WEFT_GRPC_UNKNOWN : status;
	}
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
	struct weft_grpc *g = userdata;

	(void)session;
	if (frame->hd.type == NGHTTP2_SETTINGS) {
		g->answered = true;
		g->delay_ms = DELAY_MIN_MS;
	} else if (frame->hd.type == NGHTTP2_GOAWAY) {
		g->goaway = true;
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *userdata)
{
	struct weft_grpc_call *call = nghttp2_session_get_stream_user_data(session, stream);

	(void)userdata;
	if (!call)
		return 0;
	call->stream = -1;
	if (call->ended)
		return 0;
	if (call->status < 0) {
		if (call->http > 0 && call->http != 200)
			weft_grpc_call_fail(
				call, WEFT_GRPC_UNKNOWN, "the server says HTTP %d", call->http);
		else
			weft_grpc_call_fail(call, WEFT_GRPC_UNAVAILABLE,
				"the server ended the call without a status (%s)",
				nghttp2_http2_strerror(code));
		return 0;
	}
	call->ended = true;
	weft_grpc_call_ready(call);
	return 0;
}

/* --- connection ----------------------------------------------------------------------------------
 */

static void receive(struct weft_grpc *g)
{
	uint8_t buf[CHUNK];

	for (unsigned i = 0; i < TURNS; i++) {
		ssize_t n = recv(g->fd, buf, sizeof(buf), MSG_DONTWAIT), taken;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			lost(g, "connection to %s broke: %s", g->socket,
				n < 0 ? strerror(errno) : "closed by the server");
			return;
		}
		taken = nghttp2_session_mem_recv(g->session, buf, (size_t)n);
		if (taken < 0) {
			lost(g, "connection to %s broke: %s", g->socket,
				nghttp2_strerror((int)taken));
			return;
		}
	}
}

/* Send what there is to send, and ask the loop for exactly what is still wanted. */
static void flush(struct weft_grpc *g)
{
	uint32_t events = EPOLLIN, now = 0;
	int r;

	r = nghttp2_session_send(g->session);
	if (r < 0) {
		lost(g, "connection to %s broke: %s", g->socket,
			r == NGHTTP2_ERR_CALLBACK_FAILURE ? strerror(errno) : nghttp2_strerror(r));
		return;
	}
	if (g->goaway || (!nghttp2_session_want_read(g->session) &&
				 !nghttp2_session_want_write(g->session))) {
		lost(g, "connection to %s broke: the server is going away", g->socket);
		return;
	}
	if (nghttp2_session_want_write(g->session))
		events |= EPOLLOUT;
	sd_event_source_get_io_events(g->io, &now);
	if (events != now)
		sd_event_source_set_io_events(g->io, events);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct weft_grpc *g = userdata;

	(void)source;
	(void)fd;
	if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(g);
	if (g->session)
		flush(g);
	weft_grpc_deliver(g);
	return 0;
}

/* Before the loop sleeps: calls begun since then leave in one go. */
static int on_prepare(sd_event_source *source, void *userdata)
{
	struct weft_grpc *g = userdata;

	(void)source;
	if (g->session)
		flush(g);
	return 0;
}

static int on_work(sd_event_source *source, void *userdata)
{
	(void)source;
	weft_grpc_deliver(userdata);
	return 0;
}

static int on_redial(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_grpc *g = userdata;

	(void)source;
	(void)usec;
	if (g->session)
		return 0;
	g->delay_ms = g->delay_ms * 2 > DELAY_MAX_MS ? DELAY_MAX_MS : g->delay_ms * 2;
	weft_grpc_session_dial(g);
	return 0;
}

static int start_session(struct weft_grpc *g)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
	};
	nghttp2_session_callbacks *cb;
	int r;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		return NGHTTP2_ERR_NOMEM;
	nghttp2_session_callbacks_set_send_callback(cb, on_send);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	r = nghttp2_session_client_new(&g->session, cb, g);
	nghttp2_session_callbacks_del(cb);
	if (r == 0)
		r = nghttp2_submit_settings(g->session, NGHTTP2_FLAG_NONE, settings, 2);
	if (r == 0)
		r = nghttp2_session_set_local_window_size(g->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
	return r;
}

/* On a unix socket connect() never takes its time: it succeeds, fails, or the backlog is full
 * (EAGAIN), which the next attempt sees to. */
void weft_grpc_session_dial(struct weft_grpc *g)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	memcpy(address.sun_path, g->socket, strlen(g->socket));
	g->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->fd < 0 || connect(g->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		lost(g, "connect to %s: %s", g->socket, strerror(errno));
		return;
	}
	g->goaway = false;
	r = start_session(g);
	if (r < 0) {
		lost(g, "connect to %s: %s", g->socket, nghttp2_strerror(r));
		return;
	}
	r = sd_event_add_io(g->event, &g->io, g->fd, EPOLLIN, on_io, g);
	if (r >= 0)
		r = sd_event_source_set_prepare(g->io, on_prepare);
	if (r < 0)
		lost(g, "connect to %s: %s", g->socket, strerror(-r));
}

int weft_grpc_session_init(struct weft_grpc *g)
{
	int r;

	g->delay_ms = DELAY_MIN_MS;
	r = sd_event_add_time_relative(
		g->event, &g->redial, CLOCK_MONOTONIC, 0, 10000, on_redial, g);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(g->redial, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = sd_event_add_defer(g->event, &g->work, on_work, g);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(g->work, SD_EVENT_OFF);
}
