/* SPDX-License-Identifier: Apache-2.0 */
/* weft: logs of a service, what goes to scripts, and a daemon that hangs up. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "tests/lib/cli_run.h"

#define NOT_FOUND                                                               \
	{                                                                       \
		.status = 404, .body = "{\"error\": {\"code\": \"not_found\", " \
				       "\"message\": \"no such instance\"}}"    \
	}
#define SERVICE "GET /v1/services/shop.web"
#define LIST    "GET /v1/instances"
#define LOGS(n) "GET /v1/instances/shop.web." n "/logs?tail=100&after="
#define TEXT(text)                                                                                \
	{                                                                                         \
		.status = 200, .body = "{\"id\": \"x\", \"at\": \"1\", \"text\": \"" text "\"}\n" \
	}
#define ITEM(n, service, kind)                                                                   \
	"{\"id\": \"shop.web." n "\", \"service\": \"" service "\", \"virtualization\": \"" kind \
	"\", \"phase\": \"ready\"}"

static const struct fake_reply none = NOT_FOUND, service = {.status = 200, .body = "{}"},
			       one = TEXT("one\\ntwo"), three = TEXT("three\\n"),
			       nothing = TEXT("");

static void check(const struct fake_reply *list, const struct fake_reply *first, const char *line,
	const char *out, const char *err)
{
	const struct fake_route routes[] = {
		{"GET /v1/instances/shop.web/logs", &none, 1},
		{SERVICE, &service, 1},
		{LIST, list, 1},
		{LOGS("1"), first, 1},
		{LOGS("2"), &none, 1},
		{LOGS("3"), &three, 1},
		{0},
	};
	struct cli_run r = cli_run(routes, line);

	assert_run(&r, 0, out, err);
	cli_run_done(&r);
}

/* A line without an end gets one where another instance's follows; one without a log is none. */
static void logs_of_a_service(void **state)
{
	static const struct fake_reply several = {.status = 200,
		.body = "{\"items\": [" ITEM("1", "shop.web", "container") ", " ITEM("2",
			"shop.web",
			"container") ", " ITEM("3", "shop.web", "unikernel") ", " ITEM("4",
			"shop.db", "native") ", " ITEM("5", "shop.web", "remote") "]}"};
	static const struct fake_reply single = {
		.status = 200, .body = "{\"items\": [" ITEM("1", "shop.web", "container") "]}"};
	static const struct fake_reply empty = {.status = 200, .body = "{\"items\": []}"};

	(void)state;
	check(&several, &one, "logs shop.web",
		"shop.web.1  one\nshop.web.1  two\nshop.web.3  three\n", "");
	check(&several, &one, "instance logs shop.web --tail 100 -o json",
		"{\"id\": \"x\", \"at\": \"1\", \"text\": \"one\\ntwo\"}\n"
		"{\"id\": \"x\", \"at\": \"1\", \"text\": \"three\\n\"}\n",
		"");
	check(&single, &one, "logs shop.web", "one\ntwo", "");
	check(&single, &nothing, "logs shop.web", "",
		"the instances of service shop.web have written nothing\n");
	check(&empty, &one, "logs shop.web", "", "service shop.web has no instances here\n");
}

static void logs_of_nobody(void **state)
{
	static const struct fake_reply empty = {.status = 200, .body = "{\"items\": []}"};
	const struct fake_route routes[] = {{"GET /v1/instances/shop.web/logs", &none, 1},
		{SERVICE, &none, 1}, {LIST, &empty, 1}, {0}};
	struct cli_run r = cli_run(routes, "logs shop.web");

	(void)state;
	assert_run(&r, 3, "",
		"error: shop.web: neither an instance nor a service\nhint: weft instance list\n");
	cli_run_done(&r);
}

/* A name, or the API's own bytes, on stdout; the words for people are not. */
static void what_scripts_get(void **state)
{
	static const char scaled[] = "{\"name\": \"shop.web\", \"replicas\": 3, \"ready\": 1}";
	static const char pulled[] = "{\"id\": \"sha256:9c1\", \"bytes\": 1048576}\n";
	static const struct {
		const char *line, *out, *err;
	} cases[] = {
		{"service scale shop.web 3 -o name", "shop.web\n", ""},
		{"service scale shop.web 3 -o json", scaled, ""},
		{"service scale shop.web 3", "",
			"service shop.web: 3 instances are wanted, 1 are ready\n"},
		{"image pull a.tar -o name", "sha256:9c1\n", ""},
		{"image pull a.tar -o json", pulled, ""},
		{"image pull a.tar", "image a.tar is here: sha256:9c1, 1.0 MiB\n", ""},
	};
	const struct fake_reply scale = {.status = 200, .body = scaled};
	const struct fake_reply pull = {.status = 200, .body = pulled};
	const struct fake_route routes[] = {{"POST /v1/services/shop.web/scale", &scale, 1},
		{"POST /v1/images", &pull, 1}, {0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cli_run r = cli_run(routes, cases[i].line);

		assert_run(&r, 0, cases[i].out, cases[i].err);
		cli_run_done(&r);
	}
}

/* Who only asks may ask again; nobody knows of the other whether it was done. */
static void a_daemon_that_hangs_up(void **state)
{
	static const struct fake_reply gone = {.body = NULL};
	static const struct {
		const char *line, *hint;
	} cases[] = {
		{"service show shop.web",
			"it has ended or was restarted: when weft status answers, say "
			"it again: weft service show shop.web\n"},
		{"image pull a.tar",
			"it has ended or was restarted, and may have done it: look with weft "
			"status and weft events before you say it again\n"},
		{"service scale shop.web 3",
			"it has ended or was restarted, and may have done it: look "
			"with weft status and weft events before you say it again\n"},
		{"swap start shop.web --to container --wait",
			"it has ended or was restarted, and may have "
			"done it: look with weft status and weft "
			"events before you say it again\n"},
	};
	const struct fake_route routes[] = {{SERVICE, &gone, 1},
		{"POST /v1/services/shop.web/scale", &gone, 1}, {"POST /v1/images", &gone, 1},
		{"POST /v1/swaps", &gone, 1}, {0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cli_run r = cli_run(routes, cases[i].line);
		const char *hint = strstr(r.err, "\nhint: ");

		assert_run(&r, 6, "", NULL);
		assert_non_null(
			strstr(r.err, "closed the connection before its answer was complete"));
		assert_non_null(hint);
		assert_string_equal(hint + 7, cases[i].hint);
		cli_run_done(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logs_of_a_service),
		cmocka_unit_test(logs_of_nobody),
		cmocka_unit_test(what_scripts_get),
		cmocka_unit_test(a_daemon_that_hangs_up),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
