/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/qmp.h"
#include "runtimes/qemu/qmp_message.h"

#define GREETING                                                                            \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}}, " \
	"\"capabilities\": [\"oob\"]}}\r\n"
#define DEADLINE_NS 10000000000ULL

/* One client and the other end of its connection, which the test plays by hand. */
struct fixture {
	sd_event *event;
	struct weft_qmp *q;
	int peer;
	unsigned ready, events, closed, replies;
	int closed_r, reply_r;
	char last_event[64], text[640], result[256];
	bool free_on_event, free_on_reply;
};

static void on_ready(void *userdata)
{
	struct fixture *f = userdata;

	f->ready++;
}

static void on_event(void *userdata, const char *name, const json_t *data)
{
	struct fixture *f = userdata;
	const char *reason = json_string_value(json_object_get(data, "reason"));

	f->events++;
	snprintf(f->last_event, sizeof(f->last_event), "%s%s%s", name, reason ? " " : "",
		reason ? reason : "");
	if (f->free_on_event) {
		weft_qmp_free(f->q);
		f->q = NULL;
	}
}

static void on_closed(void *userdata, int r, const struct weft_err *err)
{
	struct fixture *f = userdata;

	f->closed++;
	f->closed_r = r;
	assert_int_equal(err->code, -r);
	snprintf(f->text, sizeof(f->text), "%s", err->msg);
}

static const struct weft_qmp_callbacks callbacks = {on_ready, on_event, on_closed};

static void on_reply(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct fixture *f = userdata;
	const char *status = json_string_value(json_object_get(result, "status"));

	f->replies++;
	f->reply_r = r;
	snprintf(f->result, sizeof(f->result), "%s", status ? status : "");
	if (r < 0)
		snprintf(f->text, sizeof(f->text), "%s", err->msg);
	if (f->free_on_reply) {
		weft_qmp_free(f->q);
		f->q = NULL;
	}
}

static void say(struct fixture *f, const char *text)
{
	assert_int_equal(weft_write_all(f->peer, text, strlen(text)), 0);
}

