/* SPDX-License-Identifier: Apache-2.0 */
/* A qemu that is silent, babbles, refuses, hangs or dies at each step of starting and ending: who
 * waits is told in time, and nothing is left. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/machine.h"
#include "tests/lib/kernel.h"
#include "tests/lib/qemu_lab.h"

#define START_MS 3000

static char bin[64], script[PATH_MAX];

static void set_mode(const char *mode)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/mode", bin);
	assert_int_equal(weft_write_file(path, mode, strlen(mode), 0644), 0);
}

static int fake_setup(void **state)
{
	int r = qlab_setup(state);
	struct qlab *f = *state;

	weft_qemu_set_timeouts(f->rt, START_MS, 200, 1500);
	return r;
}

static const struct {
	const char *mode, *says; /* NULL: it starts all the same */
} starts[] = {
	{"die-at-once", "fake: die-at-once"},
	{"silent", "it did not greet in time"},
	{"garbage", "a line that is not QMP"},
	{"endless", "a line that does not end"},
	{"die-after-greeting", "fake: die-after-greeting"},
	{"refuse-qmp_capabilities", "qemu refused qmp_capabilities: fake: not qmp_capabilities"},
	{"hang-at-qmp_capabilities", "it did not negotiate in time"},
	{"die-at-qmp_capabilities", "fake: die-at-qmp_capabilities"},
	{"refuse-query-status", "did not report a running guest"},
	{"hang-at-query-status", "did not report a running guest"},
	{"die-at-query-status", "fake: die-at-query-status"},
	{"close-at-query-status", "did not report a running guest"},
	{"odd-status", "did not report a running guest"},
	{"refuse-cont", "did not report a running guest"},
	{"hang-at-cont", "did not report a running guest"},
	{"die-at-cont", "fake: die-at-cont"},
	{"slow", NULL},
};

static void bad_starts(void **state)
{
	struct qlab *f = *state;

	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_idle, test_code_idle_size);
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		struct weft_runtime_spec spec = qlab_spec(f);
		uint64_t begin = weft_now_ns();
		int r;

		set_mode(starts[i].mode);
		unlink(f->log);
		r = qlab_start_spec(f, &spec);
		print_message("# %s: %s, after %u ms\n", starts[i].mode, r ? f->err.msg : "runs",
			(unsigned)((weft_now_ns() - begin) / 1000000));
		if (!starts[i].says) {
			assert_int_equal(r, 0);
			assert_int_equal(qlab_delete(f), 0);
		} else {
			assert_true(r < 0);
			if (!strstr(f->err.msg, starts[i].says) || !strstr(f->err.msg, QLAB_ID))
				fail_msg("%s: '%s' does not say '%s'", starts[i].mode, f->err.msg,
					starts[i].says);
		}
		qlab_assert_nothing_left(f);
		assert_int_equal(f->events, 0); /* a start that fails is no event */
	}
}

static const struct {
	const char *status, *says;
} deaths[] = {
	{"internal-error", "internal error"},
	{"guest-panicked", "guest panicked"},
	{"watchdog", "watchdog ran out"},
	{"io-error", "I/O error"},
	{"shutdown", "shut down"},
};

/* qemu lives on in these states, the guest does not: that is a failure, and qemu's end. */
static void dead_guests(void **state)
{
	struct qlab *f = *state;

	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_idle, test_code_idle_size);
	for (size_t i = 0; i < ARRAY_SIZE(deaths); i++) {
		_cleanup_(freep) char *mode = weft_strf("then-%s", deaths[i].status);

		set_mode(mode);
		f->events = 0;
		qlab_start(f);
		qlab_await(f, &f->events, 1);
		assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
		if (!strstr(f->detail, deaths[i].says))
			fail_msg("%s: '%s'", mode, f->detail);
		qlab_assert_nothing_left(f);
	}
}

/* One that died while no daemon was there is not taken over. */
static void dead_before_adoption(void **state)
{
	struct qlab *f = *state;

	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_idle, test_code_idle_size);
	for (size_t i = 0; i < ARRAY_SIZE(deaths); i++) {
		_cleanup_(freep) char *mode = weft_strf("later-%s", deaths[i].status);

		set_mode(mode);
		f->events = 0;
		qlab_start(f);
		weft_runtime_qemu.free_(f->rt);
		qlab_new_runtime(f);
		weft_qemu_set_timeouts(f->rt, START_MS, 200, 1500);
		assert_int_equal(qlab_adopt(f), -ENOENT);
		if (!strstr(f->err.msg, deaths[i].says))
			fail_msg("%s: '%s'", mode, f->err.msg);
		assert_int_equal(qlab_delete(f), 0);
		qlab_assert_nothing_left(f);
		assert_int_equal(f->events, 0);
	}
}

/* Somebody else stops it by its monitor: that is a pause, from which it comes back. */
static void paused_by_others(void **state)
{
	struct qlab *f = *state;

	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_idle, test_code_idle_size);
	set_mode("then-paused");
	qlab_start(f);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_PAUSED);
	assert_true(qlab_pid(f) > 1); /* it has not ended */
	f->done = 0;
	assert_int_equal(weft_runtime_qemu.check(f->rt, QLAB_ID, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->done, 1);
	assert_int_not_equal(f->r, 0); /* it does not run */
	assert_int_equal(qlab_stop(f, 1000), 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 1);
}

/* Why there are no guests of another processor is told in qemu's words. */
static void arm_says_why(void **state)
{
	static const char *const says[] = {"exit status 1", "no such processor today", "try "};
	struct qlab *f = *state;

	assert_int_equal(weft_runtime_qemu.probe(f->rt, qlab_on_probed, f), 0);
	qlab_await(f, &f->probed, 1);
	assert_false(f->arm.usable);
	for (size_t i = 0; i < ARRAY_SIZE(says); i++)
		if (!strstr(f->arm.detail, says[i]))
			fail_msg("'%s' does not say '%s'", f->arm.detail, says[i]);
	assert_null(strstr(f->arm.detail, "first word"));
}

/* Stopping is asked for by the button or by "quit"; whatever comes of it, it ends in time. */
static void bad_ends(void **state)
{
	static const char *const modes[] = {
		"good", "refuse-quit", "hang-at-quit", "die-at-quit", "close-at-quit"};
	struct qlab *f = *state;

	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_idle, test_code_idle_size);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		set_mode(modes[i]);
		qlab_start(f);
		assert_int_equal(qlab_stop(f, 1000), 0);
		qlab_assert_nothing_left(f);
		assert_int_equal(f->events, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bad_starts, fake_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(dead_guests, fake_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(dead_before_adoption, fake_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(paused_by_others, fake_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(arm_says_why, fake_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(bad_ends, fake_setup, qlab_teardown),
	};
	_cleanup_(freep) char *path = NULL, *cmd = NULL;
	int failed;

	if (!qlab_available())
		return 0;
	if (system("command -v perl >/dev/null") != 0) {
		puts("1..0 # SKIP perl is not installed");
		return 0;
	}
	strcpy(bin, "/tmp/weft-test-fakeqemu-XXXXXX");
	if (!realpath("tests/lib/fake_qemu.pl", script) || !mkdtemp(bin))
		return 1;
	cmd = weft_strf("for q in " WEFT_QEMU_AMD64 " " WEFT_QEMU_ARM64
			"; do install -m 755 %s %s/$q || exit 1; done",
		script, bin);
	path = weft_strf("%s:%s", bin, getenv("PATH"));
	if (chmod(bin, 0755) < 0 || system(cmd) != 0)
		return 1;
	setenv("PATH", path, 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	weft_remove_tree(bin);
	return failed;
}
