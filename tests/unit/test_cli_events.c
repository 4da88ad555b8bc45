/* SPDX-License-Identifier: Apache-2.0 */
/* weft events. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/cli_routes.h"

/* A stream that ends is asked for again from where it ended; empty lines are signs of life. */
static void events_are_followed(void **state)
{
	static const char first[] =
		"{\"seq\": 4, \"t_us\": 1795736533757960, \"mono_us\": 12, \"kind\": \"swap\", "
		"\"action\": \"shift\", \"object\": \"7f3a\", \"data\": {\"service\": \"a\"}}\n\n";
	static const char second[] =
		"{\"seq\": 5, \"kind\": \"weights\", \"object\": \"a\\u001b\"}\n";
	const struct fake_route *routes = ROUTES(
		ROUTE("GET /v1/events?since=3&wait=60",
			{.status = 200, .body = first, .type = "application/x-ndjson"}),
		ROUTE("GET /v1/events?since=4&wait=60",
			{.status = 200, .body = second, .type = "application/x-ndjson"}),
		ROUTE("GET /v1/events?since=5&wait=60",
			{.status = 422,
				.body = "{\"error\": {\"code\": \"no_capacity\", \"message\": "
					"\"enough\"}}"}));
	struct cli_run r = cli_run(routes, "events -w --since 3");

	(void)state;
	assert_run(&r, 1,
		"  SEQ  TIME                     KIND      OBJECT            EVENT       DETAIL\n"
		"    4  2026-11-26 23:42:13.757  swap      7f3a              shift       service=a\n"
		"    5  -                        weights   a?                -           -\n",
		"error: enough\n");
	cli_run_done(&r);
	r = cli_run(routes, "events -w --since 3 -o json");
	assert_int_equal(r.status, 1);
	assert_int_equal(strncmp(r.out, first, strlen(first) - 1), 0);
	assert_string_equal(r.out + strlen(first) - 1, second);
	cli_run_done(&r);
}

/* Each restart of the daemon has its own time: the second is not the rest of the first. */
static void events_are_followed_over_restarts(void **state)
{
	static const char first[] =
		"{\"seq\": 1, \"kind\": \"a\"}\n{\"seq\": 2, \"kind\": \"b\"}\n";
	static const char second[] =
		"{\"seq\": 2, \"kind\": \"b\"}\n{\"seq\": 3, \"kind\": \"c\"}\n";
	const struct fake_route *routes = ROUTES(
		ROUTE("GET /v1/events?since=0&wait=60",
			{.status = 200, .body = first, .type = "application/x-ndjson", .cut = 30}),
		ROUTE("GET /v1/events?since=1&wait=60",
			{.status = 200, .body = second, .type = "application/x-ndjson", .cut = 30}),
		ROUTE("GET /v1/events?since=2&wait=60",
			{.status = 422,
				.body = "{\"error\": {\"code\": \"no_capacity\", \"message\": "
					"\"enough\"}}"}));
	struct cli_run r = cli_run(routes, "events -w -o name --since 0");
	const char *again = strstr(r.err, "trying again");

	(void)state;
	assert_string_equal(r.out, "1\n2\n");
	assert_non_null(again);
	assert_non_null(strstr(again + 1, "trying again"));
	cli_run_done(&r);
}

static void a_stream_of_something_else_is_an_error(void **state)
{
	const struct fake_route *routes = ROUTES(ROUTE("GET /v1/events?since=0&wait=60",
		{.status = 200, .body = "hello\n", .type = "application/x-ndjson"}));
	struct cli_run r = cli_run(routes, "events -w");

	(void)state;
	assert_run(&r, 1, "", "error: weftd's events are not JSON\n");
	cli_run_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_followed),
		cmocka_unit_test(events_are_followed_over_restarts),
		cmocka_unit_test(a_stream_of_something_else_is_an_error),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	unsetenv("NO_COLOR");
	unsetenv("WEFT_HOST");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
