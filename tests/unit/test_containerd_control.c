/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to an instance that runs: pause and resume, kill, exec; and what it leaves: its log,
 * rotated, and its numbers. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "tests/lib/ctrd_lab.h"

#define PAUSE(id)  clab_expect(CLAB_OPS->pause(clab.rt, id, clab_on_done, NULL, &clab.err), 0)
#define RESUME(id) clab_expect(CLAB_OPS->resume(clab.rt, id, clab_on_done, NULL, &clab.err), 0)

static bool gvisor;

static int setup(void **state)
{
	(void)state;
	if (clab_setup("ctrcontrol", 0) < 0)
		return -1;
	clab.virt = gvisor ? WEFT_VIRT_GVISOR : WEFT_VIRT_CONTAINER;
	clab_import();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return clab_teardown();
}

static int no_events(void **state)
{
	(void)state;
	clab.n_events = 0;
	return 0;
}

static int nothing_left(void **state)
{
	(void)state;
	clab_assert_clean(1);
	return 0;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no '%s' in: %s", part, text);
}

/* --- pause, resume, kill -------------------------------------------------------------------------
 */

static unsigned last_tick(const char *id)
{
	_cleanup_(freep) char *log = clab_log(id);
	unsigned n = 0;

	for (const char *p = log; (p = strstr(p, "tick ")); p++)
		n = (unsigned)atoi(p + 5);
	return n;
}

/* Of what stands still no further line comes, however long one waits; it has no CPU time either. */
static void assert_still(const char *id)
{
	uint64_t cpu = clab_stats(id).cpu_ns, end = weft_now_ns() + 300000000;
	unsigned tick = last_tick(id);

	while (weft_now_ns() < end)
		clab_turn(10000);
	assert_int_equal(last_tick(id), tick);
	if (!gvisor) /* whose sentry does not sleep in its cgroup */
		assert_true(clab_stats(id).cpu_ns - cpu < 5000000);
}

static void test_pause(void **state)
{
	unsigned tick;

	(void)state;
	clab_run(clab_spec("test.pause", "tick 5"));
	clab_wait_log("test.pause", "tick 3");
	PAUSE("test.pause");
	tick = last_tick("test.pause");
	assert_still("test.pause");
	PAUSE("test.pause"); /* again is no error */
	RESUME("test.pause");
	RESUME("test.pause");
	clab_wait_for(last_tick("test.pause") > tick + 3);
	assert_int_equal(clab.n_events, 0); /* it was asked for */

	PAUSE("test.pause");
	clab_expect(clab_stop("test.pause", 100), 0);
	clab_delete("test.pause");
	clab_expect(CLAB_OPS->pause(clab.rt, "test.pause", clab_on_done, NULL, &clab.err), -ENOENT);
	clab_expect(
		CLAB_OPS->resume(clab.rt, "test.pause", clab_on_done, NULL, &clab.err), -ENOENT);
	assert_int_equal(clab.n_events, 0);
}

static void test_delete_paused(void **state)
{
	(void)state;
	clab_run(clab_spec("test.frozen", "serve"));
	PAUSE("test.frozen");
	clab_delete("test.frozen");
}

/* By somebody else. */
static void test_pause_events(void **state)
{
	(void)state;
	clab_run(clab_spec("test.other", "serve"));
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "tasks pause test.other"), 0);
	clab_expect_event("test.other", WEFT_RUNTIME_PAUSED);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "tasks resume test.other"), 0);
	clab_expect_event("test.other", WEFT_RUNTIME_RESUMED);
	/* while containerd does not speak to us */
	assert_int_equal(clab.n_events, 2);
	clab.n_events = 0;
	PAUSE("test.other");
	test_ctrd_kill(&clab.ctrd);
	clab_expect(clab_adopt("test.other"), -ECONNREFUSED);
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "tasks ls -q") == 1);
	assert_int_equal(clab.n_events, 0);
	RESUME("test.other");
	clab_delete("test.other");
	assert_int_equal(clab.n_events, 0);
}

