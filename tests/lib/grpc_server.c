/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/grpc_server.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtimes/grpc/frame.h"

struct stream {
	LIST_ENTRY(stream) link;
	int32_t id;
	char method[64];
	struct weft_grpc_buf in, out;
	bool answering, last, no_status;
};

struct connection {
	LIST_ENTRY(connection) link;
	struct test_grpc_server *server;
	nghttp2_session *session;
	int fd;
	sd_event_source *io;
	LIST_HEAD(, stream) streams;
};

struct test_grpc_server {
	sd_event *event;
	char path[108];
	int fd;
	sd_event_source *io;
	LIST_HEAD(, connection) connections;
	struct test_grpc_stats stats;
};

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "test grpc server: %s: %s\n", what, strerror(errno));
	abort();
}

static void connection_free(struct connection *c)
{
	struct stream *s;

	while ((s = LIST_FIRST(&c->streams))) {
		LIST_REMOVE(s, link);
		weft_grpc_buf_free(&s->in);
		weft_grpc_buf_free(&s->out);
		free(s);
	}
	LIST_REMOVE(c, link);
	sd_event_source_disable_unref(c->io);
	nghttp2_session_del(c->session);
	close(c->fd);
	free(c);
}

/* --- answers -------------------------------------------------------------------------------------
 */

#define NV(n, v)                                                                            \
	{                                                                                   \
		(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), \
			NGHTTP2_NV_FLAG_NONE                                                \
	}

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *userdata)
{
	const nghttp2_nv trailer[] = {NV("grpc-status", "0")};
	struct stream *s = source->ptr;
	size_t have = weft_grpc_buf_size(&s->out);

	(void)userdata;
	if (have == 0 && !s->last)
		return NGHTTP2_ERR_DEFERRED;
	if (size > have)
		size = have;
	if (size > 0)
		memcpy(buf, s->out.data + s->out.start, size);
	weft_grpc_buf_drop(&s->out, size);
	if (size == have && s->last) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (!s->no_status) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			nghttp2_submit_trailer(session, id, trailer, 1);
		}
	}
	return (ssize_t)size;
}

static void begin_answer(nghttp2_session *session, struct stream *s)
{
	const nghttp2_nv head[] = {NV(":status", "200"), NV("content-type", "application/grpc")};
	const nghttp2_data_provider body = {.source.ptr = s, .read_callback = read_out};

	if (!s->answering)
		nghttp2_submit_response(session, s->id, head, 2, &body);
	s->answering = true;
	nghttp2_session_resume_data(session, s->id);
}

static void put(struct stream *s, uint8_t flag, size_t claimed, const void *data, size_t size)
{
	uint8_t header[WEFT_GRPC_FRAME_HEADER];

	weft_grpc_frame_header(header, claimed);
	header[0] = flag;
	check(weft_grpc_buf_add(&s->out, header, sizeof(header)) == 0, "put");
	check(weft_grpc_buf_add(&s->out, data, size) == 0, "put");
}

static bool is(const struct stream *s, const char *name)
{
	return strcmp(s->method + strlen("/test/"), name) == 0;
}

static void headers_only(nghttp2_session *session, struct stream *s, const char *status)
{
	const nghttp2_nv fail[] = {NV(":status", "200"), NV("content-type", "application/grpc"),
		NV("grpc-status", "5"), NV("grpc-message", "no such %22thing%22%0a")};
	const nghttp2_nv http[] = {NV(":status", status)};

	if (strcmp(status, "200") == 0)
		nghttp2_submit_response(session, s->id, fail, 4, NULL);
	else
		nghttp2_submit_response(session, s->id, http, 1, NULL);
	s->answering = true;
}

static void answer_message(struct stream *s, const uint8_t *data, size_t size)
{
	if (is(s, "Echo") || is(s, "NoStatus"))
		put(s, 0, size, data, size);
	for (int i = 0; is(s, "Thrice") && i < 3; i++)
		put(s, 0, size, data, size);
	if (is(s, "Huge"))
		put(s, 0, 1 << 30, data, size);
	if (is(s, "Garbage"))
		put(s, 0, 4, "\xff\xff\xff\xff", 4);
	if (is(s, "Compressed"))
		put(s, 1, size, data, size);
	for (int i = 0; is(s, "Flood") && i < 64; i++) {
		static uint8_t big[65536]; /* a Label whose key is long */

		big[0] = 0x0a;
		big[1] = 0x80 | (65532 & 0x7f);
		big[2] = 0x80 | (65532 >> 7 & 0x7f);
		big[3] = 65532 >> 14;
		memset(big + 4, 'x', 65532);
		put(s, 0, 4 + 65532, big, 4 + 65532);
	}
}

static void on_request(nghttp2_session *session, struct stream *s, bool last)
{
	const uint8_t *data;
	size_t size;

	if (is(s, "Hang") || s->last)
		return;
	if (is(s, "Fail") || is(s, "Http")) {
		if (last)
			headers_only(session, s, is(s, "Fail") ? "200" : "503");
		return;
	}
	while (weft_grpc_frame_next(&s->in, 1 << 24, &data, &size) > 0)
		answer_message(s, data, size);
	s->no_status = is(s, "NoStatus");
	s->last = last;
	begin_answer(session, s);
}

