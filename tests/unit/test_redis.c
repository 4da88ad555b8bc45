/* SPDX-License-Identifier: Apache-2.0 */
/* Replies of Redis, and commands to a real server. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "ctrl/health/redis.h"

static int parse(const char *text, struct weft_redis_reply *ret)
{
	return weft_redis_parse(text, strlen(text), ret);
}

static void replies(void **state)
{
	static const struct {
		const char *text;
		int want;
	} rows[] = {
		{"", -EAGAIN},
		{"+OK", -EAGAIN},
		{"+OK\r\n", 5},
		{"-ERR no\r\n", 9},
		{":12\r\n", 5},
		{"$3\r\nabc\r\n", 9},
		{"$3\r\nabc\r\nmore", 9},
		{"$3\r\nabc", -EAGAIN},
		{"$0\r\n\r\n", 6},
		{"$-1\r\n", 5},
		{"$3\r\nabcd\r\n", -EBADMSG},
		{"$x\r\n", -EBADMSG},
		{"$99999999999999999999\r\n", -E2BIG},
		{"$4000000000\r\n", -E2BIG},
		{"*1\r\n", -EBADMSG},
		{"\r\n", -EBADMSG},
		{"+OK\n", -EBADMSG},
	};
	struct weft_redis_reply reply;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (parse(rows[i].text, &reply) != rows[i].want)
			fail_msg("%s: %d", rows[i].text, parse(rows[i].text, &reply));
	assert_int_equal(parse("$3\r\nabc\r\n", &reply), 9);
	assert_int_equal(reply.kind, '$');
	assert_int_equal(reply.text, 4);
	assert_int_equal(reply.size, 3);
}

static void info(void **state)
{
	static const char text[] = "# Replication\r\nrole:slave\r\nslave_repl_offset:42\r\n"
				   "master_repl_offset:x\r\n";
	uint64_t n = 0;

	(void)state;
	assert_int_equal(weft_redis_info_u64(text, "slave_repl_offset", &n), 0);
	assert_int_equal(n, 42);
	assert_int_equal(weft_redis_info_u64(text, "repl_offset", &n), -ENOENT);
	assert_int_equal(weft_redis_info_u64(text, "master_repl_offset", &n), -EBADMSG);
}

static void what_lasts(void **state)
{
	(void)state;
	assert_true(weft_redis_lasting("NOAUTH Authentication required."));
	assert_true(weft_redis_lasting("NOPERM this user has no permissions"));
	assert_false(weft_redis_lasting("BUSY Redis is busy running a script."));
	assert_false(weft_redis_lasting("LOADING Redis is loading the dataset in memory"));
	assert_false(weft_redis_lasting("ERR something"));
	assert_false(weft_redis_lasting(""));
}

struct answer {
	bool there;
	int r;
	char text[640];
};

static void on_reply(void *userdata, int r, const char *text, const struct weft_err *err)
{
	struct answer *a = userdata;

	a->there = true;
	a->r = r;
	snprintf(a->text, sizeof(a->text), "%s", r < 0 ? err->msg : text);
}

static struct answer ask(sd_event *event, struct weft_redis *redis, const char *const *argv)
{
	struct answer a = {0};

	assert_int_equal(weft_redis_call(redis, argv, 10000, on_reply, &a), 0);
	assert_int_equal(weft_redis_call(redis, argv, 1000, on_reply, &a), -EBUSY);
	while (!a.there)
		assert_true(sd_event_run(event, UINT64_MAX) >= 0);
	return a;
}

/* A port that nobody has, and a server on it. */
static pid_t serve(uint16_t *ret_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char port[8];
	pid_t pid;

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	*ret_port = ntohs(sa.sin_port);
	snprintf(port, sizeof(port), "%u", *ret_port);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1",
			"--save", "", "--logfile", "/dev/null", "--dir", "/tmp", NULL);
		_exit(127);
	}
	return pid;
}

/* Each is an answer, after which the connection goes on: rights are changed while it is open. */
static void refused(sd_event *event, struct weft_redis *redis)
{
	static const char *const keep[] = {
		"ACL", "SETUSER", "default", "resetpass", ">secret", "-get", NULL};
	static const char *const wrong[] = {"AUTH", "guess", NULL}, *const get[] = {
									    "GET", "x", NULL};
	static const char *const none[] = {"NOCOMMAND", NULL}, *const ping[] = {"PING", NULL};
	static const char *const again[] = {"ACL", "SETUSER", "default", "nopass", "+get", NULL};
	static const char *const all[] = {"RESET", NULL};

	assert_string_equal(ask(event, redis, keep).text, "OK");
	assert_int_equal(ask(event, redis, wrong).r, -EKEYREJECTED);
	assert_int_equal(ask(event, redis, get).r, -EKEYREJECTED); /* NOPERM */
	assert_int_equal(ask(event, redis, none).r, -EKEYREJECTED);
	assert_string_equal(ask(event, redis, ping).text, "PONG");
	assert_string_equal(ask(event, redis, again).text, "OK");
	assert_int_equal(ask(event, redis, get).r, 0);
	assert_string_equal(ask(event, redis, keep).text, "OK");
	assert_string_equal(ask(event, redis, all).text, "RESET");  /* as one that comes anew */
	assert_int_equal(ask(event, redis, ping).r, -EKEYREJECTED); /* NOAUTH */
}

static void a_server(void **state)
{
	static const char *const ping[] = {"PING", NULL}, *const bad[] = {"GET", NULL};
	static const char *const set[] = {"SET", "a key", "its value", NULL};
	static const char *const get[] = {"GET", "a key", NULL};
	struct in_addr addr = {htonl(INADDR_LOOPBACK)};
	_cleanup_(weft_redis_freep) struct weft_redis *redis = NULL;
	sd_event *event = NULL;
	struct answer a;
	uint16_t port;
	pid_t pid;

	(void)state;
	assert_true(sd_event_new(&event) >= 0);
	pid = serve(&port);
	assert_int_equal(weft_redis_new(event, addr, port, &redis), 0);
	do {
		a = ask(event, redis, ping);
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	} while (a.r == -ECONNREFUSED);
	assert_string_equal(a.text, "PONG");
	assert_string_equal(ask(event, redis, set).text, "OK");
	assert_string_equal(ask(event, redis, get).text, "its value");
	a = ask(event, redis, bad);
	assert_int_equal(a.r, -EIO);
	assert_non_null(strstr(a.text, "GET: ERR wrong number"));
	assert_string_equal(ask(event, redis, get).text, "its value");
	refused(event, redis);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	a = ask(event, redis, get);
	assert_true(a.r < 0 && a.r != -EIO && a.r != -EKEYREJECTED);
	redis = (weft_redis_free(redis), NULL);
	sd_event_unref(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies),
		cmocka_unit_test(info),
		cmocka_unit_test(what_lasts),
		cmocka_unit_test(a_server),
	};

	return cmocka_run_group_tests_name("redis", tests, NULL, NULL);
}
