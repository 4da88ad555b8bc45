/* SPDX-License-Identifier: Apache-2.0 */
/* weft swap: what its progress looks like, and that nothing that befalls the daemon, the terminal
 * or the person in front of it leads it astray. */
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/cli.h"
#include "tests/lib/cli_run.h"

#define HEAD                                                                                     \
	"\"id\": \"7f3a\", \"service\": \"shop.redis\", \"from\": \"container\", \"to\": "       \
	"\"unikernel\", \"strategy\": \"linear\", \"duration_ms\": 20000, \"drain_ms\": 30000, " \
	"\"shift_ms\": 20000, "                                                                  \
	"\"started_ms\": 1000"
/* A phase that has begun began far in the future, so that the text does not depend on the clock. */
#define BEGUN(name, detail)  \
	"{\"name\": \"" name \
	"\", \"started_ms\": 4102444800000, \"ended_ms\": null, \"detail\": \"" detail "\"}"
#define ENDED(name, ms, detail)                                             \
	"{\"name\": \"" name "\", \"started_ms\": 1000, \"ended_ms\": 1" ms \
	", \"detail\": \"" detail "\"}"
#define SWAP(state, more, ...)                                                      \
	{                                                                           \
		.status = 200, .body = "{" HEAD ", \"state\": \"" state "\", " more \
				       "\"phases\": [" __VA_ARGS__ "]}"             \
	}
#define PREPARED ENDED("prepare", "100", "image sha256:9c1 3.1 MiB cached")
#define STARTED  PREPARED "," ENDED("start-new", "400", "shop.redis.1 on edge-1, qemu pid 4121")
#define WARMED   STARTED "," ENDED("warm", "200", "tcp 6379 ready after 2 probes")
#define SHIFTED  WARMED "," ENDED("shift", "900", "")
#define DRAINED  SHIFTED "," ENDED("drain", "300", "no flows left")
#define DONE                                                                        \
	SWAP("done", "\"weight_new\": 1.0, \"flows_old\": 0, \"ended_ms\": 7400, ", \
		DRAINED "," ENDED("stop-old", "100", "shop.redis.0 removed"))
#define SHIFTING(w) SWAP("shift", "\"weight_new\": " w ", ", WARMED "," BEGUN("shift", ""))
#define EFFECT(requests, failed, p99)                                                        \
	"{\"requests\": " requests ", \"failed\": " failed ", \"p50_us\": 100, \"p90_us\": " \
	"150, \"p99_us\": " p99 ", \"cpu_ms\": 10}"
#define SHIFTING_SO_FAR                                                          \
	SWAP("shift", "\"weight_new\": 0.62, ",                                  \
		WARMED ",{\"name\": \"shift\", \"started_ms\": 4102444800000, "  \
		       "\"ended_ms\": null, \"detail\": \"\", \"old\": " EFFECT( \
			       "9000", "0", "200") ", \"new\": " EFFECT("60", "3", "212") "}")
#define DRAINING(n) \
	SWAP("drain", "\"weight_new\": 1.0, \"flows_old\": " n ", ", SHIFTED "," BEGUN("drain", ""))
#define ROLLED_BACK                                                                                \
	SWAP("rolled-back",                                                                        \
		"\"error\": {\"code\": \"timeout\", \"message\": \"instance shop.redis.1 did not " \
		"become ready in 30s\", \"hint\": \"weft logs shop.redis.1 --tail 20\"}, ",        \
		STARTED "," ENDED("warm", "9000", "") "," ENDED("rollback", "100", ""))

static const struct fake_reply whole[] = {
	SWAP("prepare", "", BEGUN("prepare", "")),
	SWAP("start-new", "", PREPARED "," BEGUN("start-new", "")),
	SHIFTING("0.05"),
	SHIFTING("0.6"),
	SHIFTING("0.62"),
	DRAINING("12"),
	DONE,
};

