/* SPDX-License-Identifier: Apache-2.0 */
/* What is promised beyond one instance of one daemon: the next daemon, others beside it, long use.
 */
#include <dirent.h>
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
#include "ctrl/dataplane/link.h"
#include "tests/conformance/lab.h"

#define ROUNDS 100

static void the_next_daemon_adopts(void **state)
{
	uint32_t pid;

	(void)state;
	conf_start(CONF_SERVE);
	conf_wait_log();
	pid = conf_stats().pid;
	conf_daemon_down();
	assert_int_equal(kill((pid_t)pid, 0), 0);
	conf_daemon_up();
	assert_int_equal(conf_adopt(), 0);
	assert_int_equal(conf_stats().pid, pid);
	assert_int_equal(conf_adopt(), 0); /* again: no harm */
	/* It is watched again. */
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
	conf_wait_count(&lab.ended, 1, "its end");
	conf_assert_gone();
}

static void who_ended_meanwhile_is_not_adopted(void **state)
{
	uint64_t end = weft_now_ns() + WAIT_NS;
	uint32_t pid;

	(void)state;
	conf_start(CONF_SERVE);
	conf_wait_log();
	pid = conf_stats().pid;
	conf_daemon_down();
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
	conf_daemon_up();
	/* Whoever watches it in the daemon's absence may need a moment to see it. */
	while (conf_adopt() == 0 && weft_now_ns() < end) {
		if (lab.ended)
			break;
		conf_turn(10000);
	}
	assert_true(lab.r == -ENOENT || lab.ended == 1);
	assert_int_equal(conf_delete(ID), 0);
	conf_assert_gone();
}

static void a_restarted_daemon_can_clean_up(void **state)
{
	uint32_t pid;

	(void)state;
	conf_start(CONF_SERVE);
	pid = conf_stats().pid;
	conf_daemon_down();
	conf_daemon_up();
	assert_int_equal(conf_delete(ID), 0); /* without having adopted it */
	assert_int_equal(kill((pid_t)pid, 0), -1);
	conf_assert_gone();
	conf_start(CONF_SERVE); /* the name is free again */
}

/* After free() nobody is told anything: asserted by the callbacks' use of a runtime that is gone.
 */
static void nothing_is_told_after_the_end(void **state)
{
	struct weft_runtime_spec spec;

	(void)state;
	assert_int_equal(conf_prepare(conf.image[CONF_SERVE]), 0);
	spec = conf_spec(CONF_SERVE);
	lab.answers = 0;
	assert_int_equal(OPS->start(lab.rt, &spec, conf_on_done, &lab, &lab.err), 0);
	conf_daemon_down();
	assert_int_equal(lab.answers, 0);
	conf_daemon_up();
	for (int i = 0; i < 20; i++)
		conf_turn(10000);
	assert_int_equal(lab.answers, 0);
	assert_int_equal(lab.events, 0);
	assert_int_equal(conf_delete(ID), 0);
}

static void deleting_kills(void **state)
{
	uint32_t pid;

	(void)state;
	conf_start(CONF_STUBBORN);
	pid = conf_stats().pid;
	assert_int_equal(conf_delete(ID), 0);
	assert_int_equal(kill((pid_t)pid, 0), -1);
	conf_assert_gone();
	assert_int_equal(lab.ended, 0);
}

static void two_side_by_side(void **state)
{
	struct weft_runtime_spec spec;
	struct weft_runtime_stats a, b;

	(void)state;
	conf_start(CONF_SERVE);
	spec = conf_spec(CONF_SERVE);
	spec.id = OTHER;
	/* gVisor takes the address out of a namespace: each instance has one of its own. */
	spec.net.netns = NULL;
	assert_int_equal(conf_start_spec(&spec), 0);
	assert_int_equal(OPS->stats(lab.rt, ID, &a), 0);
	assert_int_equal(OPS->stats(lab.rt, OTHER, &b), 0);
	assert_int_not_equal(a.pid, b.pid);
	assert_int_equal(conf_delete(OTHER), 0);
	assert_int_equal(OPS->stats(lab.rt, ID, &a), 0);
}

/* A log that would grow without end is rotated: the file and one old one, each of about the size.
 */
static void logs_are_rotated(void **state)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", lab.log_path);
	uint64_t end = weft_now_ns() + WAIT_NS;
	struct weft_runtime_spec spec;
	bool rotated = false;

	(void)state;
	assert_int_equal(conf_prepare(conf.image[CONF_TALK]), 0);
	spec = conf_spec(CONF_TALK);
	spec.log_max_bytes = 256 << 10;
	assert_int_equal(conf_start_spec(&spec), 0);
	while (!rotated && weft_now_ns() < end) {
		rotated = access(old, F_OK) == 0;
		conf_turn(10000);
	}
	assert_true(rotated);
	assert_int_equal(conf_delete(ID), 0);
	for (int i = 0; i < 2; i++) {
		_cleanup_(freep) char *text = NULL;
		size_t size = 0;

		assert_int_equal(weft_read_file(i ? old : lab.log_path, 1 << 20, &text, &size), 0);
		assert_in_range(size, i ? 1 : 0, 512 << 10);
	}
	unlink(old);
}

static unsigned count_fds(void)
{
	_cleanup_(closedirp) DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	return n;
}

static unsigned count_mounts(void)
{
	_cleanup_(freep) char *text = NULL;
	unsigned n = 0;

	assert_int_equal(weft_read_file("/proc/self/mountinfo", 1 << 20, &text, NULL), 0);
	for (const char *at = text; (at = strstr(at, conf.dir)); at++)
		n++;
	return n;
}

static void many_rounds_leak_nothing(void **state)
{
	unsigned before = 0, mounts = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		conf_start(CONF_SERVE);
		assert_int_equal(conf_stop(i % 2 ? 0 : 1000), 0);
		assert_int_equal(conf_delete(ID), 0);
		if (conf.target->netns) { /* each start needs a namespace made anew */
			struct weft_err err = {0};

			assert_int_equal(weft_netns_del(lab.netns), 0);
			assert_int_equal(weft_netns_add(lab.netns, &err), 0);
		}
		if (i == 1) {
			before = count_fds();
			mounts = count_mounts();
		}
	}
	assert_int_equal(count_fds(), before);
	assert_int_equal(count_mounts(), mounts);
	assert_int_equal(lab.ended, 0);
}

const struct conf_case conf_cases_daemon[] = {
	CONF_CASE(the_next_daemon_adopts, 0),
	CONF_CASE(who_ended_meanwhile_is_not_adopted, 0),
	CONF_CASE(a_restarted_daemon_can_clean_up, 0),
	CONF_CASE(nothing_is_told_after_the_end, 0),
	CONF_CASE(deleting_kills, CONF_HAS(CONF_STUBBORN)),
	CONF_CASE(two_side_by_side, 0),
	CONF_CASE(logs_are_rotated, CONF_ROTATES | CONF_HAS(CONF_TALK)),
	CONF_CASE(many_rounds_leak_nothing, 0),
	CONF_CASES_END,
};