/* A later daemon does not know that it is paused. */
static void test_adopt_paused(void **state)
{
	(void)state;
	clab_run(clab_spec("test.adopted", "serve"));
	PAUSE("test.adopted");
	CLAB_OPS->free_(clab.rt);
	clab.rt = clab_runtime();
	clab_expect(clab_adopt("test.adopted"), 0);
	clab_expect_event("test.adopted", WEFT_RUNTIME_PAUSED);
	clab_expect(clab_stop("test.adopted", 5000), 0);
	clab_assert_log("test.adopted", "bye 15"); /* it could act on the signal */
	clab_delete("test.adopted");
	assert_int_equal(clab.n_events, 1);
}

static void test_kill(void **state)
{
	(void)state;
	clab_run(clab_spec("test.kill", "serve"));
	clab_wait_log("test.kill", "on stderr");
	clab_expect(
		CLAB_OPS->kill(clab.rt, "test.kill", SIGQUIT, clab_on_done, NULL, &clab.err), 0);
	clab_expect_event("test.kill", WEFT_RUNTIME_EXITED);
	clab_assert_log("test.kill", "bye 3");
	clab_delete("test.kill");

	clab_run(clab_spec("test.kill", "serve"));
	PAUSE("test.kill");
	clab_expect(
		CLAB_OPS->kill(clab.rt, "test.kill", SIGKILL, clab_on_done, NULL, &clab.err), 0);
	clab_expect_event("test.kill", WEFT_RUNTIME_FAILED);
	assert_has(clab.events[clab.n_events - 1].detail, "SIGKILL");
	clab_delete("test.kill");
	clab_expect(CLAB_OPS->kill(clab.rt, "test.kill", SIGKILL, clab_on_done, NULL, &clab.err),
		-ENOENT);
	assert_int_equal(
		CLAB_OPS->kill(clab.rt, "test.kill", 0, clab_on_done, NULL, &clab.err), -EINVAL);
}

/* --- exec ----------------------------------------------------------------------------------------
 */

static void test_exec(void **state)
{
	(void)state;
	clab_skip_in_chroot();
	clab_run(clab_spec("test.exec", "serve"));
	clab_exec("test.exec", "groups", 10000, 0);
	assert_int_equal(clab.status, 0);
	assert_has(clab.output, "groups uid=1234 gid=5678 cwd=/tmp host=test.exec KEY=value with");
	assert_has(clab.output, "on stderr\n");
	clab_exec("test.exec", "exit 9", 10000, 0);
	assert_int_equal(clab.status, 9);
	/* more than is kept */
	clab_exec("test.exec", "print 4000 100", 10000, 0);
	assert_int_equal(clab.status, 0);
	assert_int_equal(clab.output_size, 65536);
	assert_has(clab.output, "line 00000000");

	clab_exec("test.exec", "serve", 700, -ETIMEDOUT);
	print_message("# %s\n", clab.err.msg);
	assert_has(clab.err.msg, "test.exec: exec /init: killed, as it took more than 700 ms");
	clab_exec("test.exec", "hog", 300, -ETIMEDOUT);
	/* only the instance's own process is left */
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "tasks ps test.exec") == 2);
	clab_exec("no.such.instance", "groups", 1000, -ENOENT);
	clab_expect(clab_stop("test.exec", 5000), 0);
	clab_exec("test.exec", "groups", 1000, -ENOENT);
	clab_delete("test.exec");
	assert_int_equal(clab.n_events, 0);
}

static void on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	(void)status;
	(void)size;
	clab_on_done(userdata, r, err);
	snprintf(clab.output, sizeof(clab.output), "%s", output);
}

static int begin_exec(const char *id, const char *const *argv)
{
	return CLAB_OPS->exec(clab.rt, id, argv, 60000, on_executed, NULL, &clab.err);
}

static void test_exec_fails(void **state)
{
	static const char *const argv[] = {"/no/such/program", NULL}, *const none[] = {NULL};
	static const char *const ticks[] = {"/init", "tick", "10", NULL};

	(void)state;
	clab_skip_in_chroot();
	clab_run(clab_spec("test.exec", "serve"));
	assert_int_equal(begin_exec("test.exec", argv), 0);
	while (!clab.answered)
		clab_turn(100000);
	clab.answered = false;
	print_message("# %d: %s\n", clab.result, clab.err.msg);
	assert_true(clab.result < 0);
	assert_has(clab.err.msg, "/no/such/program");
	assert_int_equal(begin_exec("test.exec", none), -EINVAL);
	/* its instance ends under it */
	assert_int_equal(begin_exec("test.exec", ticks), 0);
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "tasks ps test.exec") == 3);
	kill((pid_t)clab_stats("test.exec").pid, SIGKILL);
	while (!clab.answered)
		clab_turn(100000);
	clab.answered = false;
	clab_expect_event("test.exec", WEFT_RUNTIME_FAILED);
	clab_delete("test.exec");
}