/* --- nghttp2 -------------------------------------------------------------------------------------
 */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *userdata)
{
	struct connection *c = userdata;
	struct stream *s = calloc(1, sizeof(*s));

	check(s != NULL, "calloc");
	s->id = f->hd.stream_id;
	LIST_INSERT_HEAD(&c->streams, s, link);
	nghttp2_session_set_stream_user_data(session, s->id, s);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
	size_t n, const uint8_t *value, size_t size, uint8_t flags, void *userdata)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
	struct connection *c = userdata;
	struct test_grpc_stats *stats = &c->server->stats;

	(void)flags;
	if (s && n == 5 && memcmp(name, ":path", 5) == 0)
		snprintf(s->method, sizeof(s->method), "%.*s", (int)size, value);
	if (n == 20 && memcmp(name, "containerd-namespace", 20) == 0)
		snprintf(stats->namespace_, sizeof(stats->namespace_), "%.*s", (int)size, value);
	if (n == 12 && memcmp(name, "content-type", 12) == 0)
		snprintf(
			stats->content_type, sizeof(stats->content_type), "%.*s", (int)size, value);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t size, void *userdata)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)userdata;
	if (s)
		check(weft_grpc_buf_add(&s->in, data, size) == 0, "receive");
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *f, void *userdata)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, f->hd.stream_id);
	struct connection *c = userdata;

	if (f->hd.type == NGHTTP2_RST_STREAM) {
		c->server->stats.resets++;
		c->server->stats.reset_code = f->rst_stream.error_code;
	}
	if (f->hd.type == NGHTTP2_HEADERS)
		c->server->stats.requests++;
	if (s && (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) &&
		(f->hd.type == NGHTTP2_DATA || f->hd.flags & NGHTTP2_FLAG_END_STREAM))
		on_request(session, s, f->hd.flags & NGHTTP2_FLAG_END_STREAM);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *userdata)
{
	struct stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)code;
	(void)userdata;
	if (!s)
		return 0;
	LIST_REMOVE(s, link);
	weft_grpc_buf_free(&s->in);
	weft_grpc_buf_free(&s->out);
	free(s);
	return 0;
}

static ssize_t on_send(
	nghttp2_session *session, const uint8_t *data, size_t size, int flags, void *userdata)
{
	struct connection *c = userdata;
	ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	(void)session;
	(void)flags;
	if (n >= 0)
		return n;
	return errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* --- socket --------------------------------------------------------------------------------------
 */

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct connection *c = userdata;
	uint8_t buf[65536];
	ssize_t n = 1;

	(void)revents;
	if (revents & (EPOLLIN | EPOLLHUP)) {
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN) ||
			(n > 0 && nghttp2_session_mem_recv(c->session, buf, (size_t)n) < 0)) {
			connection_free(c);
			return 0;
		}
	}
	if (nghttp2_session_send(c->session) < 0) {
		connection_free(c);
		return 0;
	}
	sd_event_source_set_io_events(
		source, EPOLLIN | (nghttp2_session_want_write(c->session) ? EPOLLOUT : 0U));
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	const nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000};
	struct test_grpc_server *server = userdata;
	struct connection *c = calloc(1, sizeof(*c));
	nghttp2_session_callbacks *cb;

	(void)source;
	(void)revents;
	check(c != NULL && nghttp2_session_callbacks_new(&cb) == 0, "accept");
	LIST_INIT(&c->streams);
	c->server = server;
	c->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	check(c->fd >= 0, "accept");
	server->stats.connections++;
	LIST_INSERT_HEAD(&server->connections, c, link);
	nghttp2_session_callbacks_set_send_callback(cb, on_send);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
	check(nghttp2_session_server_new(&c->session, cb, c) == 0, "session");
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, &settings, 1);
	nghttp2_session_send(c->session);
	check(sd_event_add_io(server->event, &c->io, c->fd, EPOLLIN, on_io, c) >= 0, "io");
	return 0;
}

struct test_grpc_server *test_grpc_server_new(sd_event *event, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct test_grpc_server *s = calloc(1, sizeof(*s));

	check(s != NULL, "calloc");
	LIST_INIT(&s->connections);
	s->event = sd_event_ref(event);
	snprintf(s->path, sizeof(s->path), "%s", path);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	unlink(path);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	check(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
			listen(s->fd, 16) == 0,
		path);
	check(sd_event_add_io(event, &s->io, s->fd, EPOLLIN, on_accept, s) >= 0, "listen");
	return s;
}

void test_grpc_server_drop(struct test_grpc_server *s)
{
	struct connection *c;

	while ((c = LIST_FIRST(&s->connections)))
		connection_free(c);
}

void test_grpc_server_goaway(struct test_grpc_server *s)
{
	struct connection *c;

	LIST_FOREACH(c, &s->connections, link)
	{
		nghttp2_submit_shutdown_notice(c->session);
		nghttp2_session_send(c->session);
	}
}

void test_grpc_server_garbage(struct test_grpc_server *s)
{
	struct connection *c;

	LIST_FOREACH(c, &s->connections, link)
	check(send(c->fd, "this is no frame at all....", 27, MSG_NOSIGNAL) == 27, "send");
}

const struct test_grpc_stats *test_grpc_server_stats(const struct test_grpc_server *s)
{
	return &s->stats;
}

void test_grpc_server_free(struct test_grpc_server *s)
{
	if (!s)
		return;
	test_grpc_server_drop(s);
	sd_event_source_disable_unref(s->io);
	sd_event_unref(s->event);
	close(s->fd);
	unlink(s->path);
	free(s);
}
