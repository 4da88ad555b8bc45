/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/containerd.pb-c.h"
#include "runtimes/grpc/frame.h"
#include "runtimes/grpc/grpc.h"
#include "tests/lib/grpc_server.h"

#define WAIT_NS 10000000000ULL

struct answer {
	unsigned ends, messages;
	int status;
	char message[256], key[64];
	bool has_reply;
	struct weft_grpc_call *call;
	struct weft_grpc *free_on_end; /* from within the callback */
	bool cancel_on_message, echo_on_message;
};

static struct {
	char path[64];
	sd_event *loop;
	struct test_grpc_server *server;
	struct weft_grpc *grpc;
	unsigned up, down;
} f;

static void on_connection(void *userdata, bool up)
{
	(void)userdata;
	if (up)
		f.up++;
	else
		f.down++;
}

static struct weft_grpc *new_client(void)
{
	static const char *const metadata[] = {"containerd-namespace", "weft-test", NULL};
	const struct weft_grpc_config config = {
		.event = f.loop,
		.socket = f.path,
		.metadata = metadata,
		.max_message = 1 << 20,
		.on_connection = on_connection,
	};
	struct weft_grpc *g = NULL;

	assert_int_equal(weft_grpc_new(&config, &g), 0);
	return g;
}

static int setup(void **state)
{
	(void)state;
	f.up = f.down = 0;
	snprintf(f.path, sizeof(f.path), "/tmp/weft-test-grpc-%d.sock", getpid());
	assert_true(sd_event_new(&f.loop) >= 0);
	f.server = test_grpc_server_new(f.loop, f.path);
	f.grpc = new_client();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	weft_grpc_free(f.grpc);
	test_grpc_server_free(f.server);
	sd_event_unref(f.loop);
	return 0;
}

static void on_end(void *userdata, const struct weft_grpc_result *res)
{
	const Ctrd__Label *l = (const Ctrd__Label *)res->reply;
	struct answer *a = userdata;

	a->ends++;
	a->call = NULL;
	a->status = res->status;
	a->has_reply = l != NULL;
	snprintf(a->message, sizeof(a->message), "%s", res->message);
	if (l)
		snprintf(a->key, sizeof(a->key), "%s", l->key);
	if (a->free_on_end) {
		weft_grpc_free(a->free_on_end);
		f.grpc = NULL;
	}
}

static void send_label(struct weft_grpc_call *call, const char *key, bool last)
{
	Ctrd__Label l = CTRD__LABEL__INIT;

	l.key = (char *)(uintptr_t)key;
	weft_grpc_send(call, &l.base, last);
}

static void on_message(void *userdata, const ProtobufCMessage *m)
{
	struct answer *a = userdata;

	a->messages++;
	snprintf(a->key, sizeof(a->key), "%s", ((const Ctrd__Label *)m)->key);
	if (a->cancel_on_message) {
		weft_grpc_cancel(a->call);
		a->call = NULL;
	}
	if (a->echo_on_message)
		send_label(a->call, "again", a->messages == 10);
}

static void begin(struct answer *a, const char *method, unsigned timeout_ms, bool streaming)
{
	const struct weft_grpc_spec spec = {
		.method = method,
		.reply = &ctrd__label__descriptor,
		.timeout_ms = timeout_ms,
		.on_message = streaming ? on_message : NULL,
		.on_end = on_end,
		.userdata = a,
	};

	assert_int_equal(weft_grpc_begin(f.grpc, &spec, &a->call), 0);
}

static void call(struct answer *a, const char *method, unsigned timeout_ms, bool streaming)
{
	begin(a, method, timeout_ms, streaming);
	send_label(a->call, "hello", true);
}

static void turn(void)
{
	assert_true(sd_event_run(f.loop, 20000) >= 0);
}

#define turn_until(condition)                                \
	do {                                                 \
		uint64_t end_ = weft_now_ns() + WAIT_NS;     \
		while (!(condition) && weft_now_ns() < end_) \
			turn();                              \
		assert_true(condition);                      \
	} while (0)

/* --- frames --------------------------------------------------------------------------------------
 */

static void test_frames(void **state)
{
	struct weft_grpc_buf b = {};
	const uint8_t *data;
	uint8_t header[5];
	size_t size;

	(void)state;
	assert_int_equal(weft_grpc_frame_next(&b, 100, &data, &size), 0);
	weft_grpc_frame_header(header, 3);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(weft_grpc_buf_add(&b, header + i, 1), 0);
		assert_int_equal(weft_grpc_frame_next(&b, 100, &data, &size), 0);
	}
	assert_int_equal(weft_grpc_buf_add(&b, "abc\0\0\0\0\0\0", 8), 0);
	assert_int_equal(weft_grpc_frame_next(&b, 100, &data, &size), 1);
	assert_int_equal(size, 3);
	assert_memory_equal(data, "abc", 3);
	assert_int_equal(weft_grpc_frame_next(&b, 100, &data, &size), 1);
	assert_int_equal(size, 0);
	assert_int_equal(weft_grpc_buf_size(&b), 0);
	weft_grpc_frame_header(header, 101);
	assert_int_equal(weft_grpc_buf_add(&b, header, 5), 0);
	assert_int_equal(weft_grpc_frame_next(&b, 100, &data, &size), -EMSGSIZE);
	weft_grpc_buf_drop(&b, 5);
	assert_int_equal(weft_grpc_buf_add(&b, "\1\0\0\0\0", 5), 0);
	assert_int_equal(weft_grpc_frame_next(&b, 100, &data, &size), -EBADMSG);
	weft_grpc_buf_free(&b);
}