static const char whole_text[] =
	"swap 7f3a  shop.redis  container → unikernel\n"
	"  ▸ prepare                                               0.0s\n"
	"  ✓ prepare     image sha256:9c1 3.1 MiB cached           0.1s\n"
	"  ▸ start-new                                             0.0s\n"
	"  ✓ start-new   shop.redis.1 on edge-1, qemu pid 4121     0.4s\n"
	"  ✓ warm        tcp 6379 ready after 2 probes             0.2s\n"
	"  ▸ shift       new 5% █░░░░░░░░░░░░░░░░░░░ 95% old       0.0s/20s\n"
	"  ▸ shift       new 60% ████████████░░░░░░░░ 40% old      0.0s/20s\n"
	"  ✓ shift                                                 0.9s\n"
	"  ▸ drain       12 flows left                             0.0s/30s\n"
	"  ✓ drain       no flows left                             0.3s\n"
	"  ✓ stop-old    shop.redis.0 removed                      0.1s\n"
	"swap 7f3a: done, shop.redis runs as unikernel now, after 6.4s\n";

#define ROUTE(req, list)                                \
	{                                               \
		req, list, sizeof(list) / sizeof(*list) \
	}

static void watching_appends_lines(void **state)
{
	static const char posted[] =
		"POST /v1/swaps {\"service\":\"shop.redis\",\"to\":\"unikernel\","
		"\"strategy\":\"linear\",\"duration_ms\":20000,\"drain_ms\":30000}\n";
	const struct fake_reply created[] = {{.status = 201, .body = whole[0].body}};
	const struct fake_route routes[] = {
		ROUTE("POST /v1/swaps", created), ROUTE("GET /v1/swaps/7f3a", whole), {0}};
	struct cli_run r = cli_run(routes, "swap start shop.redis --to unikernel --strategy linear "
					   "--duration 20 --drain 30s --watch");

	(void)state;
	assert_run(&r, 0, whole_text, "");
	assert_int_equal(strncmp(r.requests, posted, strlen(posted)), 0);
	cli_run_done(&r);
	r = cli_run(routes, "swap watch 7f3a");
	assert_run(&r, 0, whole_text, "");
	cli_run_done(&r);
}

