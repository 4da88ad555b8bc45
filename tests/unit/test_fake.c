/* SPDX-License-Identifier: Apache-2.0 */
/* The script of faults, and what the fake makes of it, around native. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/util.h"
#include "runtimes/fake/fake.h"
#include "runtimes/fake/script.h"

static char dir[64], path[96];

static void write_script(const char *text)
{
	assert_int_equal(weft_write_file(path, text, strlen(text), 0600), 0);
}

static struct weft_fault_script *load(const char *text)
{
	struct weft_fault_script *s = NULL;
	struct weft_err err = {0};

	write_script(text);
	if (weft_fault_script_load(path, &s, &err) < 0)
		fail_msg("%s", err.msg);
	return s;
}

static void rules_act_in_turn_and_are_used_up(void **state)
{
	_cleanup_(weft_fault_script_freep) struct weft_fault_script *s = load(
		"[{\"call\": \"start\", \"id\": \"a.*\", \"do\": \"fail\", \"error\": \"ENOSPC\"},"
		" {\"call\": \"start\", \"skip\": 1, \"times\": 2, \"do\": \"delay\", \"ms\": 7},"
		" {\"call\": \"stop\", \"runtime\": \"qemu\", \"times\": 0, \"do\": \"hang\"}]");
	struct weft_fault_action a = weft_fault_next(s, "native", "start", "a.1");

	(void)state;
	assert_int_equal(a.fault, WEFT_FAULT_FAIL);
	assert_int_equal(a.code, ENOSPC);
	assert_int_equal(weft_fault_next(s, "native", "start", "a.1").fault, WEFT_FAULT_NONE);
	a = weft_fault_next(s, "native", "start", "b.1");
	assert_int_equal(a.fault, WEFT_FAULT_DELAY);
	assert_int_equal(a.delay_ms, 7);
	assert_int_equal(weft_fault_next(s, "x", "start", NULL).fault, WEFT_FAULT_DELAY);
	assert_int_equal(weft_fault_next(s, "x", "start", NULL).fault, WEFT_FAULT_NONE);
	assert_int_equal(weft_fault_next(s, "native", "stop", "a.1").fault, WEFT_FAULT_NONE);
	for (int i = 0; i < 3; i++)
		assert_int_equal(weft_fault_next(s, "qemu", "stop", "a").fault, WEFT_FAULT_HANG);
}

static void a_death_comes_once_in_a_script(void **state)
{
	static const char text[] = "[{\"call\": \"stop\", \"times\": 0, \"do\": \"die-after\"}]";
	_cleanup_(weft_fault_script_freep) struct weft_fault_script *s = load(text), *again = NULL;
	struct weft_err err = {0};

	(void)state;
	assert_int_equal(weft_fault_next(s, "x", "stop", "a").fault, WEFT_FAULT_DIE_AFTER);
	assert_int_equal(weft_fault_next(s, "x", "stop", "a").fault, WEFT_FAULT_NONE);
	assert_int_equal(weft_fault_script_load(path, &again, &err), 0); /* the next process */
	assert_int_equal(weft_fault_next(again, "x", "stop", "a").fault, WEFT_FAULT_NONE);
}

static void bad_scripts_are_refused(void **state)
{
	static const char *const bad[][2] = {
		{"{}", "must be an array"},
		{"[1]", "rule 0"},
		{"[{\"call\": \"start\"}]", "rule 0"},
		{"[{\"call\": \"start\", \"do\": \"dance\"}]", "\"do\" is unknown"},
		{"[{\"call\": \"start\", \"do\": \"fail\", \"error\": \"EWHAT\"}]",
			"\"error\" is unknown"},
		{"[{\"call\": \"start\", \"do\": \"fail\", \"tims\": 3}]", "no keys"},
		{"[", path},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct weft_fault_script *s = NULL;
		struct weft_err err = {0};

		write_script(bad[i][0]);
		assert_int_equal(weft_fault_script_load(path, &s, &err), -EINVAL);
		assert_null(s);
		if (!strstr(err.msg, bad[i][1]))
			fail_msg("no \"%s\" in \"%s\"", bad[i][1], err.msg);
	}
}

