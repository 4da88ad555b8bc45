/* SPDX-License-Identifier: Apache-2.0 */
/* What is promised of one instance: its image, its life, its end, what it uses, what runs inside.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "tests/conformance/lab.h"

static void probing_says_what_can_run(void **state)
{
	bool found = false;

	(void)state;
	lab.in_call = true;
	assert_int_equal(OPS->probe(lab.rt, conf_on_probed, &lab), 0);
	lab.in_call = false;
	conf_wait_count(&lab.answers, 1, "the probe");
	for (unsigned i = 0; i < lab.n_caps; i++) {
		const struct weft_runtime_cap *cap = &lab.caps[i];

		assert_true(cap->usable || cap->detail[0]); /* why not, and what to do */
		found |= cap->virt == conf.target->virt && cap->arch == weft_arch_host() &&
			 cap->usable && cap->version[0];
	}
	assert_true(found);
}

static void images_are_checked(void **state)
{
	_cleanup_(freep) char *junk = weft_strf("%s/junk.tar", conf.dir);

	(void)state;
	assert_int_equal(conf_prepare("/nonexistent/image.tar"), -ENOENT);
	assert_non_null(strstr(lab.err.msg, "/nonexistent/image.tar"));
	assert_int_equal(weft_write_file(junk, "this is no image\n", 17, 0644), 0);
	assert_int_equal(conf_prepare(junk), -EBADMSG);
	assert_non_null(strstr(lab.err.msg, junk));
	unlink(junk);
}

static void preparing_again_answers_the_same(void **state)
{
	char ref[PATH_MAX];
	uint64_t size;

	(void)state;
	assert_int_equal(conf_prepare(conf.image[CONF_SERVE]), 0);
	assert_true(lab.ref[0] && lab.size > 0);
	strcpy(ref, lab.ref);
	size = lab.size;
	assert_int_equal(conf_prepare(conf.image[CONF_SERVE]), 0);
	assert_string_equal(lab.ref, ref);
	assert_int_equal(lab.size, size);
}

static void a_life(void **state)
{
	struct weft_runtime_stats s;

	(void)state;
	conf_start(CONF_SERVE);
	conf_wait_log();
	s = conf_stats();
	assert_true(s.pid > 1);
	assert_int_equal(kill((pid_t)s.pid, 0), 0);
	assert_true(s.memory_bytes > 0);
	assert_int_equal(conf_stop(5000), 0);
	conf_assert_gone();
	assert_int_equal(kill((pid_t)s.pid, 0), -1);
	assert_int_equal(conf_delete(ID), 0);
	/* An end that was asked for is no event. */
	assert_int_equal(lab.events, 0);
}

static void an_id_runs_once(void **state)
{
	struct weft_runtime_spec spec;
	uint32_t pid;

	(void)state;
	conf_start(CONF_SERVE);
	pid = conf_stats().pid;
	spec = conf_spec(CONF_SERVE);
	assert_int_equal(conf_start_spec(&spec), -EEXIST);
	assert_non_null(strstr(lab.err.msg, ID));
	assert_int_equal(conf_stats().pid, pid);
}

static void strangers_are_no_error(void **state)
{
	struct weft_runtime_stats s;

	(void)state;
	assert_int_equal(conf_stop(100), 0);
	assert_int_equal(conf_delete(ID), 0);
	assert_int_equal(conf_delete("never.heard.of"), 0);
	assert_int_equal(OPS->stats(lab.rt, ID, &s), -ENOENT);
	assert_int_equal(conf_adopt(), -ENOENT);
	assert_non_null(strstr(lab.err.msg, ID));
}

static void who_does_not_listen_is_killed(void **state)
{
	uint64_t before;

	(void)state;
	conf_start(CONF_STUBBORN);
	if (conf.args[CONF_STUBBORN][0])
		conf_wait_log(); /* until then it has not said that it does not listen */
	before = weft_now_ns();
	assert_int_equal(conf_stop(300), 0);
	/* Not at once; but a last request before the end may already be heard. */
	assert_true(weft_now_ns() - before >= 100000000ULL);
	conf_assert_gone();
	assert_int_equal(lab.ended, 0);
}

