/* SPDX-License-Identifier: Apache-2.0 */
/* Probes against servers of the test's own on loopback, on the same loop, well and badly behaved.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/health/probe.h"

#define MAX_PEERS 64

/* One server: what it answers to the n-th connection, the last entry again and again. */
struct behaviour {
	const char *answer; /* NULL: nothing at all */
	bool bytewise;      /* one byte a turn */
	bool hold;          /* the connection stays open afterwards */
	bool unread;        /* does not wait for the request */
};

struct peer {
	struct server *server;
	sd_event_source *source;
	const struct behaviour *b;
	int fd;
	size_t sent;
	bool asked;
};

struct server {
	sd_event *event;
	sd_event_source *source;
	int fd;
	uint16_t port;
	const struct behaviour *behaviours;
	size_t n_behaviours;
	struct peer peers[MAX_PEERS];
	unsigned n_peers;
	char request[512];
};

struct told {
	struct weft_probe *probe;
	sd_event *event;
	unsigned calls, attempts;
	int r;
	struct weft_err err;
	bool free_inside;
};

static struct server srv;
static struct told told;

static void end_peer(struct peer *p)
{
	p->source = sd_event_source_disable_unref(p->source);
	if (p->fd >= 0)
		close(TAKE_FD(p->fd));
}

static int on_peer(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct peer *p = userdata;
	const char *answer = p->b->answer ? p->b->answer : "";
	size_t left = strlen(answer) - p->sent;

	(void)s;
	if (events & EPOLLIN && !p->asked) {
		ssize_t n = recv(fd, srv.request, sizeof(srv.request) - 1, 0);

		srv.request[n > 0 ? n : 0] = '\0';
		if (n <= 0) {
			end_peer(p);
			return 0;
		}
		p->asked = true;
	}
	if (p->asked || p->b->unread) {
		size_t n = p->b->bytewise && left ? 1 : left;

		if (n && send(fd, answer + p->sent, n, MSG_NOSIGNAL) < 0)
			left = n = 0;
		p->sent += n;
		left -= n;
		if (left == 0 && p->b->hold)
			sd_event_source_set_io_events(p->source, 0);
		else if (left == 0)
			end_peer(p);
		else
			sd_event_source_set_io_events(p->source, EPOLLOUT);
	}
	return 0;
}

static int on_accept(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	size_t at = srv.n_peers < srv.n_behaviours ? srv.n_peers : srv.n_behaviours - 1;
	struct peer *p = &srv.peers[srv.n_peers];

	(void)s;
	(void)events;
	(void)userdata;
	assert_true(srv.n_peers < MAX_PEERS);
	srv.n_peers++;
	*p = (struct peer){.server = &srv, .b = &srv.behaviours[at], .fd = -1};
	p->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(p->fd >= 0);
	assert_true(sd_event_add_io(srv.event, &p->source, p->fd, p->b->unread ? EPOLLOUT : EPOLLIN,
			    on_peer, p) >= 0);
	return 0;
}

/* A socket on a port of the kernel's choice; nobody accepts or listens yet. */
static void bind_server(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);

	srv.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(srv.fd >= 0);
	assert_int_equal(bind(srv.fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(srv.fd, (struct sockaddr *)&sa, &len), 0);
	srv.port = ntohs(sa.sin_port);
}

static void serve(const struct behaviour *b, size_t n)
{
	srv.behaviours = b;
	srv.n_behaviours = n;
	assert_int_equal(listen(srv.fd, 16), 0);
	assert_true(sd_event_add_io(srv.event, &srv.source, srv.fd, EPOLLIN, on_accept, NULL) >= 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&srv, 0, sizeof(srv));
	memset(&told, 0, sizeof(told));
	if (sd_event_new(&srv.event) < 0)
		return -1;
	told.event = srv.event;
	bind_server();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	weft_probe_free(told.probe);
	for (unsigned i = 0; i < srv.n_peers; i++)
		end_peer(&srv.peers[i]);
	sd_event_source_disable_unref(srv.source);
	if (srv.fd >= 0)
		close(srv.fd);
	sd_event_unref(srv.event);
	return 0;
}

static void on_done(void *userdata, int r, unsigned attempts, const struct weft_err *err)
{
	assert_ptr_equal(userdata, &told);
	told.calls++;
	told.r = r;
	told.attempts = attempts;
	told.err = *err;
	if (told.free_inside) {
		weft_probe_free(told.probe);
		told.probe = NULL;
	}
	sd_event_exit(told.event, 0);
}

