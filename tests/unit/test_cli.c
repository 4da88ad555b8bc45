/* SPDX-License-Identifier: Apache-2.0 */
/* weft: usage, errors, exit statuses, and answers that are slow, cut or no answers at all. */
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

#include "ctrl/base/err.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/cli.h"
#include "ctrl/cli/value.h"
#include "tests/lib/cli_run.h"

#define ONE(...)                    \
	(const struct fake_reply[]) \
	{                           \
		__VA_ARGS__         \
	}
#define ROUTE(req, ...)                                                                     \
	{                                                                                   \
		req, ONE(__VA_ARGS__), sizeof(ONE(__VA_ARGS__)) / sizeof(struct fake_reply) \
	}
#define ROUTES(...)                 \
	(const struct fake_route[]) \
	{                           \
		__VA_ARGS__,        \
		{                   \
			0           \
		}                   \
	}

static void usage_errors_end_with_2(void **state)
{
	static const struct {
		const char *line, *err;
	} cases[] = {
		{"servce list",
			"error: there is no command \"weft servce list\"\nhint: weft service list\n"},
		{"service frobnicate", "error: there is no command \"weft service frobnicate\"\n"
				       "hint: weft service --help\n"},
		{"xyzzyxyzzy", "error: there is no command \"weft xyzzyxyzzy\"\n"
			       "hint: weft --help\n"},
		{"service show", "error: weft service show: NAME is missing\n"
				 "hint: usage: weft service show NAME [FLAGS]\n"},
		{"status now", "error: weft status: unexpected argument \"now\"\n"
			       "hint: usage: weft status [FLAGS]\n"},
		{"status --bogus", "error: unknown option --bogus\nhint: weft --help\n"},
		{"status -q", "error: unknown option -q\nhint: weft --help\n"},
		{"status --wait", "error: weft status does not take --wait\n"
				  "hint: weft status --help\n"},
		{"service list --to x", "error: weft service list does not take --to\n"
					"hint: weft service list --help\n"},
		{"status --no-headers=1", "error: option --no-headers=1 takes no value\n"
					  "hint: weft --help\n"},
		{"status -o", "error: option -o wants a value\nhint: weft --help\n"},
		{"status --timeout", "error: option --timeout wants a value\nhint: weft --help\n"},
		{"status -o yaml", "error: --output yaml: unknown word\n"
				   "hint: one of table, wide, json, name\n"},
		{"status --color red", "error: --color red: unknown word\n"
				       "hint: one of auto, always, never\n"},
		{"status --timeout soon",
			"error: --timeout soon: not a time such as 5s, 300ms or 2m\n"},
		{"status --timeout 40000h", "error: --timeout 40000h: longer than 30 days\n"},
		{"logs x --tail -1", "error: --tail -1: not a number of lines\n"},
		{"swap start shop.web",
			"error: weft swap start shop.web: to which virtualization?\n"
			"hint: weft swap start shop.web --to unikernel; the "
			"variants it has: weft service show shop.web\n"},
		{"apply", "error: weft apply: which descriptor?\n"
			  "hint: weft apply -f FILE, or -f - for stdin\n"},
		{"delete", "error: weft delete: which descriptor?\n"
			   "hint: weft delete -f FILE, or -f - for stdin\n"},
		{"apply --if-version x", "error: --if-version x: not a version\n"},
		{"-H http://edge-1",
			"error: host \"http://edge-1\": neither unix:PATH nor https://HOST:PORT\n"
			"hint: weft -H unix:/run/weft/weftd.sock ..., or the same in "
			"WEFT_HOST\n"},
		{"token new ci", "error: what is the token for? --role is missing\n"
				 "hint: --role read, operate or admin\n"},
		{"token new ci --role king", "error: --role king: unknown word\n"
					     "hint: --role read, operate or admin\n"},
		{"token new /ci --role read",
			"error: \"/ci\" is no name of a token\n"
			"hint: letters, digits, '.', '_' and '-', at most 64 characters\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cli_run r = cli_run(NULL, cases[i].line);

		assert_run(&r, 2, "", cases[i].err);
		cli_run_done(&r);
	}
}

static void a_noun_alone_lists_or_explains(void **state)
{
	const struct fake_route *routes =
		ROUTES(ROUTE("GET /v1/services", {.status = 200, .body = "{\"items\": []}"}),
			ROUTE("GET /v1/dp/lb", {.status = 200, .body = "{\"items\": []}"}));
	struct cli_run r = cli_run(routes, "service");

	(void)state;
	assert_run(&r, 0, "", "no services; deploy one: weft apply -f FILE\n");
	assert_string_equal(r.requests, "GET /v1/services\n");
	cli_run_done(&r);
	r = cli_run(routes, "dp lb");
	assert_run(&r, 0, "", "no backends\n");
	cli_run_done(&r);
	r = cli_run(routes, "dp");
	assert_int_equal(r.status, 2);
	assert_non_null(strstr(r.err, "dp flows list"));
	cli_run_done(&r);
}

static void help_knows_every_command(void **state)
{
	struct cli_run all = cli_run(NULL, "--help");

	(void)state;
	assert_int_equal(all.status, 0);
	for (const struct cli_command *c = cli_commands; c->words; c++) {
		char *line = weft_strf("%s --help", c->words);
		struct cli_run r = cli_run(NULL, line);
		char *start = weft_strf("usage: weft %s", c->words);

		assert_non_null(strstr(all.out, c->words));
		assert_non_null(strstr(all.out, c->help));
		assert_run(&r, 0, NULL, "");
		assert_int_equal(strncmp(r.out, start, strlen(start)), 0);
		assert_non_null(strstr(r.out, c->help));
		assert_non_null(strstr(r.out, "--timeout"));
		assert_int_equal(!strstr(r.out, "--tail"), !(c->options & CLI_OPT_TAIL));
		cli_run_done(&r);
		free(line);
		free(start);
	}
	cli_run_done(&all);
}

static void version_asks_nobody(void **state)
{
	struct cli_run r = cli_run(NULL, "--version");

	(void)state;
	assert_run(&r, 0, "weft " WEFT_VERSION "\n", "");
	cli_run_done(&r);
}

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

static void others_are_done_after_one_that_is_refused(void **state)
{
	static const char refusal[] =
		"{\"error\": {\"code\": \"not_found\", \"message\": \"b: no such thing\"}}";
	const struct fake_route *routes =
		ROUTES(ROUTE("POST /v1/instances/a/pause", {.status = 200, .body = "{}"}),
			ROUTE("POST /v1/instances/b/pause", {.status = 404, .body = refusal}),
			ROUTE("DELETE /v1/images?image=a",
				{.status = 200, .body = "{\"removed\": [\"a\"]}"}),
			ROUTE("DELETE /v1/images?image=b", {.status = 404, .body = refusal}));
	struct cli_run r = cli_run(routes, "instance pause b a");

	(void)state;
	assert_run(&r, 7, "instance a paused\n", "error: b: no such thing\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance pause b");
	assert_run(&r, 3, "", "error: b: no such thing\n");
	cli_run_done(&r);
	r = cli_run(routes, "image remove b a");
	assert_run(&r, 7, "image a removed\n", "error: b: no such thing\n");
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

static void logs_are_passed_on(void **state)
{
	const struct fake_route *routes = ROUTES(ROUTE("GET /v1/instances/shop.web.1/logs?tail=2",
		{.status = 200, .body = "one\n{two\n", .type = "text/plain; charset=utf-8"}));
	struct cli_run r = cli_run(routes, "logs shop.web.1 --tail 2");

	(void)state;
	assert_run(&r, 0, "one\n{two\n", "");
	cli_run_done(&r);
}

static void doctor_looks_around_without_the_daemon(void **state)
{
	struct cli_run r = cli_run_with(NULL, "doctor", CLI_RUN_ASCII, NULL);

	(void)state;
	assert_run(&r, 6, NULL, "");
	assert_non_null(strstr(r.out, "x daemon       cannot reach weftd at /nonexistent/"));
	assert_non_null(strstr(r.out, "x kernel BTF   /sys/kernel/btf/vmlinux: No such file"));
	assert_non_null(strstr(r.out, "x tun          /dev/net/tun: No such file or directory\n"
				      "               -> modprobe tun"));
	assert_non_null(
		strstr(r.out, "x containerd   /run/containerd/containerd.sock: No such file "
			      "or directory\n               -> apt-get install containerd"));
	assert_non_null(strstr(r.out, "qemu"));
	for (const char *p = r.out; *p; p++)
		assert_true((unsigned char)*p < 0x80);
	cli_run_done(&r);
}

static void numbers_are_for_people(void **state)
{
	uint64_t ms;

	(void)state;
	assert_string_equal(cli_fmt_count(0).s, "0");
	assert_string_equal(cli_fmt_count(999).s, "999");
	assert_string_equal(cli_fmt_count(4900).s, "4.9k");
	assert_string_equal(cli_fmt_count(9999).s, "10k");
	assert_string_equal(cli_fmt_count(999600).s, "1.0M");
	assert_string_equal(cli_fmt_count(UINT64_MAX).s, "18447P");
	assert_string_equal(cli_fmt_bytes(1023).s, "1023 B");
	assert_string_equal(cli_fmt_bytes(3250586).s, "3.1 MiB");
	assert_string_equal(cli_fmt_bytes(64ull << 20).s, "64 MiB");
	assert_string_equal(cli_fmt_duration(0).s, "0.0s");
	assert_string_equal(cli_fmt_duration(420).s, "0.4s");
	assert_string_equal(cli_fmt_duration(9970).s, "10s");
	assert_string_equal(cli_fmt_duration(59999).s, "60s");
	assert_string_equal(cli_fmt_duration(200000).s, "3m20s");
	assert_string_equal(cli_fmt_duration(11040000).s, "3h4m");
	assert_string_equal(cli_fmt_duration(273600000).s, "3d4h");
	assert_string_equal(cli_fmt_uptime(3).s, "3s");
	assert_string_equal(cli_fmt_uptime(273700).s, "3d4h");
	assert_string_equal(cli_fmt_age(400).s, "0s");
	assert_string_equal(cli_fmt_age(7300000).s, "2h");
	assert_string_equal(cli_fmt_ns(190400, true).s, "190µs");
	assert_string_equal(cli_fmt_ns(190400, false).s, "190us");
	assert_string_equal(cli_fmt_ns(1234567, true).s, "1.2ms");
	assert_string_equal(cli_fmt_ns(12340000000, true).s, "12s");
	assert_int_equal(cli_parse_duration("1.5", &ms), 0);
	assert_int_equal(ms, 1500);
	assert_int_equal(cli_parse_duration("2m", &ms), 0);
	assert_int_equal(ms, 120000);
	assert_true(cli_parse_duration("", &ms) < 0 && cli_parse_duration("s", &ms) < 0);
	assert_true(cli_parse_duration("1e3", &ms) < 0 && cli_parse_duration("-1", &ms) < 0);
	assert_true(cli_parse_duration("1..2", &ms) < 0 && cli_parse_duration("0x10", &ms) < 0);
	for (int code = 1; code < 140; code++)
		assert_int_equal(weft_err_exit(weft_err_from_word(weft_err_word(code))),
			weft_err_exit(code));
	assert_int_equal(weft_err_from_word("nonsense"), 0);
}

static void weights_are_set_and_given_back(void **state)
{
	static const char lb[] = "{\"items\": [{\"instance\": \"shop.web.1\", \"virtualization\": "
				 "\"native\", \"weight\": 70, \"share\": 0.7, \"flows\": 0}]}";
	const struct fake_route *routes = ROUTES(
		ROUTE("POST /v1/services/shop.web/weights", {.status = 200, .body = "{}"}),
		ROUTE("DELETE /v1/services/shop.web/weights", {.status = 200, .body = "{}"}),
		ROUTE("GET /v1/dp/lb?service=shop.web", {.status = 200, .body = lb}));
	struct cli_run r = cli_run(routes, "service weights shop.web 1=70 shop.web.2=30");

	(void)state;
	assert_run(&r, 0,
		"INSTANCE    RUNTIME  WEIGHT  SHARE  FLOWS\n"
		"shop.web.1  native       70    70%      0\n",
		"");
	assert_string_equal(r.requests,
		"POST /v1/services/shop.web/weights {\"weights\":{\"1\":70,\"shop.web.2\":30}}\n"
		"GET /v1/dp/lb?service=shop.web\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web --reset -o json");
	assert_run(&r, 0, "{}", "");
	assert_string_equal(r.requests, "DELETE /v1/services/shop.web/weights\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web 1=70 1=30");
	assert_run(&r, 2, "", "error: instance 1 has two weights\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web 1:70");
	assert_run(&r, 2, "",
		"error: \"1:70\": not an instance and its weight\n"
		"hint: weft service weights SERVICE INSTANCE=NUMBER ...\n");
	cli_run_done(&r);
	r = cli_run(routes, "service weights shop.web 1=70 --reset");
	assert_run(&r, 2, "",
		"error: weft service weights: set them or reset them?\n"
		"hint: weft service weights shop.web --reset\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
}

static void a_shortcut_is_switched(void **state)
{
	static const char on[] = "{\"name\": \"shop.web\", \"shortcut\": {\"state\": \"on\", "
				 "\"sockets\": 2, \"messages\": 12, \"bytes\": 512}}";
	static const char unable[] = "{\"name\": \"shop.web\", \"shortcut\": {\"state\": "
				     "\"unavailable\", \"detail\": \"no cgroup v2\"}}";
	const struct fake_route *routes = ROUTES(ROUTE("POST /v1/services/shop.web/settings",
		{.status = 200, .body = on}, {.status = 200, .body = unable}));
	struct cli_run r = cli_run(routes, "service set shop.web shortcut=on");

	(void)state;
	assert_run(&r, 0, "service shop.web: shortcut on: 2 sockets, 12 messages, 512 B\n", "");
	assert_string_equal(
		r.requests, "POST /v1/services/shop.web/settings {\"shortcut\":true}\n");
	cli_run_done(&r);
	r = cli_run(routes, "service set shop.web shortcut=sideways");
	assert_run(&r, 2, "",
		"error: \"shortcut=sideways\": not a setting\n"
		"hint: weft service set SERVICE shortcut=on, or shortcut=off\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
}

static void interfaces_come_and_go(void **state)
{
	static const char vm1[] = "{\"id\": \"vm1\", \"device\": \"tap0\", \"inst_addr\": "
				  "\"10.30.128.3\"}";
	const struct fake_route *routes =
		ROUTES(ROUTE("POST /v1/instances", {.status = 201, .body = vm1}),
			ROUTE("DELETE /v1/instances/vm1", {.status = 200, .body = vm1}));
	struct cli_run r = cli_run(routes,
		"instance attach vm1 --service shop.web --device tap0 --ns-addr 10.18.0.40 --mac "
		"52:54:00:12:34:56 --weight 2");

	(void)state;
	assert_run(&r, 0, "instance vm1: attached by tap0, instance address 10.30.128.3\n", "");
	assert_string_equal(r.requests,
		"POST /v1/instances {\"name\":\"vm1\",\"service\":\"shop.web\",\"device\":\"tap0\","
		"\"ns_addr\":\"10.18.0.40\",\"mac\":\"52:54:00:12:34:56\",\"weight\":2}\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --netns blue --ns-addr 10.18.0.40 -o name");
	assert_run(&r, 0, "vm1\n", "");
	assert_string_equal(r.requests,
		"POST /v1/instances {\"name\":\"vm1\",\"netns\":\"/run/netns/blue\",\"ns_addr\":"
		"\"10.18.0.40\"}\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance detach vm1");
	assert_run(&r, 0, "instance vm1: detached\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --ns-addr 10.18.0.40");
	assert_run(&r, 2, "",
		"error: weft instance attach vm1: by which device, or in which namespace?\n"
		"hint: one of --device NAME and --netns PATH\n");
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --device a --netns b --ns-addr 10.18.0.40");
	assert_int_equal(r.status, 2);
	cli_run_done(&r);
	r = cli_run(routes, "instance attach vm1 --device a");
	assert_run(&r, 2, "",
		"error: weft instance attach vm1: which address does it have?\n"
		"hint: --ns-addr ADDR: that of the interface itself\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
}

static void peers_come_and_go(void **state)
{
	static const char b[] =
		"{\"name\": \"b\", \"mtu\": 1450, \"instances\": 3, \"problem\": \"\"}";
	static const char far[] =
		"{\"name\": \"b\", \"mtu\": 0, \"problem\": \"there is no uplink\"}";
	const struct fake_route *routes =
		ROUTES(ROUTE("POST /v1/peers", {.status = 201, .body = b}),
			ROUTE("GET /v1/export", {.status = 200, .body = "{\"node\": \"a\"}"}),
			ROUTE("POST /v1/peers/b/instances", {.status = 200, .body = b}),
			ROUTE("DELETE /v1/peers/b", {.status = 200, .body = b}));
	struct cli_run r =
		cli_run(routes, "peer add b --address 192.0.2.1 --format raw --port 7 --mtu 1400");

	(void)state;
	assert_run(&r, 0, "peer b: known, packets of up to 1450 bytes fit the tunnel\n", "");
	assert_string_equal(r.requests,
		"POST /v1/peers {\"name\":\"b\",\"address\":\"192.0.2.1\",\"format\":\"raw\","
		"\"port\":7,\"mtu\":1400}\n");
	cli_run_done(&r);
	r = cli_run(ROUTES(ROUTE("POST /v1/peers", {.status = 201, .body = far})),
		"peer add b --address 192.0.2.1");
	assert_run(&r, 0, "peer b: known, but there is no way to it yet: there is no uplink\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "peer export");
	assert_run(&r, 0, "{\n  \"node\": \"a\"\n}\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "peer remove b");
	assert_run(&r, 0, "peer b: removed, with its instances\n", "");
	cli_run_done(&r);
	r = cli_run(routes, "peer add b");
	assert_run(&r, 2, "",
		"error: weft peer add b: where is it?\n"
		"hint: --address ADDR: that of the other node's uplink\n");
	cli_run_done(&r);
	r = cli_run(routes, "peer import b");
	assert_run(&r, 2, "",
		"error: weft peer import b: of what?\n"
		"hint: -f FILE, or -f -: what that node's `weft peer export` says\n");
	assert_string_equal(r.requests, "");
	cli_run_done(&r);
	r = cli_run(routes, "peer add b --address a --port 0");
	assert_int_equal(r.status, 2);
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
		cmocka_unit_test(usage_errors_end_with_2),
		cmocka_unit_test(a_noun_alone_lists_or_explains),
		cmocka_unit_test(help_knows_every_command),
		cmocka_unit_test(version_asks_nobody),
		cmocka_unit_test(each_class_of_error_has_its_exit_status),
		cmocka_unit_test(a_refusal_without_words_is_told),
		cmocka_unit_test(an_unreachable_daemon_is_named_with_the_reason),
		cmocka_unit_test(permission_is_a_reason_too),
		cmocka_unit_test(garbage_is_no_answer),
		cmocka_unit_test(a_slow_answer_is_waited_for_as_long_as_said),
		cmocka_unit_test(json_is_passed_on_byte_by_byte),
		cmocka_unit_test(names_are_escaped_in_paths),
		cmocka_unit_test(deletions_are_partly_done),
		cmocka_unit_test(others_are_done_after_one_that_is_refused),
		cmocka_unit_test(applies_from_stdin_and_shows_positions),
		cmocka_unit_test(a_directory_is_applied_in_order_and_partly),
		cmocka_unit_test(apply_names_what_has_no_effect),
		cmocka_unit_test(diff_says_what_apply_would_change),
		cmocka_unit_test(delete_takes_a_descriptor),
		cmocka_unit_test(apply_waits_until_each_runs_or_failed),
		cmocka_unit_test(logs_are_passed_on),
		cmocka_unit_test(doctor_looks_around_without_the_daemon),
		cmocka_unit_test(numbers_are_for_people),
		cmocka_unit_test(weights_are_set_and_given_back),
		cmocka_unit_test(a_shortcut_is_switched),
		cmocka_unit_test(interfaces_come_and_go),
		cmocka_unit_test(peers_come_and_go),
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