static void ends_by_itself(enum conf_program p, enum weft_runtime_event how)
{
	struct weft_runtime_spec spec;
	int r;

	assert_int_equal(conf_prepare(conf.image[p]), 0);
	spec = conf_spec(p);
	/* It may be over before start() has answered: that is an event, or a failed start that
	 * says that it ended. */
	r = conf_start_spec(&spec);
	if (r < 0) {
		assert_int_equal(r, -EIO);
		if (!conf.target->early[how == WEFT_RUNTIME_FAILED] ||
			!strstr(lab.err.msg, conf.target->early[how == WEFT_RUNTIME_FAILED]))
			fail_msg("start: %s", lab.err.msg);
	} else {
		conf_wait_count(&lab.ended, 1, "its end");
		assert_int_equal(lab.end, how);
		assert_true(lab.detail[0]);
		if (conf.target->status && how == WEFT_RUNTIME_FAILED)
			assert_non_null(strstr(lab.detail, "7"));
	}
	conf_assert_gone();
	assert_int_equal(conf_delete(ID), 0);
	assert_in_range(lab.ended, 0, 1);
}

static void a_good_end_is_told(void **state)
{
	(void)state;
	ends_by_itself(CONF_EXIT, WEFT_RUNTIME_EXITED);
}

static void a_bad_end_is_told(void **state)
{
	(void)state;
	ends_by_itself(CONF_FAIL, WEFT_RUNTIME_FAILED);
}

static void a_killed_process_is_told(void **state)
{
	(void)state;
	conf_start(CONF_SERVE);
	conf_wait_log();
	assert_int_equal(kill((pid_t)conf_stats().pid, SIGKILL), 0);
	conf_wait_count(&lab.ended, 1, "its end");
	assert_int_equal(lab.end, WEFT_RUNTIME_FAILED);
	conf_assert_gone();
}

static void killing_is_an_event(void **state)
{
	(void)state;
	conf_start(CONF_SERVE);
	conf_wait_log();
	assert_int_equal(CALL(OPS->kill(lab.rt, ID, SIGKILL, conf_on_done, &lab, &lab.err)), 0);
	conf_wait_count(&lab.ended, 1, "its end");
	assert_int_equal(lab.end, WEFT_RUNTIME_FAILED);
	conf_assert_gone();
	assert_int_equal(
		CALL(OPS->kill(lab.rt, ID, SIGKILL, conf_on_done, &lab, &lab.err)), -ENOENT);
}

static void too_much_memory_is_told(void **state)
{
	(void)state;
	conf_start(CONF_HOG);
	conf_wait_count(&lab.ended, 1, "its end");
	assert_true(lab.oom >= 1);
	assert_int_equal(lab.end, WEFT_RUNTIME_FAILED);
}

static void cpu_time_is_counted(void **state)
{
	uint64_t end = weft_now_ns() + WAIT_NS, used = 0;

	(void)state;
	conf_start(CONF_BUSY);
	while (used < 200000000ULL && weft_now_ns() < end)
		used += conf_cpu_used_in(100000000ULL);
	assert_true(used >= 200000000ULL);
}

static void pausing_stands_still(void **state)
{
	uint64_t end;
	uint32_t pid;

	(void)state;
	conf_start(CONF_BUSY);
	pid = conf_stats().pid;
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(CALL(OPS->pause(lab.rt, ID, conf_on_done, &lab, &lab.err)), 0);
	conf_cpu_used_in(100000000ULL); /* what was under way */
	assert_true(conf_cpu_used_in(500000000ULL) < 100000000ULL);
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(CALL(OPS->resume(lab.rt, ID, conf_on_done, &lab, &lab.err)), 0);
	end = weft_now_ns() + WAIT_NS;
	while (conf_cpu_used_in(100000000ULL) < 1000000ULL)
		assert_true(weft_now_ns() < end);
	assert_int_equal(conf_stats().pid, pid);
	assert_int_equal(lab.ended, 0);
	/* One that stands still is stopped like any other. */
	assert_int_equal(CALL(OPS->pause(lab.rt, ID, conf_on_done, &lab, &lab.err)), 0);
	assert_int_equal(conf_stop(300), 0);
	conf_assert_gone();
	assert_int_equal(CALL(OPS->pause(lab.rt, ID, conf_on_done, &lab, &lab.err)), -ENOENT);
	assert_int_equal(CALL(OPS->resume(lab.rt, ID, conf_on_done, &lab, &lab.err)), -ENOENT);
}