/* containerd goes away, or the daemon does: nothing goes on running in the instance. */
static void test_exec_interrupted(void **state)
{
	static const char *const ticks[] = {"/init", "tick", "10", NULL};

	(void)state;
	clab_skip_in_chroot();
	clab_run(clab_spec("test.exec", "serve"));
	assert_int_equal(begin_exec("test.exec", ticks), 0);
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "tasks ps test.exec") == 3);
	test_ctrd_kill(&clab.ctrd);
	clab_expect(0, -ECONNREFUSED);
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "tasks ps test.exec") == 2);

	assert_int_equal(begin_exec("test.exec", ticks), 0);
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "tasks ps test.exec") == 3);
	CLAB_OPS->free_(clab.rt);
	clab.rt = clab_runtime();
	clab_expect(clab_adopt("test.exec"), 0);
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "tasks ps test.exec") == 2);
	clab_delete("test.exec");
	assert_int_equal(clab.n_events, 0);
}

static char *make_file(const char *dir, const char *name)
{
	char *path = weft_strf("%s/%s", dir, name);

	assert_int_equal(weft_mkdir_p(dir, 0700), 0);
	assert_int_equal(weft_write_file(path, "", 0, 0600), 0);
	return path;
}

/* What a daemon that was killed leaves of an exec in a sandbox goes, and last its pipe: by that the
 * next one finds the rest. */
static void test_exec_leftovers(void **state)
{
	_cleanup_(freep) char *pipes = weft_strf("%s/containerd/exec", clab.ctrd.dir);
	_cleanup_(freep) char *pids = weft_strf("%s/containerd/runc/weft.exec", clab.ctrd.dir);
	_cleanup_(freep) char *pid = make_file(pids, "weft-exec-1-0.pid");
	_cleanup_(freep) char *pipe = make_file(pipes, "weft-exec-1-0@test.none");
	_cleanup_(closep) int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	_Alignas(struct inotify_event) char buf[4096];
	const struct inotify_event *e = (const void *)buf;

	(void)state;
	assert_true(inotify_add_watch(fd, pids, IN_DELETE) >= 0);
	assert_true(inotify_add_watch(fd, pipes, IN_DELETE) >= 0);
	CLAB_OPS->free_(clab.rt);
	clab.rt = clab_runtime();
	clab_expect(clab_adopt("test.none"), -ENOENT); /* so it is connected */
	clab_wait_for(access(pid, F_OK) < 0 && access(pipe, F_OK) < 0);
	assert_true(read(fd, buf, sizeof(buf)) > 0);
	assert_string_equal(e->name, strrchr(pid, '/') + 1);
	e = (const void *)(buf + sizeof(*e) + e->len);
	assert_string_equal(e->name, strrchr(pipe, '/') + 1);
}

/* --- log -----------------------------------------------------------------------------------------
 */

static size_t count(const char *text, const char *part)
{
	size_t n = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		n++;
	return n;
}

static void test_log_is_rotated(void **state)
{
	struct weft_runtime_spec *spec = clab_spec("test.rotated", "print 5000 100");
	_cleanup_(freep) char *old_path = weft_strf("%s.1", spec->log_path);
	_cleanup_(freep) char *log = NULL, *old = NULL, *both = NULL;
	struct stat st;

	(void)state;
	spec->log_max_bytes = 65536;
	log = clab_output(spec);
	assert_int_equal(stat(old_path, &st), 0);
	assert_true(st.st_size <= 65536 && st.st_size > 65000);
	assert_true(strlen(log) <= 65536);
	/* Whole lines in both, and the last ones: what the two pipes hold at the end may be written
	 * in either order, with a rotation in between. */
	assert_int_equal(strncmp(log, "line ", 5), 0);
	assert_int_equal(weft_read_file(old_path, 1 << 20, &old, NULL), 0);
	assert_int_equal(strncmp(old, "line ", 5), 0);
	assert_int_equal(old[strlen(old) - 1], '\n');
	both = weft_strf("%s%s", old, log);
	assert_has(both, "line 00004999");
	assert_has(both, "line 00004998");

	unlink(old_path);
	spec = clab_spec("test.whole", "print 5000 100"); /* 0: never */
	free(TAKE_PTR(log));
	log = clab_output(spec);
	assert_int_equal(count(log, "line "), 5000);
}