/* Run the loop until *count reaches n. */
static void await(struct fixture *f, const unsigned *count, unsigned n)
{
	uint64_t end = weft_now_ns() + DEADLINE_NS;

	while (*count < n && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_int_equal(*count, n);
}

/* Run it until nothing is left to do at once. */
static void settle(struct fixture *f)
{
	while (sd_event_run(f->event, 0) > 0)
		;
}

static void expect_line(struct fixture *f, const char *text)
{
	char buf[512];
	ssize_t n = recv(f->peer, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	assert_true(n > 0);
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static void connect_ms(struct fixture *f, unsigned ready_ms)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	f->peer = fd[1];
	assert_int_equal(weft_qmp_new(f->event, fd[0], ready_ms, &callbacks, f, &f->q), 0);
}

static void negotiate(struct fixture *f)
{
	connect_ms(f, 10000);
	say(f, GREETING);
	settle(f);
	expect_line(f, "{\"execute\":\"qmp_capabilities\",\"id\":0}\n");
	assert_int_equal(weft_qmp_execute(f->q, "quit", NULL, 1, NULL, NULL), -ENOTCONN);
	say(f, "{\"return\": {}, \"id\": 0}\r\n");
	await(f, &f->ready, 1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->peer = -1;
	assert_true(sd_event_new(&f->event) >= 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	weft_qmp_free(f->q);
	closep(&f->peer);
	sd_event_unref(f->event);
	free(f);
	return 0;
}

static void command(void **state)
{
	struct fixture *f = *state;
	json_t *args = json_pack("{s:i}", "time", 5);

	negotiate(f);
	assert_int_equal(weft_qmp_execute(f->q, "stop", args, 10000, on_reply, f), 0);
	expect_line(f, "{\"execute\":\"stop\",\"id\":1,\"arguments\":{\"time\":5}}\n");
	say(f, "{\"return\": {\"status\": \"running\"}, \"id\": 1}\n");
	await(f, &f->replies, 1);
	assert_int_equal(f->reply_r, 0);
	assert_string_equal(f->result, "running");

	assert_int_equal(weft_qmp_execute(f->q, "nonsense", NULL, 10000, on_reply, f), 0);
	say(f, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no nonsense\"}, "
	       "\"id\": 2}\n");
	await(f, &f->replies, 2);
	assert_int_equal(f->reply_r, -EREMOTEIO);
	assert_non_null(strstr(f->text, "no nonsense"));
	assert_non_null(strstr(f->text, "nonsense: "));
}

static void split_lines(void **state)
{
	struct fixture *f = *state;
	static const char all[] = GREETING "{\"return\": {}, \"id\": 0}\r\n"
					   "{\"event\": \"STOP\"}\r\n\r\n"
					   "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, "
					   "\"reason\": \"guest-reset\"}}\n";

	connect_ms(f, 10000);
	for (const char *c = all; *c; c++) {
		const char one[] = {*c, '\0'};

		say(f, one);
		settle(f);
	}
	assert_int_equal(f->ready, 1);
	assert_int_equal(f->events, 2);
	assert_string_equal(f->last_event, "SHUTDOWN guest-reset");

	/* and many in one piece */
	say(f, "{\"event\": \"STOP\"}\n{\"event\": \"RESUME\"}\n{\"event\": \"ST");
	await(f, &f->events, 4);
	say(f, "OP\"}\n");
	await(f, &f->events, 5);
}

static void out_of_order(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			weft_qmp_execute(f->q, "query-status", NULL, 10000, on_reply, f), 0);
	say(f, "{\"return\": {\"status\": \"c\"}, \"id\": 3}\n");
	await(f, &f->replies, 1);
	assert_string_equal(f->result, "c");
	/* To nobody: without id, unknown, twice, not a number. */
	say(f, "{\"return\": {}}\n{\"return\": {}, \"id\": 99}\n{\"return\": {}, \"id\": 3}\n"
	       "{\"return\": {}, \"id\": \"1\"}\n"
	       "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n");
	say(f, "{\"event\": \"RESUME\"}\n{\"return\": {\"status\": \"a\"}, \"id\": 1}\n");
	await(f, &f->replies, 2);
	assert_string_equal(f->result, "a");
	assert_int_equal(f->events, 1);
	say(f, "{\"return\": {\"status\": \"b\"}, \"id\": 2}\n");
	await(f, &f->replies, 3);
	assert_string_equal(f->result, "b");
	assert_int_equal(f->closed, 0);
}

static void garbage(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"SSH-2.0-OpenSSH\n",
		"[1, 2]\n",
		"{\"neither\": 1}\n",
		"{\"error\": {\"class\": 5}}\n",
		"{\"QMP\": 3}\n",
		"\xff\xfe\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		connect_ms(f, 10000);
		say(f, bad[i]);
		await(f, &f->closed, 1);
		assert_int_equal(f->closed_r, -EBADMSG);
		assert_int_equal(weft_qmp_execute(f->q, "quit", NULL, 1, NULL, NULL), -ENOTCONN);
		weft_qmp_free(TAKE_PTR(f->q));
		close(TAKE_FD(f->peer));
		f->closed = 0;
	}
	/* Later, with a command under way. */
	negotiate(f);
	assert_int_equal(weft_qmp_execute(f->q, "quit", NULL, 10000, on_reply, f), 0);
	say(f, "\x01\x02\n");
	await(f, &f->closed, 1);
	assert_int_equal(f->replies, 1);
	assert_int_equal(f->reply_r, -EBADMSG);
}

/* Before the greeting: what qemu had still to say to whoever was connected before. */
static void late_words(void **state)
{
	struct fixture *f = *state;

	connect_ms(f, 10000);
	say(f, "{\"return\": {}, \"id\": 7}\n{\"event\": \"STOP\"}\n" GREETING);
	settle(f);
	expect_line(f, "{\"execute\":\"qmp_capabilities\",\"id\":0}\n");
	assert_int_equal(f->closed, 0);
	assert_int_equal(f->events, 0);
	weft_qmp_free(TAKE_PTR(f->q));
	close(TAKE_FD(f->peer));

	connect_ms(f, 10000);
	for (unsigned i = 0; i < 100 && !f->closed; i++)
		say(f, "{\"event\": \"STOP\"}\n");
	await(f, &f->closed, 1);
	assert_int_equal(f->closed_r, -EBADMSG);
	assert_non_null(strstr(f->text, "did not greet first"));
}

static void huge_line(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) char *block = malloc(65537);
	unsigned i;

	memset(block, 'x', 65536);
	block[65536] = '\0';
	negotiate(f);
	for (i = 0; i < 64 && f->closed == 0; i++) {
		say(f, block);
		settle(f);
	}
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->closed_r, -EBADMSG);
	assert_true(i <= WEFT_QMP_LINE_MAX / 65536 + 1);
}

