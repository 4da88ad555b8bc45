/* SPDX-License-Identifier: Apache-2.0 */
/* weft: usage, help, doctor, and how numbers are written. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctrl/base/err.h"
#include "ctrl/base/util.h"
#include "ctrl/cli/cli.h"
#include "ctrl/cli/value.h"
#include "tests/lib/cli_routes.h"

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
		{"apply --if-version x", "error: --if-version x: not a version, see -o json\n"},
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usage_errors_end_with_2),
		cmocka_unit_test(a_noun_alone_lists_or_explains),
		cmocka_unit_test(help_knows_every_command),
		cmocka_unit_test(version_asks_nobody),
		cmocka_unit_test(doctor_looks_around_without_the_daemon),
		cmocka_unit_test(numbers_are_for_people),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	setenv("TZ", "UTC", 1);
	unsetenv("NO_COLOR");
	unsetenv("WEFT_HOST");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
