/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on running guests, their limits and logs, and a qemu that hangs. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
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
#include "runtimes/cgroup.h"
#include "runtimes/cgroup_mounts.h"
#include "tests/lib/kernel.h"
#include "tests/lib/qemu_lab.h"

static const struct weft_runtime_ops *const ops = &weft_runtime_qemu;

#define MICROVM "{\"machine\": \"microvm\"}"

static int call(struct qlab *f, int (*op)(struct weft_runtime *, const char *, weft_runtime_done_t,
					void *, struct weft_err *))
{
	int r;

	f->done = 0;
	r = op(f->rt, QLAB_ID, qlab_on_done, f, &f->err);
	if (r < 0)
		return r;
	assert_int_equal(f->done, 0);
	qlab_await(f, &f->done, 1);
	return f->r;
}

static int send_signal(struct qlab *f, int signal)
{
	int r;

	f->done = 0;
	r = ops->kill(f->rt, QLAB_ID, signal, qlab_on_done, f, &f->err);
	if (r < 0)
		return r;
	qlab_await(f, &f->done, 1);
	return f->r;
}

static uint64_t cpu_now(struct qlab *f)
{
	struct weft_runtime_stats s;

	assert_int_equal(ops->stats(f->rt, QLAB_ID, &s), 0);
	return s.cpu_ns;
}

static void turn_for(struct qlab *f, uint64_t ns)
{
	uint64_t end = weft_now_ns() + ns;

	while (weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 20000) >= 0);
}

/* A guest that never sleeps uses CPU time, sooner or later. */
static void assert_runs(struct qlab *f)
{
	uint64_t start = cpu_now(f), end = weft_now_ns() + QLAB_DEADLINE_NS;

	while (cpu_now(f) - start < 50000000) {
		assert_true(sd_event_run(f->event, 20000) >= 0);
		assert_true(weft_now_ns() < end);
	}
}

static void assert_stands(struct qlab *f)
{
	uint64_t start;

	turn_for(f, 50000000); /* what it still did until it stood */
	start = cpu_now(f);
	turn_for(f, 200000000);
	assert_true(cpu_now(f) - start < 50000000);
}

static void pause_and_resume(void **state)
{
	struct qlab *f = *state;
	unsigned done;

	assert_int_equal(call(f, ops->pause), -ENOENT);
	qlab_prepare_code(f, MICROVM, test_code_busy, test_code_busy_size);
	qlab_start(f);
	assert_int_equal(call(f, ops->pause), 0);
	assert_int_equal(call(f, ops->pause), 0);
	assert_stands(f);
	assert_int_equal(call(f, ops->resume), 0);
	assert_int_equal(call(f, ops->resume), 0);
	assert_runs(f);
	assert_int_equal(f->events, 0); /* our own calls are no news */

	/* Many at once, the last one counts. */
	f->done = 0;
	for (int i = 0; i < 8; i++)
		assert_int_equal((i % 2 ? ops->pause : ops->resume)(
					 f->rt, QLAB_ID, qlab_on_done, f, &f->err),
			0);
	qlab_await(f, &f->done, 8);
	assert_stands(f);

	/* Stopped while paused, and while a call is under way. */
	done = f->done;
	assert_int_equal(ops->resume(f->rt, QLAB_ID, qlab_on_done, f, &f->err), 0);
	assert_int_equal(ops->delete_(f->rt, QLAB_ID, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->done, done + 2);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 0);
	assert_int_equal(call(f, ops->resume), -ENOENT);
}

static void paused_by_others(void **state)
{
	struct qlab *f = *state;

	/* A later daemon finds it paused, and says so. */
	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	assert_int_equal(call(f, ops->pause), 0);
	ops->free_(f->rt);
	qlab_new_runtime(f);
	assert_int_equal(qlab_adopt(f), 0);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_PAUSED);
	assert_int_equal(call(f, ops->resume), 0);
	assert_int_equal(qlab_stop(f, 5000), 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 1);
}

static void killed(void **state)
{
	struct qlab *f = *state;

	assert_int_equal(send_signal(f, SIGKILL), -ENOENT);
	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	assert_int_equal(send_signal(f, SIGUSR1), -ENOTSUP);
	assert_non_null(strstr(f->err.msg, "SIGUSR1"));
	assert_int_equal(send_signal(f, SIGKILL), 0);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	qlab_assert_nothing_left(f);

	qlab_start(f);
	assert_int_equal(send_signal(f, SIGTERM), 0); /* no button: qemu quits */
	qlab_await(f, &f->events, 2);
	assert_non_null(strstr(f->detail, "quit"));
	qlab_assert_nothing_left(f);
}

/* --- a qemu that is there and does nothing -------------------------------------------------------
 */