static void silence(void **state)
{
	struct fixture *f = *state;

	connect_ms(f, 30);
	await(f, &f->closed, 1);
	assert_int_equal(f->closed_r, -ETIMEDOUT);
	assert_non_null(strstr(f->text, "did not greet"));
	weft_qmp_free(TAKE_PTR(f->q));
	close(TAKE_FD(f->peer));

	f->closed = 0;
	connect_ms(f, 30);
	say(f, GREETING);
	await(f, &f->closed, 1);
	assert_int_equal(f->closed_r, -ETIMEDOUT);
	assert_non_null(strstr(f->text, "did not negotiate"));
	weft_qmp_free(TAKE_PTR(f->q));
	close(TAKE_FD(f->peer));

	/* A command's silence is its own; a late answer is nobody's. */
	f->closed = 0;
	negotiate(f);
	assert_int_equal(weft_qmp_execute(f->q, "query-status", NULL, 20, on_reply, f), 0);
	await(f, &f->replies, 1);
	assert_int_equal(f->reply_r, -ETIMEDOUT);
	assert_non_null(strstr(f->text, "query-status"));
	say(f, "{\"return\": {}, \"id\": 1}\n{\"event\": \"STOP\"}\n");
	await(f, &f->events, 1);
	assert_int_equal(f->replies, 1);
	assert_int_equal(f->closed, 0);
}

static void peer_goes(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	assert_int_equal(weft_qmp_execute(f->q, "quit", NULL, 10000, on_reply, f), 0);
	say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, \"reason\": "
	       "\"host-qmp-quit\"}}\n{\"ev");
	close(TAKE_FD(f->peer));
	weft_qmp_drain(f->q); /* without the loop */
	assert_int_equal(f->events, 1);
	assert_int_equal(f->closed, 1);
	assert_int_equal(f->closed_r, -ECONNRESET);
	assert_int_equal(f->replies, 1);
	assert_int_equal(f->reply_r, -ECONNRESET);
	weft_qmp_drain(f->q);
	assert_int_equal(f->closed, 1);
}

static void freed_within(void **state)
{
	struct fixture *f = *state;

	negotiate(f);
	f->free_on_event = true;
	assert_int_equal(weft_qmp_execute(f->q, "quit", NULL, 10000, on_reply, f), 0);
	say(f, "{\"event\": \"A\"}\n{\"event\": \"B\"}\n{\"return\": {}, \"id\": 1}\n");
	await(f, &f->events, 1);
	settle(f);
	assert_int_equal(f->events, 1);
	assert_int_equal(f->replies, 0);
	close(TAKE_FD(f->peer));

	f->free_on_event = false;
	f->free_on_reply = true;
	f->ready = 0;
	negotiate(f);
	for (int i = 0; i < 3; i++)
		assert_int_equal(weft_qmp_execute(f->q, "quit", NULL, 10000, on_reply, f), 0);
	close(TAKE_FD(f->peer));
	await(f, &f->replies, 1);
	settle(f);
	assert_int_equal(f->replies, 1); /* of three under way, one was told and freed it */
	assert_int_equal(f->closed, 0);
}

static void many_commands(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	negotiate(f);
	while (weft_qmp_execute(f->q, "query-status", NULL, 10000, on_reply, f) == 0)
		assert_true(++n < 1000);
	assert_int_equal(
		weft_qmp_execute(f->q, "query-status", json_object(), 10000, on_reply, f), -EBUSY);
	say(f, "{\"return\": {}, \"id\": 1}\n");
	await(f, &f->replies, 1);
	assert_int_equal(weft_qmp_execute(f->q, "query-status", NULL, 10000, on_reply, f), 0);
}

static void long_path(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/weft-test-qmp-XXXXXX", deep[PATH_MAX], path[PATH_MAX + 8];
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_(closep) int listener = -1, d = -1;
	struct weft_err err = {};

	assert_non_null(mkdtemp(dir));
	snprintf(deep, sizeof(deep), "%s/%0100d/%0100d", dir, 1, 2);
	assert_int_equal(weft_mkdir_p(deep, 0700), 0);
	snprintf(path, sizeof(path), "%s/qmp", deep);
	assert_int_equal(
		weft_qmp_connect(f->event, path, 1000, &callbacks, f, &f->q, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));

	assert_int_equal(chdir(deep), 0);
	strcpy(sa.sun_path, "qmp");
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(
		weft_qmp_connect(f->event, path, 1000, &callbacks, f, &f->q, &err), -ECONNREFUSED);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(weft_qmp_connect(f->event, path, 1000, &callbacks, f, &f->q, &err), 0);
	f->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	say(f, GREETING "{\"return\": {}, \"id\": 0}\n");
	await(f, &f->ready, 1);
	assert_int_equal(weft_remove_tree(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(command, setup, teardown),
		cmocka_unit_test_setup_teardown(split_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(out_of_order, setup, teardown),
		cmocka_unit_test_setup_teardown(garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(late_words, setup, teardown),
		cmocka_unit_test_setup_teardown(huge_line, setup, teardown),
		cmocka_unit_test_setup_teardown(silence, setup, teardown),
		cmocka_unit_test_setup_teardown(peer_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_within, setup, teardown),
		cmocka_unit_test_setup_teardown(many_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(long_path, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
