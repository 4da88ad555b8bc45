/* SPDX-License-Identifier: Apache-2.0 */
/* weft: apply, diff and delete. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "tests/lib/cli_routes.h"

static void deletions_are_partly_done(void **state)
{
	static const char refusal[] =
		"{\"error\": {\"code\": \"not_found\", \"message\": \"service b: no such service\"}}";
	const struct fake_route *routes =
		ROUTES(ROUTE("DELETE /v1/services/a", {.status = 202, .body = "{\"name\": \"a\"}"}),
			ROUTE("DELETE /v1/services/b", {.status = 404, .body = refusal}),
			ROUTE("GET /v1/services/a", {.status = 200, .body = "{}"},
				{.status = 200, .body = "{}"}, {.status = 404, .body = refusal}));
	struct cli_run r = cli_run(routes, "service delete b a");

	(void)state;
	assert_run(&r, 7, "service a: deleting\n", "error: service b: no such service\n");
	cli_run_done(&r);
	r = cli_run(routes, "service delete b");
	assert_run(&r, 3, "", "error: service b: no such service\n");
	cli_run_done(&r);
	r = cli_run(routes, "service delete a --wait");
	assert_run(&r, 0, "service a: deleted\n", "");
	assert_string_equal(r.requests, "DELETE /v1/services/a\nGET /v1/services/a\n"
					"GET /v1/services/a\nGET /v1/services/a\n");
	cli_run_done(&r);
	r = cli_run(ROUTES(ROUTE("DELETE /v1/services/a", {.status = 202, .body = "{}"}),
			    ROUTE("GET /v1/services/a", {.status = 200, .body = "{}"})),
		"service delete a --wait --timeout 300ms");
	assert_run(&r, 5, "",
		"error: service a: not removed yet; it goes on\nhint: weft service show a\n");
	cli_run_done(&r);
}

static void applies_from_stdin_and_shows_positions(void **state)
{
	static const char refusal[] =
		"{\"error\": {\"code\": \"malformed\", \"message\": \"stdin:3:7: expected ',' or "
		"'}'\"}}";
	const struct fake_route *routes =
		ROUTES(ROUTE("POST /v1/apply?file=stdin", {.status = 400, .body = refusal},
			{.status = 200,
				.body = "{\"items\": [{\"name\": \"shop.web\", \"action\": "
					"\"created\"}]}"}));
	struct cli_run r = cli_run_with(routes, "apply -f -", 0, "{");

	(void)state;
	assert_run(&r, 2, "", "error: stdin:3:7: expected ',' or '}'\n");
	assert_string_equal(r.requests, "POST /v1/apply?file=stdin {\n");
	cli_run_done(&r);
	r = cli_run(NULL, "apply -f /nonexistent/shop.json");
	assert_run(&r, 3, "", "error: /nonexistent/shop.json: No such file or directory\n");
	cli_run_done(&r);
}

static void a_directory_is_applied_in_order_and_partly(void **state)
{
	char dir[] = "/tmp/weft-test-cli-XXXXXX", *line, *path[3], *req[2];
	const char *names[] = {"b.json", "a.json", ".c.json"};
	struct cli_run r;

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < 3; i++) {
		path[i] = weft_strf("%s/%s", dir, names[i]);
		assert_int_equal(weft_write_file(path[i], "{}", 2, 0600), 0);
	}
	for (size_t i = 0; i < 2; i++)
		req[i] = weft_strf("POST /v1/apply?file=%%2Ftmp%%2F%s%%2F%s", dir + 5, names[i]);
	line = weft_strf("apply -f %s", dir);
	r = cli_run(
		ROUTES(ROUTE(req[0], {.status = 200,
					     .body = "{\"items\": [{\"name\": \"b.x\", \"action\": "
						     "\"updated\"}, 5, {}]}"}),
			ROUTE(req[1], {.status = 409,
					      .body = "{\"error\": {\"code\": \"conflict\", "
						      "\"message\": \"port 80 is taken\"}}"})),
		line);
	assert_run(&r, 7, "service b.x: updated\n", "error: port 80 is taken\n");
	cli_run_done(&r);
	for (size_t i = 0; i < 3; i++) {
		unlink(path[i]);
		free(path[i]);
	}
	r = cli_run(NULL, line);
	assert_int_equal(r.status, 3);
	assert_non_null(strstr(r.err, "no *.json in this directory\n"));
	cli_run_done(&r);
	rmdir(dir);
	free(line);
	free(req[0]);
	free(req[1]);
}

static void apply_names_what_has_no_effect(void **state)
{
	(void)state;
	struct cli_run r =
		cli_run_with(ROUTES(ROUTE("POST /v1/apply?file=stdin",
				     {.status = 200,
					     .body = "{\"items\": [{\"name\": \"b.x\", \"action\": "
						     "\"created\"}], \"ignored\": [\"args\", 5, "
						     "\"a[0].vgpus\"]}"})),
			"apply -f -", 0, "{}");

	assert_run(&r, 0, "service b.x: created\n",
		"warning: stdin: args: has no effect here\n"
		"warning: stdin: a[0].vgpus: has no effect here\n");
	cli_run_done(&r);
}

static void diff_says_what_apply_would_change(void **state)
{
	static const char answer[] =
		"{\"items\": [{\"name\": \"a\", \"action\": \"updated\", \"changes\": "
		"[{\"key\": \"memory\", \"from\": 1, \"to\": 2}, {\"key\": \"cmd\", \"to\": "
		"[\"x\"]}]}, {\"name\": \"b\", \"action\": \"created\", \"changes\": []}, "
		"{\"name\": \"c\", \"action\": \"unchanged\"}], \"version\": 12}";
	const struct fake_route *routes = ROUTES(
		ROUTE("POST /v1/apply?dry_run=1&file=stdin", {.status = 200, .body = answer}));
	struct cli_run r = cli_run_with(routes, "diff -f -", CLI_RUN_ASCII, "{}");

	(void)state;
	assert_run(&r, 1,
		"service a: would be updated\n  memory 1 -> 2\n  cmd none -> [\"x\"]\n"
		"service b: would be created\n",
		"apply just that: weft apply -f - --if-version 12\n");
	cli_run_done(&r);
	r = cli_run_with(routes, "diff -f - -o name", 0, "{}");
	assert_run(&r, 1, "a\nb\n", NULL);
	cli_run_done(&r);
	r = cli_run_with(ROUTES(ROUTE("POST /v1/apply?dry_run=1&file=stdin",
				 {.status = 200, .body = "{\"items\": [], \"version\": 1}"})),
		"diff -f -", 0, "{}");
	assert_run(&r, 0, "", "");
	cli_run_done(&r);
	r = cli_run_with(ROUTES(ROUTE("POST /v1/apply?dry_run=1&file=stdin",
				 {.status = 500,
					 .body = "{\"error\": {\"code\": \"failed\", "
						 "\"message\": \"oops\"}}"})),
		"diff -f -", 0, "{}");
	assert_run(&r, 2, "", "error: oops\n");
	cli_run_done(&r);
}

static void delete_takes_a_descriptor(void **state)
{
	static const char two[] =
		"{\"applications\": [{\"application_name\": \"shop\", "
		"\"application_namespace\": \"default\", \"microservices\": ["
		"{\"microservice_name\": \"web\", \"microservice_namespace\": \"default\"}, "
		"{\"microservice_name\": \"db\", \"microservice_namespace\": \"test\"}]}]}";
	static const char gone[] = "{\"error\": {\"code\": \"not_found\", \"message\": \"no\"}}";
	const struct fake_route *routes = ROUTES(
		ROUTE("DELETE /v1/services/shop.web", {.status = 202, .body = "{}"}),
		ROUTE("DELETE /v1/services/shop.default.db.test", {.status = 404, .body = gone}));
	struct cli_run r = cli_run_with(routes, "delete -f -", 0, two);

	(void)state;
	assert_run(
		&r, 0, "service shop.web: deleting\n", "service shop.default.db.test: not there\n");
	cli_run_done(&r);
	r = cli_run_with(routes, "delete -f -", 0, "{\n  oops");
	assert_int_equal(r.status, 2);
	assert_non_null(strstr(r.err, "stdin:2:"));
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
	r = cli_run_with(routes, "delete -f -", 0, "{}");
	assert_run(&r, 2, "", "error: stdin: no service in this descriptor\n");
	cli_run_done(&r);
}

static void apply_waits_until_each_runs_or_failed(void **state)
{
	static const char items[] = "{\"items\": [{\"name\": \"a\", \"action\": \"created\"}, "
				    "{\"name\": \"b\", \"action\": \"created\"}]}";
	const struct fake_route *routes = ROUTES(
		ROUTE("POST /v1/apply?file=stdin", {.status = 200, .body = items}),
		ROUTE("GET /v1/services/a", {.status = 200, .body = "{\"phase\": \"pending\"}"},
			{.status = 200, .body = "{\"phase\": \"degraded\"}"},
			{.status = 200, .body = "{\"phase\": \"running\"}"}),
		ROUTE("GET /v1/services/b", {.status = 200,
						    .body = "{\"phase\": \"failed\", \"detail\": "
							    "\"image x: no such file\"}"}));
	struct cli_run r = cli_run_with(routes, "apply -f - --wait", 0, "{}");

	(void)state;
	assert_run(&r, 7, "service a: created\nservice b: created\nservice a: running\n",
		"error: service b: failed: image x: no such file\n"
		"hint: weft service show b, weft instance list\n");
	cli_run_done(&r);
	r = cli_run_with(ROUTES(ROUTE("POST /v1/apply?file=stdin", {.status = 200, .body = items}),
				 ROUTE("GET /v1/services/a", {.status = 200, .body = "{}"}),
				 ROUTE("GET /v1/services/b",
					 {.status = 200,
						 .body = "{\"phase\": \"pending\", \"detail\": "
							 "\"service b: no node\", \"hint\": "
							 "\"start one\"}"})),
		"apply -f - --wait --timeout 0.3 -o name", 0, "{}");
	assert_run(&r, 5, "a\nb\n",
		"error: service a: does not run yet; the deployment goes on\n"
		"hint: weft service show a\n"
		"error: does not run yet: service b: no node; the deployment goes on\n"
		"hint: start one\n");
	cli_run_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deletions_are_partly_done),
		cmocka_unit_test(applies_from_stdin_and_shows_positions),
		cmocka_unit_test(a_directory_is_applied_in_order_and_partly),
		cmocka_unit_test(apply_names_what_has_no_effect),
		cmocka_unit_test(diff_says_what_apply_would_change),
		cmocka_unit_test(delete_takes_a_descriptor),
		cmocka_unit_test(apply_waits_until_each_runs_or_failed),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	unsetenv("NO_COLOR");
	unsetenv("WEFT_HOST");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