static void hangs(void **state)
{
	struct qlab *f = *state;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	weft_qemu_set_timeouts(f->rt, 0, 100, 600);
	qlab_start(f);
	/* As long as it answers nothing happens. */
	for (int i = 0; i < 30; i++)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_int_equal(f->events, 0);
	assert_int_equal(kill(qlab_pid(f), SIGSTOP), 0);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	assert_non_null(strstr(f->detail, "qemu hangs"));
	qlab_assert_nothing_left(f);

	/* Also with a call under way, which fails. */
	qlab_start(f);
	assert_int_equal(kill(qlab_pid(f), SIGSTOP), 0);
	f->done = 0;
	assert_int_equal(ops->pause(f->rt, QLAB_ID, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->events, 2);
	qlab_await(f, &f->done, 1);
	assert_true(f->r < 0);
	qlab_assert_nothing_left(f);
}

/* --- limits --------------------------------------------------------------------------------------
 */

static uint64_t limit(struct qlab *f, enum weft_cgroup_controller c, const char *v1, const char *v2)
{
	_cleanup_(freep) char *text = NULL;
	const struct weft_cgroup_hierarchy *h;
	struct weft_cgroup_mounts m;
	char path[600];

	assert_int_equal(weft_cgroup_mounts_read(&m), 0);
	h = weft_cgroup_mounts_find(&m, c);
	assert_non_null(h);
	assert_int_equal(
		weft_cgroup_mounts_path(h, f->cgroup, h->v2 ? v2 : v1, path, sizeof(path)), 0);
	assert_int_equal(weft_read_file(path, 4096, &text, NULL), 0);
	return strtoull(text, NULL, 10);
}

static void limits(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	uint64_t used, t;

	qlab_prepare_code(f, MICROVM, test_code_busy, test_code_busy_size);
	spec = qlab_spec(f);
	spec.vcpus = 2;
	spec.limits.cpu_milli = 100;
	spec.limits.cpu_weight = 50;
	spec.limits.pids = 10; /* less than qemu needs */
	assert_int_equal(qlab_start_spec(f, &spec), 0);
	assert_int_equal(limit(f, WEFT_CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max"), 10000);
	if (limit(f, WEFT_CGROUP_CPU, "cpu.shares", "cpu.weight") != 512)
		assert_int_equal(limit(f, WEFT_CGROUP_CPU, "cpu.shares", "cpu.weight"), 50);
	assert_true(limit(f, WEFT_CGROUP_PIDS, "pids.max", "pids.max") > 10);
	used = cpu_now(f);
	t = weft_now_ns();
	turn_for(f, 500000000);
	assert_true(cpu_now(f) - used < (weft_now_ns() - t) / 2); /* a tenth, were it exact */
	assert_int_equal(qlab_delete(f), 0);
	spec.limits.pids = 1000;
	assert_int_equal(qlab_start_spec(f, &spec), 0);
	assert_int_equal(limit(f, WEFT_CGROUP_PIDS, "pids.max", "pids.max"), 1000);
	assert_int_equal(qlab_delete(f), 0);

	/* More memory than its limits are refused by nobody, but one cannot be had. */
	spec.machine = "pdp11";
	assert_int_equal(qlab_start_spec(f, &spec), -ENOTSUP);
	assert_non_null(strstr(f->err.msg, "pdp11"));
	spec.machine = "q35";
	assert_int_equal(qlab_start_spec(f, &spec), 0);
	{
		_cleanup_(freep) char *log = NULL;

		assert_int_equal(weft_read_file(f->log, 65536, &log, NULL), 0);
		assert_non_null(strstr(log, "qemu q35 on "));
	}
	assert_int_equal(qlab_delete(f), 0);
	qlab_assert_nothing_left(f);
}

static void mounts(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_mount m[] = {{.source = f->inst, .target = "/data"},
		{.source = f->dir, .target = "/all", .read_only = true}};
	struct weft_runtime_spec spec;

	qlab_prepare_code(f, "{\"machine\": \"q35\"}", test_code_idle, test_code_idle_size);
	spec = qlab_spec(f);
	spec.mounts = m;
	spec.n_mounts = 2;
	if (qlab_start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
	assert_int_equal(qlab_delete(f), 0);
	m[1].source = "/no/such/place";
	assert_int_equal(qlab_start_spec(f, &spec), -ENOENT);
	assert_non_null(strstr(f->err.msg, "/no/such/place"));
	m[1].source = "/etc/passwd";
	assert_int_equal(qlab_start_spec(f, &spec), -ENOTDIR);
	m[1].source = f->dir;
	m[1].target = "/a:b";
	assert_int_equal(qlab_start_spec(f, &spec), -EINVAL);
	qlab_assert_nothing_left(f);
}

/* --- log -----------------------------------------------------------------------------------------
 */

static off_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

/* A guest that never stops talking. */
static void log_is_rotated(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;
	char old[PATH_MAX + 2], first[64] = "";
	int fd;

	snprintf(old, sizeof(old), "%s.1", f->log);
	qlab_prepare_code(f, MICROVM, test_code_chatter, test_code_chatter_size);
	spec = qlab_spec(f);
	spec.log_max_bytes = 20000;
	assert_int_equal(qlab_start_spec(f, &spec), 0);
	while (size_of(old) < 0 && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_true(size_of(old) >= 20000);
	/* A daemon that takes it over goes on with it. */
	ops->free_(f->rt);
	assert_int_equal(unlink(old), 0);
	qlab_new_runtime(f);
	f->done = 0;
	assert_int_equal(ops->adopt(f->rt, &spec, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->done, 1);
	assert_int_equal(f->r, 0);
	while (size_of(old) < 0 && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_true(size_of(old) >= 20000);
	fd = open(f->log, O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, first, sizeof(first) - 1) >= 0);
	close(fd);
	assert_null(strstr(first, "weft:")); /* the beginning has gone to the old one */
	assert_int_equal(qlab_delete(f), 0);
	qlab_assert_nothing_left(f);
}

/* --- again and again -----------------------------------------------------------------------------
 */

static void hundred_rounds(void **state)
{
	struct qlab *f = *state;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	for (int i = 0; i < 100; i++) {
		qlab_start(f);
		assert_int_equal(i % 2 ? qlab_stop(f, 5000) : qlab_delete(f), 0);
		qlab_assert_nothing_left(f);
	}
	assert_int_equal(f->events, 0);
	/* qlab_teardown() compares the descriptors. */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pause_and_resume, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(paused_by_others, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(killed, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(hangs, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(limits, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(mounts, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(log_is_rotated, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(hundred_rounds, qlab_setup, qlab_teardown),
	};

	return qlab_available() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