/* The daemon and containerd come and go: not a line is lost. */
static void test_log_goes_on(void **state)
{
	_cleanup_(freep) char *log = NULL;
	unsigned last, want = 0;

	(void)state;
	clab_run(clab_spec("test.goes.on", "tick 2"));
	clab_wait_log("test.goes.on", "tick 5");
	CLAB_OPS->free_(clab.rt);
	last = last_tick("test.goes.on");
	while (last_tick("test.goes.on") < last + 50)
		usleep(10000);
	test_ctrd_kill(&clab.ctrd);
	last = last_tick("test.goes.on");
	while (last_tick("test.goes.on") < last + 50)
		usleep(10000);
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	clab.rt = clab_runtime();
	clab_expect(clab_adopt("test.goes.on"), 0);
	clab_expect(clab_stop("test.goes.on", 100), 0);
	clab_delete("test.goes.on");
	log = clab_log("test.goes.on");
	for (const char *p = log; (p = strstr(p, "tick ")); p++)
		if (p > log && p[-1] == '\n' && p[5] >= '0' && p[5] <= '9')
			assert_int_equal(atoi(p + 5), want++);
	assert_true(want > 100);
}

/* What the instance wrote last is in the log once it is gone, however much that was. */
static void test_last_words(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		struct weft_runtime_spec *spec = clab_spec("test.last", "print 2000 60");
		_cleanup_(freep) char *log = clab_output(spec);

		assert_int_equal(count(log, "line "), 2000);
		unlink(clab_spec("test.last", NULL)->log_path);
	}
}

/* --- numbers -------------------------------------------------------------------------------------
 */

/* It is counted in hundredths of a second, of which a quick shim needs none to start an instance.
 */
static void work_the_shim(const char *id)
{
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;

	while (clab_stats(id).helper_cpu_ns == 0 && weft_now_ns() < end) {
		PAUSE(id);
		RESUME(id);
	}
}

static void test_stats(void **state)
{
	struct weft_runtime_stats s;
	uint64_t cpu;

	(void)state;
	clab_run(clab_spec("test.stats", "spin"));
	clab_wait_for(clab_stats("test.stats").cpu_ns > 200000000);
	work_the_shim("test.stats");
	s = clab_stats("test.stats");
	cpu = s.cpu_ns;
	print_message("# memory %.1f MiB, helpers %.1f MiB, %.0f ms\n",
		(double)s.memory_bytes / 1048576, (double)s.helper_memory_bytes / 1048576,
		(double)s.helper_cpu_ns / 1e6);
	assert_true(s.memory_bytes > 0 && s.pid > 0);
	assert_true(s.helper_memory_bytes > 1 << 18 && s.helper_memory_bytes < 64 << 20);
	assert_true(s.helper_cpu_ns > 0);
	clab_wait_for(clab_stats("test.stats").cpu_ns > cpu + 200000000);
	clab_delete("test.stats");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, no_events, nothing_left)
	const struct CMUnitTest tests[] = {
		T(test_pause),
		T(test_delete_paused),
		T(test_pause_events),
		T(test_adopt_paused),
		T(test_kill),
		T(test_exec),
		T(test_exec_fails),
		T(test_exec_interrupted),
		T(test_exec_leftovers),
		T(test_log_is_rotated),
		T(test_log_goes_on),
		T(test_last_words),
		T(test_stats),
	};
	const char *missing = clab_missing();
	int failed;

	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	failed = cmocka_run_group_tests_name("runc", tests, setup, teardown);
	missing = clab_runsc_missing();
	gvisor = true;
	if (missing)
		printf("1..1\nok 1 - gVisor # SKIP %s\n", missing);
	else
		failed += cmocka_run_group_tests_name("gvisor", tests, setup, teardown);
	return failed;
}