static int run_in(const char *const *argv, unsigned timeout_ms)
{
	return CALL(OPS->exec(lab.rt, ID, argv, timeout_ms, conf_on_executed, &lab, &lab.err));
}

static void programs_run_inside(void **state)
{
	const char *const fine[] = {conf.args[CONF_SERVE][0], "say", "hello", NULL};
	const char *const bad[] = {conf.args[CONF_SERVE][0], "fail", NULL};
	const char *const slow[] = {conf.args[CONF_SERVE][0], "stubborn", NULL};
	const char *const none[] = {"/no/such/program", NULL};

	(void)state;
	conf_start(CONF_SERVE);
	conf_wait_log();
	assert_int_equal(run_in(fine, 20000), 0);
	assert_int_equal(lab.status, 0);
	assert_string_equal(lab.output, "hello\n");
	assert_int_equal(run_in(bad, 20000), 0);
	assert_int_equal(lab.status, 7);
	assert_int_equal(run_in(slow, 300), -ETIMEDOUT);
	assert_true(run_in(none, 20000) < 0 || lab.status == 126 || lab.status == 127);
	/* None of that was an end of the instance's. */
	assert_int_equal(lab.ended, 0);
	assert_int_equal(kill((pid_t)conf_stats().pid, 0), 0);
}

static void programs_inside_can_be_ended(void **state)
{
	const char *const slow[] = {conf.args[CONF_SERVE][0], "stubborn", NULL};

	(void)state;
	conf_start(CONF_SERVE);
	conf_wait_log();
	/* At once, and so before it may have begun; and what has ended is no more to be ended. */
	lab.answers = 0;
	assert_int_equal(
		OPS->exec(lab.rt, ID, slow, 10 * 60 * 1000, conf_on_executed, &lab, &lab.err), 0);
	lab.in_call = true;
	OPS->exec_end(lab.rt, &lab);
	lab.in_call = false;
	conf_wait_count(&lab.answers, 1, "the end of a program");
	assert_int_equal(lab.r, -ECANCELED);
	OPS->exec_end(lab.rt, &lab);
	assert_int_equal(lab.answers, 1);
	assert_int_equal(kill((pid_t)conf_stats().pid, 0), 0);
	assert_int_equal(
		run_in((const char *const[]){conf.args[CONF_SERVE][0], "say", "on", NULL}, 20000),
		0);
}

const struct conf_case conf_cases_life[] = {
	CONF_CASE(probing_says_what_can_run, 0),
	CONF_CASE(images_are_checked, CONF_IMAGES),
	CONF_CASE(preparing_again_answers_the_same, CONF_IMAGES),
	CONF_CASE(a_life, 0),
	CONF_CASE(an_id_runs_once, 0),
	CONF_CASE(strangers_are_no_error, 0),
	CONF_CASE(who_does_not_listen_is_killed, CONF_HAS(CONF_STUBBORN)),
	CONF_CASE(a_good_end_is_told, CONF_HAS(CONF_EXIT)),
	CONF_CASE(a_bad_end_is_told, CONF_HAS(CONF_FAIL)),
	CONF_CASE(a_killed_process_is_told, 0),
	CONF_CASE(killing_is_an_event, CONF_KILL),
	CONF_CASE(too_much_memory_is_told, CONF_HAS(CONF_HOG)),
	CONF_CASE(cpu_time_is_counted, CONF_HAS(CONF_BUSY)),
	CONF_CASE(pausing_stands_still, CONF_PAUSE | CONF_HAS(CONF_BUSY)),
	CONF_CASE(programs_run_inside, CONF_EXEC),
	CONF_CASE(programs_inside_can_be_ended, CONF_EXEC),
	CONF_CASES_END,
};
