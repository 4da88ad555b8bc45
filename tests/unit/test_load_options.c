/* SPDX-License-Identifier: Apache-2.0 */
#include "loadgen/options.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "loadgen/cli.h"
#include "loadgen/control.h"

enum { ARGS_MAX = 64 };

/* The line is split at blanks. */
static int parse(const char *line, struct load_options *o, struct weft_err *err)
{
	static char copy[1024];
	char *argv[ARGS_MAX + 1] = {(char *)(uintptr_t) "weft-load"}, *at = NULL;
	int argc = 1;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *s = strtok_r(copy, " ", &at); s; s = strtok_r(NULL, " ", &at))
		argv[argc++] = s;
	return load_options_parse(argc, argv, stderr, o, err);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {{"30s", 30000000000}, {"1.5m", 90000000000}, {"100ms", 100000000},
		{"250us", 250000}, {"7ns", 7}, {"2", 2000000000}, {"0", 0}, {"1h", 3600000000000},
		{"0.3s", 300000000}};
	static const char *const bad[] = {"", "s", "-1s", "1 s", "1sec", "1d", "nan", "inf", ".5s"};
	uint64_t ns = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(load_parse_duration(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(load_parse_duration(bad[i], &ns), -EINVAL);
	assert_int_equal(load_parse_duration("9000h", &ns), -ERANGE);
	assert_int_equal(load_parse_duration("1e300", &ns), -ERANGE);
}

static void test_all_flags(void **state)
{
	struct load_options o = {0};
	struct weft_err err;

	(void)state;
	assert_int_equal(
		parse("--rate 2000.5 --arrivals poisson --seed 9 --duration 5m --warmup 1s "
		      "--timeout 250ms --interval 100ms --connections 64 --threads 2 "
		      "--max-queue 10 --retry-stale 1 --close --method HEAD "
		      "--header A:b --header C:d --data x --name n --commit c --phase p "
		      "--output o --series s --control - --histogram --fail-on-error "
		      "-o json http://10.30.0.2:80/",
			&o, &err),
		0);
	assert_true(o.rate == 2000.5);
	assert_int_equal(o.arrivals, LOAD_ARRIVALS_POISSON);
	assert_int_equal(o.seed, 9);
	assert_int_equal(o.duration, 300000000000);
	assert_int_equal(o.warmup, 1000000000);
	assert_int_equal(o.timeout, 250000000);
	assert_int_equal(o.interval, 100000000);
	assert_int_equal(o.connections, 64);
	assert_int_equal(o.threads, 2);
	assert_int_equal(o.max_queue, 10);
	assert_int_equal(o.retry_stale, 1);
	assert_true(o.close && o.histogram && o.fail_on_error && !o.closed_loop);
	assert_string_equal(o.method, "HEAD");
	assert_string_equal(o.headers[0], "A:b");
	assert_string_equal(o.headers[1], "C:d");
	assert_null(o.headers[2]);
	assert_string_equal(o.control, "-");
	assert_int_equal(o.format, LOAD_FORMAT_JSON);
	assert_string_equal(o.url, "http://10.30.0.2:80/");
}

static void test_defaults(void **state)
{
	struct load_options o = {0};
	struct weft_err err;

	(void)state;
	assert_int_equal(parse("http://a/ --closed", &o, &err), 0);
	assert_true(o.closed_loop && o.rate == 0 && !o.close);
	assert_int_equal(o.duration, 30000000000);
	assert_int_equal(o.retry_stale, 0);
	assert_in_range(o.threads, 1, 32);
	assert_int_equal(parse("--rate 1 --connections 1 http://a/", &o, &err), 0);
	assert_int_equal(o.threads, 1);
}

/* Every refusal names the flag and the value, says why, and gives the next step. */
static void test_refusals(void **state)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
		{"--rate 100", "no URL"},
		{"http://a/", "no rate"},
		{"--rate 100 http://a/ http://b/", "http://b/"},
		{"--rate 100 --closed http://a/", "--closed"},
		{"--rate 0 http://a/", "--rate 0"},
		{"--rate -5 http://a/", "--rate -5"},
		{"--rate 5x http://a/", "--rate 5x"},
		{"--rate nan http://a/", "--rate nan"},
		{"--rate 1e9 http://a/", "--rate 1e9"},
		{"--arrivals bursty", "--arrivals bursty: unknown word"},
		{"-o yaml", "-o yaml"},
		{"--duration soon", "--duration soon: not a duration"},
		{"--duration 9999999h", "longer than a year"},
		{"--interval 1ms", "--interval 1ms: too short"},
		{"--timeout 0", "--timeout 0: too short"},
		{"--connections 0", "--connections 0: out of range"},
		{"--connections many", "--connections many: not a whole number"},
		{"--threads 1000", "--threads 1000"},
		{"--threads 3 --connections 2 --rate 1 http://a/", "3 threads"},
		{"--retry-stale -1", "--retry-stale -1"},
		{"--phase a/b", "--phase a/b: not a name"},
		{"--method get", "--method get"},
		{"--header nothing", "--header nothing: not a header"},
		{"--header Content-Length:5", "sets this one itself"},
		{"--rate", "--rate: a value is missing"},
		{"--unknown", "--unknown: unknown flag"},
		{"-x", "-x: unknown flag"},
	};
	struct load_options o = {.seed = 4711};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct weft_err err = {0};

		assert_int_equal(parse(bad[i].line, &o, &err), -EINVAL);
		if (!strstr(err.msg, bad[i].says) || !err.hint[0])
			fail_msg("%s: %s (%s)", bad[i].line, err.msg, err.hint);
	}
	assert_int_equal(o.seed, 4711);
}