static void test_headers(void **state)
{
	char buf[8];

	(void)state;
	assert_int_equal(weft_grpc_parse_status((const uint8_t *)"14", 2), 14);
	assert_int_equal(weft_grpc_parse_status((const uint8_t *)"", 0), -EBADMSG);
	assert_int_equal(weft_grpc_parse_status((const uint8_t *)"-1", 2), -EBADMSG);
	assert_int_equal(weft_grpc_parse_status((const uint8_t *)"99999", 5), -EBADMSG);
	weft_grpc_parse_message(buf, sizeof(buf), (const uint8_t *)"a%20b%0A", 8);
	assert_string_equal(buf, "a b");
	weft_grpc_parse_message(buf, sizeof(buf), (const uint8_t *)"%zz%4", 5);
	assert_string_equal(buf, "%zz%4");
	weft_grpc_parse_message(buf, sizeof(buf), (const uint8_t *)"much too long", 13);
	assert_string_equal(buf, "much to");
	assert_int_equal(weft_grpc_errno(5), ENOENT);
	assert_int_equal(weft_grpc_errno(14), ECONNREFUSED);
	assert_int_equal(weft_grpc_errno(77), EIO);
	assert_int_equal(weft_grpc_errno(-1), EIO);
}

/* --- calls ---------------------------------------------------------------------------------------
 */

static void test_unary(void **state)
{
	struct answer a = {};

	(void)state;
	call(&a, "/test/Echo", 5000, false);
	assert_int_equal(a.ends, 0);
	turn_until(a.ends);
	assert_int_equal(a.status, 0);
	assert_true(a.has_reply);
	assert_string_equal(a.key, "hello");
	assert_string_equal(test_grpc_server_stats(f.server)->namespace_, "weft-test");
	assert_string_equal(test_grpc_server_stats(f.server)->content_type, "application/grpc");
	assert_int_equal(f.up, 1);
	assert_int_equal(weft_grpc_peer(f.grpc), getpid());
}

static void test_many(void **state)
{
	static struct answer a[300];
	unsigned ends = 0;

	(void)state;
	memset(a, 0, sizeof(a));
	for (unsigned i = 0; i < 300; i++)
		call(&a[i], i % 3 ? "/test/Echo" : "/test/Fail", 10000, false);
	for (uint64_t end = weft_now_ns() + WAIT_NS; ends < 300 && weft_now_ns() < end;) {
		turn();
		ends = 0;
		for (unsigned i = 0; i < 300; i++)
			ends += a[i].ends;
	}
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(a[i].ends, 1);
		assert_int_equal(a[i].status, i % 3 ? 0 : 5);
	}
	assert_int_equal(test_grpc_server_stats(f.server)->connections, 1);
}