static void start(const char *path, unsigned attempt_ms, unsigned timeout_ms)
{
	struct weft_probe_config config = {
		.addr.s_addr = htonl(INADDR_LOOPBACK),
		.port = srv.port,
		.http_path = path,
		.attempt_ms = attempt_ms,
		.interval_ms = 5,
		.timeout_ms = timeout_ms,
	};

	assert_int_equal(weft_probe_start(srv.event, &config, on_done, &told, &told.probe), 0);
	assert_int_equal(told.calls, 0); /* never from within the call */
}

/* Until it has told, and how many milliseconds that took. */
static unsigned run(void)
{
	uint64_t since = weft_now_ns();

	while (told.calls == 0)
		assert_true(sd_event_run(srv.event, 5000000) > 0);
	assert_int_equal(told.calls, 1);
	return (unsigned)((weft_now_ns() - since) / 1000000);
}

static void probe(const char *path, const struct behaviour *b, size_t n)
{
	serve(b, n);
	start(path, 200, 3000);
	run();
}

static void expect_reason(const char *path, const struct behaviour *b, const char *reason)
{
	serve(b, 1);
	start(path, 40, 150);
	run();
	assert_int_equal(told.r, -ETIMEDOUT);
	assert_int_equal(told.err.code, ETIMEDOUT);
	if (!strstr(told.err.msg, reason))
		fail_msg("no \"%s\" in \"%s\"", reason, told.err.msg);
	assert_true(told.attempts >= 1);
}

static void test_tcp(void **state)
{
	static const struct behaviour quiet[] = {{.hold = true}};

	(void)state;
	probe(NULL, quiet, 1);
	assert_int_equal(told.r, 0);
	assert_int_equal(told.attempts, 1);
	assert_int_equal(told.err.code, 0);
}

static void test_http(void **state)
{
	static const struct behaviour ok[] = {
		{.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}};

	(void)state;
	probe("/healthz?full=1", ok, 1);
	assert_int_equal(told.r, 0);
	assert_int_equal(told.attempts, 1);
	assert_non_null(strstr(srv.request, "GET /healthz?full=1 HTTP/1.1\r\nHost: "));
	assert_non_null(strstr(srv.request, "\r\nConnection: close\r\n"));
	assert_string_equal(srv.request + strlen(srv.request) - 4, "\r\n\r\n");
}

static void test_other_successes(void **state)
{
	static const struct behaviour old[] = {{.answer = "HTTP/1.0 204 No Content\r\n\r\n"}};

	(void)state;
	probe("/", old, 1);
	assert_int_equal(told.r, 0);
}

static void test_redirect(void **state)
{
	static const struct behaviour moved[] = {
		{.answer = "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"}};

	(void)state;
	probe("/", moved, 1);
	assert_int_equal(told.r, 0);
}

static void test_bytewise(void **state)
{
	static const struct behaviour slow[] = {
		{.answer = "HTTP/1.1 200 OK\r\n\r\n", .bytewise = true, .hold = true}};

	(void)state;
	probe("/", slow, 1);
	assert_int_equal(told.r, 0);
	assert_int_equal(told.attempts, 1);
}

static void test_comes_round(void **state)
{
	static const struct behaviour better[] = {
		{.answer = "HTTP/1.1 503 Service Unavailable\r\n\r\n"},
		{.answer = NULL},
		{.answer = "220 mail.example ESMTP\r\n"},
		{.answer = "HTTP/1.1 500 Internal Server Error\r\n\r\n"},
		{.answer = "HTTP/1.1 200 OK\r\n\r\n"},
	};

	(void)state;
	probe("/", better, ARRAY_SIZE(better));
	assert_int_equal(told.r, 0);
	assert_int_equal(told.attempts, 5);
}

static int on_late(sd_event_source *s, uint64_t usec, void *userdata)
{
	static const struct behaviour quiet[] = {{.hold = true}};

	(void)s;
	(void)usec;
	(void)userdata;
	serve(quiet, 1);
	return 0;
}

static void test_listens_late(void **state)
{
	_cleanup_(sd_event_source_unrefp) sd_event_source *timer = NULL;

	(void)state;
	assert_true(sd_event_add_time_relative(
			    srv.event, &timer, CLOCK_MONOTONIC, 60000, 0, on_late, NULL) >= 0);
	start(NULL, 200, 3000);
	assert_in_range(run(), 50, 2000);
	assert_int_equal(told.r, 0);
	assert_true(told.attempts > 2);
}