static void test_many_headers(void **state)
{
	char line[1024] = "--rate 1 http://a/";
	struct load_options o;
	struct weft_err err;

	(void)state;
	for (int i = 0; i < LOAD_HEADERS_MAX + 1; i++)
		strcat(line, " --header=A:b");
	assert_int_equal(parse(line, &o, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "too many"));
}

static void test_exit_status(void **state)
{
	char *help[] = {(char *)(uintptr_t) "weft-load", (char *)(uintptr_t) "--help", NULL};
	char *wrong[] = {(char *)(uintptr_t) "weft-load", (char *)(uintptr_t) "--what", NULL};
	_cleanup_(freep) char *out = NULL, *talk = NULL;
	size_t out_size, talk_size;
	FILE *o = open_memstream(&out, &out_size), *t = open_memstream(&talk, &talk_size);

	(void)state;
	assert_int_equal(load_main(2, help, o, t), 0);
	assert_int_equal(load_main(2, wrong, o, t), 2);
	fclose(o);
	fclose(t);
	assert_non_null(strstr(out, "usage: weft-load"));
	assert_string_equal(
		talk, "error: --what: unknown flag\nhint: weft-load --help lists the flags\n");
}

static void tell(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void test_control(void **state)
{
	char path[] = "/tmp/weft-test-load-control.XXXXXX", fifo[64], noise[3000];
	_cleanup_(load_control_closep) struct load_control *c = NULL;
	_cleanup_(closep) int fd = -1;
	struct load_command command;
	struct weft_err err = {0};
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(fifo, sizeof(fifo), "%s/fifo", path);
	assert_int_equal(load_control_open(fifo, &c, &err), 0);
	fd = open(fifo, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);

	/* Lines come in pieces, with blanks, with nothing in them. */
	tell(fd, "pha");
	load_control_read(c);
	assert_int_equal(load_control_next(c, &command, &err), 0);
	tell(fd, "se shift\n\n \t\n  stop \r\nphase\nphase a b\nphase a/b\nfly\nphase x");
	load_control_read(c);
	assert_int_equal(load_control_next(c, &command, &err), 1);
	assert_int_equal(command.verb, LOAD_VERB_PHASE);
	assert_string_equal(command.name, "shift");
	assert_int_equal(load_control_next(c, &command, &err), 1);
	assert_int_equal(command.verb, LOAD_VERB_STOP);
	for (int i = 0; i < 4; i++)
		assert_int_equal(load_control_next(c, &command, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "fly"));
	assert_int_equal(load_control_next(c, &command, &err), 0);
	tell(fd, "\n");
	load_control_read(c);
	assert_int_equal(load_control_next(c, &command, &err), 1);
	assert_string_equal(command.name, "x");

	/* A line without an end is refused once, and what follows it is understood. */
	memset(noise, 'n', sizeof(noise));
	assert_int_equal(write(fd, noise, sizeof(noise)), sizeof(noise));
	tell(fd, "\nphase y\n");
	load_control_read(c);
	assert_int_equal(load_control_next(c, &command, &err), -EINVAL);
	assert_int_equal(load_control_next(c, &command, &err), 0);
	for (int i = 0; i < 8 && load_control_next(c, &command, &err) == 0; i++)
		load_control_read(c);
	assert_string_equal(command.name, "y");

	load_control_close(TAKE_PTR(c));
	assert_int_equal(stat(fifo, &st), -1);
	rmdir(path);
}

static void test_control_refused(void **state)
{
	struct load_control *c = NULL;
	struct weft_err err = {0};

	(void)state;
	assert_int_equal(load_control_open("/dev/null", &c, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "not a FIFO"));
	assert_int_equal(load_control_open("/nowhere/at/all", &c, &err), -ENOENT);
	assert_null(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_all_flags),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_many_headers),
		cmocka_unit_test(test_exit_status),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_control_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