static void test_errors(void **state)
{
	static const struct {
		const char *method;
		int status;
		const char *says;
	} cases[] = {
		{"/test/Fail", WEFT_GRPC_NOT_FOUND, "no such \"thing\""},
		{"/test/None", WEFT_GRPC_INTERNAL, "no answer"},
		{"/test/NoStatus", WEFT_GRPC_UNAVAILABLE, "without a status"},
		{"/test/Http", WEFT_GRPC_UNKNOWN, "HTTP 503"},
		{"/test/Huge", WEFT_GRPC_RESOURCE_EXHAUSTED, "larger"},
		{"/test/Garbage", WEFT_GRPC_INTERNAL, "malformed"},
		{"/test/Compressed", WEFT_GRPC_INTERNAL, "malformed"},
		{"/test/Thrice", WEFT_GRPC_INTERNAL, "more than one"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct answer a = {};

		call(&a, cases[i].method, 5000, false);
		turn_until(a.ends);
		if (a.status != cases[i].status || !strstr(a.message, cases[i].says))
			fail_msg("%s: %d %s", cases[i].method, a.status, a.message);
		assert_false(a.has_reply);
	}
	assert_int_equal(f.down, 0);
}

static void test_deadline(void **state)
{
	struct answer a = {}, b = {};
	uint64_t begun = weft_now_ns();

	(void)state;
	call(&a, "/test/Hang", 100, false);
	call(&b, "/test/Hang", 5000, false);
	turn_until(a.ends);
	assert_true(weft_now_ns() - begun >= 95000000ULL);
	assert_int_equal(a.status, WEFT_GRPC_DEADLINE_EXCEEDED);
	turn_until(test_grpc_server_stats(f.server)->resets == 1);
	assert_int_equal(test_grpc_server_stats(f.server)->reset_code, 8); /* CANCEL */
	assert_int_equal(b.ends, 0);
	weft_grpc_cancel(b.call);
	turn_until(test_grpc_server_stats(f.server)->resets == 2);
	assert_int_equal(b.ends, 0);
}

static void test_streams(void **state)
{
	struct answer a = {}, b = {.echo_on_message = true}, c = {.cancel_on_message = true},
		      d = {};

	(void)state;
	call(&a, "/test/Thrice", 0, true);
	turn_until(a.ends);
	assert_int_equal(a.messages, 3);
	assert_int_equal(a.status, 0);
	begin(&b, "/test/Echo", 0, true);
	send_label(b.call, "first", false);
	turn_until(b.ends);
	assert_int_equal(b.messages, 11);
	assert_int_equal(b.status, 0);
	call(&c, "/test/Thrice", 0, true);
	turn_until(c.messages);
	turn();
	assert_int_equal(c.messages, 1);
	assert_int_equal(c.ends, 0);
	call(&d, "/test/Flood", 0, true);
	turn_until(d.ends);
	assert_int_equal(d.messages, 64);
}

static void test_free_in_callback(void **state)
{
	struct answer a = {.free_on_end = f.grpc}, b = {}, c = {};

	(void)state;
	call(&b, "/test/Hang", 5000, false);
	call(&a, "/test/Echo", 5000, false);
	call(&c, "/test/Echo", 5000, false);
	turn_until(a.ends);
	turn();
	assert_int_equal(a.status, 0);
	assert_int_equal(b.ends, 0);
	assert_int_equal(c.ends, 0);
}

/* --- connection ----------------------------------------------------------------------------------
 */

static void test_broken(void **state)
{
	struct answer a = {}, b = {}, c = {};

	(void)state;
	call(&a, "/test/Hang", 0, false);
	call(&b, "/test/Hang", 0, true);
	turn_until(f.up == 1 && test_grpc_server_stats(f.server)->requests == 2);
	test_grpc_server_drop(f.server);
	turn_until(f.down == 1);
	assert_int_equal(a.ends, 1);
	assert_int_equal(b.ends, 1);
	assert_int_equal(a.status, WEFT_GRPC_UNAVAILABLE);
	assert_int_equal(b.status, WEFT_GRPC_UNAVAILABLE);
	assert_non_null(strstr(a.message, f.path));
	turn_until(f.up == 2); /* by itself */
	call(&c, "/test/Echo", 5000, false);
	turn_until(c.ends);
	assert_int_equal(c.status, 0);
	assert_int_equal(test_grpc_server_stats(f.server)->connections, 2);
}

static void test_nobody_there(void **state)
{
	struct answer a = {}, b = {};

	(void)state;
	test_grpc_server_free(f.server);
	f.server = NULL;
	call(&a, "/test/Echo", 5000, false);
	turn_until(a.ends);
	assert_int_equal(a.status, WEFT_GRPC_UNAVAILABLE);
	call(&a, "/test/Echo", 5000, false);
	assert_int_equal(a.ends, 1); /* never from within the call */
	turn_until(a.ends == 2);
	assert_int_equal(a.status, WEFT_GRPC_UNAVAILABLE);
	assert_non_null(strstr(a.message, "No such file"));
	f.server = test_grpc_server_new(f.loop, f.path);
	call(&b, "/test/Echo", 5000, false); /* need not wait for the back-off */
	turn_until(b.ends);
	assert_int_equal(b.status, 0);
}

static void test_goaway(void **state)
{
	struct answer a = {}, b = {};

	(void)state;
	call(&a, "/test/Hang", 0, false);
	turn_until(test_grpc_server_stats(f.server)->requests == 1);
	test_grpc_server_goaway(f.server);
	turn_until(a.ends);
	assert_int_equal(a.status, WEFT_GRPC_UNAVAILABLE);
	call(&b, "/test/Echo", 5000, false);
	turn_until(b.ends);
	assert_int_equal(b.status, 0);
}

static void test_garbage(void **state)
{
	struct answer a = {}, b = {};

	(void)state;
	call(&a, "/test/Hang", 0, false);
	turn_until(test_grpc_server_stats(f.server)->requests == 1);
	test_grpc_server_garbage(f.server);
	turn_until(a.ends);
	assert_int_equal(a.status, WEFT_GRPC_UNAVAILABLE);
	call(&b, "/test/Echo", 5000, false);
	turn_until(b.ends);
	assert_int_equal(b.status, 0);
}

static void test_long_path(void **state)
{
	struct weft_grpc_config config = {.event = f.loop};
	struct weft_grpc *g = NULL;
	char path[200];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[199] = '\0';
	config.socket = path;
	assert_int_equal(weft_grpc_new(&config, &g), -ENAMETOOLONG);
	assert_null(g);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_headers),
		T(test_unary),
		T(test_many),
		T(test_errors),
		T(test_deadline),
		T(test_streams),
		T(test_free_in_callback),
		T(test_broken),
		T(test_nobody_there),
		T(test_goaway),
		T(test_garbage),
		T(test_long_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