static void test_refused(void **state)
{
	char wanted[64];

	(void)state;
	start(NULL, 200, 150);
	assert_in_range(run(), 140, 1000);
	assert_int_equal(told.r, -ETIMEDOUT);
	assert_true(told.attempts > 2);
	snprintf(wanted, sizeof(wanted), "no answer from 127.0.0.1:%u within 150 ms (", srv.port);
	assert_memory_equal(told.err.msg, wanted, strlen(wanted));
	assert_non_null(strstr(told.err.msg, " attempts, last: Connection refused)"));
}

/* The deadline ends an attempt that would go on for longer. */
static void test_total_time(void **state)
{
	static const struct behaviour mute[] = {{.hold = true}};

	(void)state;
	serve(mute, 1);
	start("/x", 5000, 150);
	assert_in_range(run(), 140, 1000);
	assert_int_equal(told.r, -ETIMEDOUT);
	assert_int_equal(told.attempts, 1);
	assert_non_null(strstr(told.err.msg, "/x within 150 ms (1 attempts, last: connected, but "
					     "no answer)"));
}

static void test_status_404(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = "HTTP/1.1 404 Not Found\r\n\r\n"},
		"HTTP status 404");
}

static void test_status_500(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = "HTTP/1.1 500 Oh\r\n\r\n", .hold = true},
		"HTTP status 500");
}

static void test_status_nonsense(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = "HTTP/1.1 000 x\r\n", .hold = true},
		"not in HTTP");
}

static void test_status_negative(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = "HTTP/1.1 -20 x\r\n", .hold = true},
		"not in HTTP");
}

static void test_garbage(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = "\x16\x03", .hold = true}, "not in HTTP");
}

static void test_greeting(void **state)
{
	(void)state;
	expect_reason("/",
		&(struct behaviour){
			.answer = "SSH-2.0-OpenSSH_9.2\r\n", .hold = true, .unread = true},
		"not in HTTP");
}

static void test_closes(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = NULL}, "closed without an answer");
}

static void test_half_a_line(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = "HTTP/1.1 2"}, "closed without an answer");
}

static void test_half_a_line_and_silence(void **state)
{
	(void)state;
	expect_reason("/", &(struct behaviour){.answer = "HTTP/1.1 2", .hold = true},
		"connected, but no answer");
}

/* A full backlog: the connection is neither accepted nor refused. */
static void test_not_accepted(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(srv.port)};
	int fds[8];

	(void)state;
	assert_int_equal(listen(srv.fd, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_true(fds[i] >= 0);
		(void)!connect(fds[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	start(NULL, 50, 150);
	run();
	assert_int_equal(told.r, -ETIMEDOUT);
	assert_non_null(strstr(told.err.msg, "connection not accepted"));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static void test_freed_inside_after_success(void **state)
{
	static const struct behaviour ok[] = {{.answer = "HTTP/1.1 200 OK\r\n\r\n"}};

	(void)state;
	told.free_inside = true;
	probe("/", ok, 1);
	assert_int_equal(told.r, 0);
	assert_null(told.probe);
}

static void test_freed_inside_tcp(void **state)
{
	static const struct behaviour quiet[] = {{.hold = true}};

	(void)state;
	told.free_inside = true;
	probe(NULL, quiet, 1);
	assert_int_equal(told.r, 0);
}

static void test_freed_inside_after_failure(void **state)
{
	(void)state;
	told.free_inside = true;
	start(NULL, 50, 60);
	run();
	assert_int_equal(told.r, -ETIMEDOUT);
}

/* Cancelled while it waits for an answer: nothing is told. */
static void test_cancelled(void **state)
{
	static const struct behaviour mute[] = {{.hold = true}};

	(void)state;
	serve(mute, 1);
	start("/", 1000, 1000);
	while (!srv.request[0])
		assert_true(sd_event_run(srv.event, 1000000) > 0);
	weft_probe_free(told.probe);
	told.probe = NULL;
	for (int i = 0; i < 3; i++)
		sd_event_run(srv.event, 1000);
	assert_int_equal(told.calls, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tcp),
		TEST(test_http),
		TEST(test_other_successes),
		TEST(test_redirect),
		TEST(test_bytewise),
		TEST(test_comes_round),
		TEST(test_listens_late),
		TEST(test_refused),
		TEST(test_total_time),
		TEST(test_status_404),
		TEST(test_status_500),
		TEST(test_status_nonsense),
		TEST(test_status_negative),
		TEST(test_garbage),
		TEST(test_greeting),
		TEST(test_closes),
		TEST(test_half_a_line),
		TEST(test_half_a_line_and_silence),
		TEST(test_not_accepted),
		TEST(test_freed_inside_after_success),
		TEST(test_freed_inside_tcp),
		TEST(test_freed_inside_after_failure),
		TEST(test_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