static void the_end_alone_is_enough(void **state)
{
	const struct fake_reply created[] = {{.status = 201, .body = whole[0].body}};
	const struct fake_reply states[] = {SHIFTING("0.5"), DONE};
	const struct fake_route routes[] = {
		ROUTE("POST /v1/swaps", created), ROUTE("GET /v1/swaps/7f3a", states), {0}};
	struct cli_run r = cli_run(routes, "swap start shop.redis --to unikernel --wait");
	char *want;

	(void)state;
	assert_run(&r, 0, "swap 7f3a: done, shop.redis runs as unikernel now, after 6.4s\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "swap start shop.redis --to unikernel --wait -o name");
	assert_run(&r, 0, "7f3a\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "swap start shop.redis --to unikernel --wait -o json");
	assert_run(&r, 0, states[1].body, "");
	cli_run_done(&r);
	r = cli_run(routes, "swap watch 7f3a -o json");
	want = weft_strf("%s\n%s\n", states[0].body, states[1].body);
	assert_run(&r, 0, want, "");
	free(want);
	cli_run_done(&r);
	r = cli_run(routes, "swap start shop.redis --to unikernel");
	assert_run(&r, 0, "swap 7f3a: started\n", "hint: weft swap watch 7f3a\n");
	cli_run_done(&r);
	r = cli_run(routes, "swap start shop.redis --to unikernel -o json");
	assert_run(&r, 0, created[0].body, "");
	cli_run_done(&r);
}

static void a_rollback_fails_with_its_reason(void **state)
{
	const struct fake_reply states[] = {
		SWAP("warm", "", STARTED "," BEGUN("warm", "no answer yet")),
		SWAP("rollback", "",
			STARTED "," ENDED("warm", "9000", "") "," BEGUN("rollback", "")),
		ROLLED_BACK,
	};
	const struct fake_route routes[] = {ROUTE("GET /v1/swaps/7f3a", states), {0}};
	struct cli_run r = cli_run(routes, "swap watch 7f3a");

	(void)state;
	assert_run(&r, 1,
		"swap 7f3a  shop.redis  container → unikernel\n"
		"  ✓ prepare     image sha256:9c1 3.1 MiB cached           0.1s\n"
		"  ✓ start-new   shop.redis.1 on edge-1, qemu pid 4121     0.4s\n"
		"  ▸ warm        no answer yet                             0.0s\n"
		"  ✗ warm                                                  18s\n"
		"  ▸ rollback                                              0.0s\n"
		"  ✓ rollback                                              0.1s\n",
		"error: swap 7f3a of shop.redis was rolled back: instance shop.redis.1 did not become "
		"ready in 30s\nhint: weft logs shop.redis.1 --tail 20\n");
	cli_run_done(&r);
}

static void refusals_of_a_start(void **state)
{
	const struct fake_reply conflict[] = {{.status = 409,
		.body = "{\"error\": {\"code\": \"conflict\", \"message\": \"service shop.redis: swap "
			"7f3a is running\", \"hint\": \"weft swap watch 7f3a\"}}"}};
	const struct fake_reply nameless[] = {{.status = 201, .body = "{\"id\": 5}"}};
	const struct fake_route routes[] = {ROUTE("POST /v1/swaps", conflict), {0}};
	const struct fake_route odd[] = {ROUTE("POST /v1/swaps", nameless), {0}};
	struct cli_run r = cli_run(routes, "swap start shop.redis --to unikernel --watch");

	(void)state;
	assert_run(&r, 4, "",
		"error: service shop.redis: swap 7f3a is running\nhint: weft swap watch 7f3a\n");
	cli_run_done(&r);
	r = cli_run(odd, "swap start shop.redis --to unikernel --watch");
	assert_run(&r, 1, "", "error: weftd's answer names no swap\n");
	cli_run_done(&r);
	r = cli_run(NULL, "swap watch 7f3a");
	assert_int_equal(r.status, 6);
	assert_true(r.seconds < 5); /* nobody was there: nothing to ride out */
	cli_run_done(&r);
}

static void a_restart_of_the_daemon_is_ridden_out(void **state)
{
	static const struct fake_reply away[] = {
		{.status = 200, .body = whole[2].body, .away_ms = 900},
		{.status = 200, .body = whole[3].body, .cut = 20},
		{.body = NULL},
		DONE,
	};
	const struct fake_route routes[] = {ROUTE("GET /v1/swaps/7f3a", away), {0}};
	struct cli_run r = cli_run(routes, "swap watch 7f3a");
	const char *lost, *back, *again;

	(void)state;
	assert_run(&r, 0, NULL, NULL);
	assert_non_null(strstr(r.out, "swap 7f3a: done, "));
	lost = strstr(r.err, "cannot reach weftd at /tmp/");
	assert_non_null(lost);
	again = strstr(lost, "trying again for up to 30 s (what was begun goes on)\n");
	assert_non_null(again);
	back = strstr(again, "weftd answers again, after ");
	assert_non_null(back);
	cli_run_done(&r);
}

static void a_swap_that_vanished_is_not_found(void **state)
{
	static const struct fake_reply gone[] = {
		{.status = 200, .body = whole[2].body},
		{.status = 404,
			.body = "{\"error\": {\"code\": \"not_found\", \"message\": \"swap "
				"7f3a: no such swap\"}}"},
	};
	const struct fake_route routes[] = {ROUTE("GET /v1/swaps/7f3a", gone), {0}};
	struct cli_run r = cli_run(routes, "swap watch 7f3a");

	(void)state;
	assert_run(&r, 3, NULL, "error: swap 7f3a: no such swap\n");
	cli_run_done(&r);
}

static void a_timeout_leaves_the_swap_alone(void **state)
{
	static const struct fake_reply forever[] = {SHIFTING("0.5")};
	static const struct fake_reply slow[] = {
		SHIFTING("0.5"), {.status = 200, .body = whole[2].body, .delay_ms = 20000}};
	const struct fake_route routes[] = {ROUTE("GET /v1/swaps/7f3a", forever), {0}};
	const struct fake_route hung[] = {ROUTE("GET /v1/swaps/7f3a", slow), {0}};
	const char *want = "error: swap 7f3a has not ended in time, it goes on in state shift\n"
			   "hint: weft swap watch 7f3a\n";
	struct cli_run r = cli_run(routes, "swap watch 7f3a --wait --timeout 3s");

	(void)state;
	assert_run(&r, 5, "", want);
	assert_true(r.seconds > 2.9 && r.seconds < 15);
	cli_run_done(&r);
	r = cli_run(hung, "swap watch 7f3a --wait --timeout 3s");
	assert_run(&r, 5, "", want);
	assert_true(r.seconds > 2.9 && r.seconds < 15);
	cli_run_done(&r);
}

static void aborting(void **state)
{
	static const struct fake_reply accepted[] = {
		{.status = 202, .body = "{" HEAD ", \"state\": \"rollback\"}"}};
	static const struct fake_reply too_late[] = {{.status = 409,
		.body = "{\"error\": {\"code\": \"conflict\", \"message\": \"swap 7f3a: has ended\"}}"}};
	static const struct fake_reply back[] = {ROLLED_BACK};
	static const struct fake_reply done[] = {DONE};
	const struct fake_route routes[] = {ROUTE("POST /v1/swaps/7f3a/abort", accepted),
		ROUTE("GET /v1/swaps/7f3a", back), {0}};
	const struct fake_route late[] = {ROUTE("POST /v1/swaps/7f3a/abort", too_late), {0}};
	const struct fake_route raced[] = {ROUTE("POST /v1/swaps/7f3a/abort", accepted),
		ROUTE("GET /v1/swaps/7f3a", done), {0}};
	struct cli_run r = cli_run(routes, "swap abort 7f3a");

	(void)state;
	assert_run(&r, 0, "swap 7f3a: turning back\n", "hint: weft swap watch 7f3a\n");
	cli_run_done(&r);
	r = cli_run(routes, "swap abort 7f3a --wait");
	assert_run(&r, 0, "swap 7f3a: rolled back\n", "");
	cli_run_done(&r);
	r = cli_run(late, "swap abort 7f3a");
	assert_run(&r, 4, "", "error: swap 7f3a: has ended\n");
	cli_run_done(&r);
	r = cli_run(raced, "swap abort 7f3a --wait");
	assert_run(&r, 1, "", "error: swap 7f3a had already gone too far: it is done\n");
	cli_run_done(&r);
}

/* --- in a process of its own: signals and terminals --------------------------------------------
 */

struct child {
	pid_t pid;
	int fd; /* what it writes, stdout and stderr in one */
	char text[65536];
	size_t size;
};

static void child_start(
	struct child *c, const char *host, const char *id, int read_fd, int write_fd)
{
	c->fd = read_fd;
	c->size = 0;
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (c->pid == 0) {
		char *argv[] = {(char *)"weft", (char *)"-H", (char *)host, (char *)"swap",
			(char *)"watch", (char *)id, NULL};
		FILE *f = fdopen(write_fd, "w");

		setvbuf(f, NULL, _IOLBF, 0);
		_exit(weft_cli(6, argv, &(struct cli_io){stdin, f, f, "", true}));
	}
	close(write_fd);
}

/* Read until text was seen, or with NULL until the end; false after ten seconds. */
static bool child_read(struct child *c, const char *text)
{
	uint64_t deadline = weft_now_ns() + 10ull * 1000000000;

	while (!text || !strstr(c->text, text)) {
		struct pollfd p = {c->fd, POLLIN, 0};
		ssize_t n;

		if (weft_now_ns() > deadline || c->size + 1 >= sizeof(c->text))
			return false;
		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(c->fd, c->text + c->size, sizeof(c->text) - 1 - c->size);
		if (n <= 0) /* a pty's end is EIO */
			return !text;
		c->size += (size_t)n;
		c->text[c->size] = '\0';
	}
	return true;
}

static int child_end(struct child *c)
{
	int status;

	if (!child_read(c, NULL))
		kill(c->pid, SIGKILL);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	close(c->fd);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void shown_while_it_shifts(void **state)
{
	static const struct fake_reply so_far[] = {SHIFTING_SO_FAR};
	const struct fake_route routes[] = {ROUTE("GET /v1/swaps/7f3a", so_far), {0}};
	struct cli_run r = cli_run(routes, "swap show 7f3a");

	(void)state;
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "  ▸ shift       new 62% ████████████░░░░░░░░ 38% old      "
				      "0.0s/20s  err 3  p99 212µs (+6%)\n"));
	assert_non_null(strstr(r.out, "\nshift  old "));
	cli_run_done(&r);
}

static void interrupt_detaches(void **state)
{
	static const struct fake_reply forever[] = {SHIFTING("0.6")};
	static const struct fake_reply hung[] = {
		SHIFTING("0.6"), {.status = 200, .body = whole[2].body, .delay_ms = 20000}};
	const struct fake_route routes[][2] = {
		{ROUTE("GET /v1/swaps/7f3a", forever), {0}},
		{ROUTE("GET /v1/swaps/7f3a", hung), {0}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		struct fake_api *api = fake_api_start(routes[i]);
		static struct child c;
		char *requests;
		int fds[2];

		c = (struct child){0};
		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		child_start(&c, fake_api_host(api), "7f3a", fds[0], fds[1]);
		assert_true(child_read(&c, "new 60%"));
		kill(c.pid, SIGINT);
		assert_int_equal(child_end(&c), 130);
		assert_non_null(
			strstr(c.text, "detached; swap 7f3a goes on\n"
				       "hint: weft swap watch 7f3a, or weft swap abort 7f3a\n"));
		requests = fake_api_stop(api);
		assert_null(strstr(requests, "POST"));
		free(requests);
	}
}

static int open_terminal(int *ret_slave, unsigned short columns)
{
	struct winsize w = {.ws_row = 24, .ws_col = columns};
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	assert_true(master >= 0);
	assert_int_equal(grantpt(master) | unlockpt(master), 0);
	*ret_slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*ret_slave >= 0);
	assert_int_equal(ioctl(*ret_slave, TIOCSWINSZ, &w), 0);
	return master;
}

static void a_terminal_is_redrawn_in_place(void **state)
{
	const struct fake_route routes[] = {ROUTE("GET /v1/swaps/7f3a", whole), {0}};
	struct fake_api *api = fake_api_start(routes);
	static struct child c;
	int slave, master = open_terminal(&slave, 60);
	const char *first, *second;

	(void)state;
	setenv("TERM", "xterm", 1);
	child_start(&c, fake_api_host(api), "7f3a", master, slave);
	assert_int_equal(child_end(&c), 0);
	free(fake_api_stop(api));
	/* the head, six phases and the foot: eight lines that the next drawing replaces */
	first = strstr(c.text, "swap 7f3a  shop.redis");
	assert_non_null(first);
	assert_non_null(strstr(first, "    start-new   –\r\n"));
	assert_non_null(
		strstr(first, "^C detaches (the swap goes on);  abort: weft swap abort 7f3a"));
	second = strstr(first, "\r\033[8A\033[Jswap 7f3a");
	assert_non_null(second);
	assert_non_null(strstr(second, "  \033[32m✓\033[0m prepare "));
	assert_non_null(strstr(second, "  \033[36m▸\033[0m shift       new 60% "));
	assert_null(strstr(second, "0.0s/20s")); /* cut: a line that wraps could not be redrawn */
	assert_non_null(strstr(second, "swap 7f3a: done, shop.redis runs as unikernel now"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(watching_appends_lines),
		cmocka_unit_test(the_end_alone_is_enough),
		cmocka_unit_test(a_rollback_fails_with_its_reason),
		cmocka_unit_test(refusals_of_a_start),
		cmocka_unit_test(a_restart_of_the_daemon_is_ridden_out),
		cmocka_unit_test(a_swap_that_vanished_is_not_found),
		cmocka_unit_test(a_timeout_leaves_the_swap_alone),
		cmocka_unit_test(aborting),
		cmocka_unit_test(shown_while_it_shifts),
		cmocka_unit_test(interrupt_detaches),
		cmocka_unit_test(a_terminal_is_redrawn_in_place),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	unsetenv("NO_COLOR");
	unsetenv("WEFT_HOST");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
