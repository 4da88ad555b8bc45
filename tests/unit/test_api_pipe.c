/* SPDX-License-Identifier: Apache-2.0 */
/* Answers out of a pipe, over a real socket: when they begin, go on and end, from both sides. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/api/server.h"
#include "ctrl/base/util.h"
#include "ctrl/engine/events.h"
#include "tests/lib/fake_engine.h"

static struct {
	char dir[32], path[64];
	sd_event *event;
	struct weft_api *api;
	int in;     /* the writer's end of the pipe */
	int client; /* the connection */
	char got[1 << 20];
	size_t size;
} t;

static int setup(void **state)
{
	struct weft_err err = {0};

	(void)state;
	memset(&fake_engine, 0, sizeof(fake_engine));
	memset(&t, 0, sizeof(t));
	strcpy(t.dir, "/tmp/weft-api-pipe-XXXXXX");
	if (!mkdtemp(t.dir) || sd_event_new(&t.event) < 0 ||
		weft_events_open(NULL, &fake_engine.events) < 0)
		return -1;
	snprintf(t.path, sizeof(t.path), "%s/s", t.dir);
	return weft_api_open(t.event,
		&(struct weft_api_config){.socket = t.path, .each = {8, 8, 8, 30}},
		(struct weft_engine *)&t, &t.api, &err);
}

static int teardown(void **state)
{
	(void)state;
	weft_api_free(t.api);
	weft_events_free(fake_engine.events);
	sd_event_unref(t.event);
	if (t.in > 0)
		close(t.in);
	if (t.client > 0)
		close(t.client);
	return rmdir(t.dir);
}

static bool writer_is_alone(void)
{
	struct pollfd p = {.fd = t.in};

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

static void turn(void)
{
	ssize_t n;

	assert_true(sd_event_run(t.event, 10000) >= 0);
	if (t.client <= 0)
		return;
	while ((n = recv(t.client, t.got + t.size, sizeof(t.got) - 1 - t.size, MSG_DONTWAIT)) > 0)
		t.size += (size_t)n;
	t.got[t.size] = '\0';
}

#define AWAIT(condition)                                                         \
	do {                                                                     \
		uint64_t deadline_ = weft_now_ns() + 10000000000ULL;             \
		while (!(condition)) {                                           \
			if (weft_now_ns() > deadline_)                           \
				fail_msg("%s; got: %.2000s", #condition, t.got); \
			turn();                                                  \
		}                                                                \
	} while (0)

static void ask(void)
{
	static const char request[] = "GET /v1/trace/shop.web?duration_ms=700 HTTP/1.1\r\n"
				      "Host: localhost\r\n\r\n";
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	fake_engine.pipe = fds[0];
	t.in = fds[1];
	strcpy(un.sun_path, t.path);
	t.client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(t.client, (void *)&un, sizeof(un)), 0);
	assert_int_equal(send(t.client, request, strlen(request), 0), (ssize_t)strlen(request));
	AWAIT(fake_engine.calls == 1);
	assert_string_equal(fake_engine.asked, "trace shop.web 700 1000");
}

static void put(const char *text)
{
	assert_int_equal(write(t.in, text, strlen(text)), (ssize_t)strlen(text));
}

static void end_writing(void)
{
	close(t.in);
	t.in = 0;
}

static bool answer_over(void)
{
	return strstr(t.got, "\r\n0\r\n") != NULL;
}

static void lines_as_they_come(void **state)
{
	(void)state;
	ask();
	put("{\"n\": 1}");
	for (int i = 0; i < 5; i++)
		turn();
	assert_int_equal(t.size, 0); /* not a line yet */
	put("\n");
	AWAIT(strstr(t.got, "{\"n\": 1}\n"));
	assert_non_null(strstr(t.got, "HTTP/1.1 200"));
	assert_non_null(strstr(t.got, "application/x-ndjson"));
	put("{\"n\": 2}\n");
	AWAIT(strstr(t.got, "{\"n\": 2}\n"));
	assert_false(answer_over());
	put("{\"n\": 3}\n");
	end_writing();
	AWAIT(strstr(t.got, "{\"n\": 3}\n") && answer_over());
}

/* More than a pipe holds, and more than is sent at a time. */
static void long_lines(void **state)
{
	static char line[300000];
	size_t sent = 0;

	(void)state;
	ask();
	memset(line, 'x', sizeof(line));
	memcpy(line, "{\"n\": \"", 7);
	memcpy(line + sizeof(line) - 3, "\"}\n", 3);
	fcntl(t.in, F_SETFL, O_NONBLOCK);
	for (uint64_t deadline = weft_now_ns() + 10000000000ULL; sent < sizeof(line); turn()) {
		ssize_t n = write(t.in, line + sent, sizeof(line) - sent);

		assert_true(n > 0 || errno == EAGAIN);
		assert_true(weft_now_ns() < deadline);
		sent += n > 0 ? (size_t)n : 0;
	}
	end_writing();
	AWAIT(answer_over());
	assert_true(t.size > sizeof(line));
}

static void a_first_line_that_is_an_error(void **state)
{
	(void)state;
	ask();
	put("{\"error\": {\"code\": \"unsupported\", \"message\": \"no tracepoint\"}}\n");
	end_writing();
	AWAIT(strstr(t.got, "no tracepoint"));
	assert_non_null(strstr(t.got, "HTTP/1.1 422"));
	assert_non_null(strstr(t.got, "application/json"));
}

static void a_writer_that_dies_first(void **state)
{
	(void)state;
	ask();
	end_writing();
	AWAIT(strstr(t.got, "broke off before it began"));
	assert_non_null(strstr(t.got, "HTTP/1.1 500"));
}

static void the_client_goes_away(void **state)
{
	(void)state;
	ask();
	put("{}\n");
	AWAIT(strstr(t.got, "{}\n"));
	assert_false(writer_is_alone());
	close(t.client);
	t.client = 0;
	AWAIT(writer_is_alone());
}

static void the_client_goes_before_there_is_an_answer(void **state)
{
	(void)state;
	ask();
	close(t.client);
	t.client = 0;
	AWAIT(writer_is_alone());
}

static void the_server_ends(void **state)
{
	(void)state;
	ask();
	put("{}\n");
	AWAIT(strstr(t.got, "{}\n"));
	weft_api_free(t.api);
	t.api = NULL;
	assert_true(writer_is_alone());
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(lines_as_they_come),
		TEST(long_lines),
		TEST(a_first_line_that_is_an_error),
		TEST(a_writer_that_dies_first),
		TEST(the_client_goes_away),
		TEST(the_client_goes_before_there_is_an_answer),
		TEST(the_server_ends),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("api_pipe", tests, NULL, NULL);
}
