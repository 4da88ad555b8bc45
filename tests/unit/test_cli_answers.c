/* SPDX-License-Identifier: Apache-2.0 */
/* weft: errors, exit statuses, and answers that are slow, cut or no answers at all. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "tests/lib/cli_routes.h"

static void each_class_of_error_has_its_exit_status(void **state)
{
	static const struct {
		int http;
		const char *word;
		int status;
	} cases[] = {
		{400, "invalid", 2},
		{400, "malformed", 2},
		{404, "not_found", 3},
		{409, "conflict", 4},
		{413, "too_large", 2},
		{422, "unsupported", 1},
		{422, "no_capacity", 1},
		{500, "failed", 1},
		{503, "unreachable", 6},
		{504, "timeout", 5},
		{507, "no_space", 1},
		{409, "a-word-of-tomorrow", 4},
		{404, "", 3},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *body = weft_strf("{\"error\": {\"code\": \"%s\", \"message\": \"service x: "
				       "no\", \"hint\": \"weft service list\"}}",
			cases[i].word);
		const struct fake_route *routes = ROUTES(
			ROUTE("GET /v1/services/x", {.status = cases[i].http, .body = body}));
		struct cli_run r = cli_run(routes, "service show x");

		assert_run(
			&r, cases[i].status, "", "error: service x: no\nhint: weft service list\n");
		cli_run_done(&r);
		free(body);
	}
}

static void a_refusal_without_words_is_told(void **state)
{
	static const struct {
		int http;
		const char *body, *err;
		int status;
	} cases[] = {
		{500, "", "error: weftd answered HTTP 500: nothing more\n", 1},
		{404, "<html>\n\033[31mno", "error: weftd answered HTTP 404: <html> ?[31mno\n", 3},
		{500, "{\"error\": 7}", "error: weftd answered HTTP 500: {\"error\": 7}\n", 1},
		{500, "{\"error\": {\"message\": [], \"hint\": 3}}",
			"error: weftd answered HTTP 500: {\"error\": {\"message\": [], \"hint\": "
			"3}}\n",
			1},
		{301, "", "error: weftd answered HTTP 301: nothing more\n", 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct fake_route *routes = ROUTES(ROUTE("GET /v1/status",
			{.status = cases[i].http, .body = cases[i].body, .type = "text/html"}));
		struct cli_run r = cli_run(routes, "status");

		assert_run(&r, cases[i].status, "", cases[i].err);
		cli_run_done(&r);
	}
}

static void an_unreachable_daemon_is_named_with_the_reason(void **state)
{
	char dir[] = "/tmp/weft-test-cli-XXXXXX", *line, *want;
	struct cli_run r = cli_run(NULL, "status");

	(void)state;
	assert_run(&r, 6, "",
		"error: cannot reach weftd at /nonexistent/weftd.sock: there is no such socket\n"
		"hint: start it: sudo weftd --role=all; or say where it listens: -H unix:PATH or "
		"WEFT_HOST\n");
	cli_run_done(&r);

	/* a file that nobody listens on is what a dead daemon's socket is */
	assert_non_null(mkdtemp(dir));
	line = weft_strf("-H unix:%s/sock status", dir);
	want = weft_strf("%s/sock", dir);
	assert_int_equal(weft_write_file(want, "", 0, 0600), 0);
	r = cli_run(NULL, line);
	assert_int_equal(r.status, 6);
	assert_non_null(strstr(r.err, "nobody listens there, the daemon has ended\nhint: "));
	cli_run_done(&r);
	unlink(want);
	rmdir(dir);
	free(want);
	free(line);
}

static void permission_is_a_reason_too(void **state)
{
	char dir[] = "/tmp/weft-test-cli-XXXXXX", *line;
	struct cli_run r;

	(void)state;
	if (geteuid() != 0)
		return; /* cannot become somebody else */
	assert_non_null(mkdtemp(dir));
	line = weft_strf("-H unix:%s/sock status", dir);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(seteuid(65534), 0);
	r = cli_run(NULL, line);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(r.status, 6);
	assert_non_null(strstr(r.err, ": permission denied\nhint: run weft as root"));
	cli_run_done(&r);
	rmdir(dir);
	free(line);
}