/* --- around native -------------------------------------------------------------------------------
 */

static sd_event *loop;
static struct weft_runtime *rt;
static unsigned answers;
static int last;
static struct weft_err err;

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	(void)userdata, (void)id, (void)event, (void)detail;
}

static void on_done(void *userdata, int r, const struct weft_err *e)
{
	(void)userdata;
	answers++;
	last = r;
	err = *e;
}

static void up(const char *script)
{
	struct weft_runtime_config config = {
		.state_dir = dir, .cgroup_root = "weft-test-fake", .on_event = on_event};

	write_script(script);
	setenv("WEFT_FAULTS", path, 1);
	assert_true(sd_event_new(&loop) >= 0);
	config.event = loop;
	if (weft_runtime_fake.new_(&config, &rt, &err) < 0)
		fail_msg("%s", err.msg);
	answers = 0;
}

static void down(void)
{
	weft_runtime_fake.free_(rt);
	loop = sd_event_unref(loop);
	unsetenv("WEFT_FAULTS");
}

static void turns(uint64_t ms)
{
	uint64_t end = weft_now_ns() + ms * 1000000;

	while (weft_now_ns() < end)
		assert_true(sd_event_run(loop, 10000) >= 0);
}

static int stop(void)
{
	return weft_runtime_fake.stop(rt, "never.heard.of", 0, on_done, NULL, &err);
}

static void wait_answer(void)
{
	uint64_t end = weft_now_ns() + 20000000000ULL;

	while (!answers && weft_now_ns() < end)
		turns(10);
	assert_int_equal(answers, 1);
}

static void each_fault_does_what_it_says(void **state)
{
	uint64_t before;

	(void)state;
	up("[{\"call\": \"stop\", \"do\": \"fail\", \"error\": \"EIO\"}]");
	assert_int_equal(stop(), 0);
	assert_int_equal(answers, 0); /* never from within the call */
	wait_answer();
	assert_int_equal(last, -EIO);
	assert_non_null(strstr(err.msg, "never.heard.of"));
	answers = 0;
	assert_int_equal(stop(), 0); /* used up */
	wait_answer();
	assert_int_equal(last, 0);
	down();

	up("[{\"call\": \"stop\", \"do\": \"refuse\", \"error\": \"ENOSPC\"}]");
	assert_int_equal(stop(), -ENOSPC);
	turns(50);
	assert_int_equal(answers, 0);
	down();

	up("[{\"call\": \"stop\", \"do\": \"delay\", \"ms\": 300}]");
	before = weft_now_ns();
	assert_int_equal(stop(), 0);
	wait_answer();
	assert_true(weft_now_ns() - before >= 300000000ULL);
	down();

	up("[{\"call\": \"stop\", \"do\": \"hang\"}, {\"call\": \"stop\", \"do\": \"swallow\"}]");
	assert_int_equal(stop(), 0);
	assert_int_equal(stop(), 0);
	turns(300);
	assert_int_equal(answers, 0);
	down();
}

static void deaths_are_real(void **state)
{
	static const char *const how[] = {"die-before", "die-after", "die-answer"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		int status = 0;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			_cleanup_(freep) char *script =
				weft_strf("[{\"call\": \"stop\", \"do\": \"%s\"}]", how[i]);
			_cleanup_(freep) char *mark = weft_strf("%s.0", path);

			unlink(mark);
			up(script);
			stop();
			turns(5000);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/weft-test-fake-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/faults.json", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return weft_remove_tree(dir);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(rules_act_in_turn_and_are_used_up),
		T(a_death_comes_once_in_a_script),
		T(bad_scripts_are_refused),
		T(each_fault_does_what_it_says),
		T(deaths_are_real),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