static void garbage_is_no_answer(void **state)
{
	static const struct {
		struct fake_reply reply;
		int status;
		const char *err;
	} cases[] = {
		{{.status = 200, .body = "{\"version\": "}, 1,
			"error: weftd's answer is not JSON\n"},
		{{.status = 200, .body = "[1, 2]"}, 1,
			"error: weftd's answer is not a JSON object\n"},
		{{.status = 200, .body = ""}, 1, "error: weftd's answer is not JSON\n"},
		{{.body = "SSH-2.0-OpenSSH_9.2\r\n"}, 1, "does not speak HTTP\n"},
		{{.body = NULL}, 6, "closed the connection before its answer was complete\n"},
		{{.status = 200, .body = "{\"version\": \"0.1.0\"}", .cut = 9}, 6,
			"closed the connection before its answer was complete\n"},
		{{.body = "HTTP/1.1 200 OK\r\nContent-"}, 6,
			"closed the connection before its answer was complete\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct fake_route *routes = ROUTES({"GET /v1/status", &cases[i].reply, 1});
		struct cli_run r = cli_run(routes, "status");

		assert_run(&r, cases[i].status, "", NULL);
		if (!strstr(r.err, cases[i].err))
			fail_msg("case %zu: %s", i, r.err);
		assert_non_null(strstr(r.err, "\nhint: "));
		cli_run_done(&r);
	}
}

static void a_slow_answer_is_waited_for_as_long_as_said(void **state)
{
	const struct fake_route *routes =
		ROUTES(ROUTE("GET /v1/status", {.status = 200, .body = "{}", .delay_ms = 20000}));
	struct cli_run r = cli_run(routes, "status --timeout 300ms");

	(void)state;
	assert_int_equal(r.status, 5);
	assert_non_null(strstr(r.err, "did not answer in time\nhint: "));
	assert_true(r.seconds >= 0.29 && r.seconds < 5);
	cli_run_done(&r);
}

static void json_is_passed_on_byte_by_byte(void **state)
{
	static const char body[] = "{ \"items\":[ ],\"n\":1.0,\n\"é\": 18446744073709551615e0 }";
	const struct fake_route *routes =
		ROUTES(ROUTE("GET /v1/services", {.status = 200, .body = body}));
	struct cli_run r = cli_run(routes, "service list -o json");

	(void)state;
	assert_run(&r, 0, body, "");
	cli_run_done(&r);
}

static void names_are_escaped_in_paths(void **state)
{
	const struct fake_route *routes =
		ROUTES(ROUTE("DELETE /v1/services/..%2Fa%3Fb%25", {.status = 202, .body = "{}"}));
	struct cli_run r = cli_run(routes, "service delete ../a?b%");

	(void)state;
	assert_run(&r, 0, "service ../a?b%: deleting\n", "");
	cli_run_done(&r);
}

static void logs_are_passed_on(void **state)
{
	const struct fake_route *routes = ROUTES(ROUTE("GET /v1/instances/shop.web.1/logs?tail=2",
		{.status = 200, .body = "one\n{two\n", .type = "text/plain; charset=utf-8"}));
	struct cli_run r = cli_run(routes, "logs shop.web.1 --tail 2");

	(void)state;
	assert_run(&r, 0, "one\n{two\n", "");
	cli_run_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_class_of_error_has_its_exit_status),
		cmocka_unit_test(a_refusal_without_words_is_told),
		cmocka_unit_test(an_unreachable_daemon_is_named_with_the_reason),
		cmocka_unit_test(permission_is_a_reason_too),
		cmocka_unit_test(garbage_is_no_answer),
		cmocka_unit_test(a_slow_answer_is_waited_for_as_long_as_said),
		cmocka_unit_test(json_is_passed_on_byte_by_byte),
		cmocka_unit_test(names_are_escaped_in_paths),
		cmocka_unit_test(logs_are_passed_on),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	unsetenv("NO_COLOR");
	unsetenv("WEFT_HOST");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
