/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/qemu/machine.h"
#include "runtimes/qemu/qmp.h"
#include "tests/lib/kernel.h"
#include "tests/lib/qemu_lab.h"

static const struct weft_runtime_ops *const ops = &weft_runtime_qemu;
static char guest_image[PATH_MAX];

#define MICROVM "{\"machine\": \"microvm\"}"
#define Q35     "{\"machine\": \"q35\"}"

/* --- the probe -----------------------------------------------------------------------------------
 */

static void probe(void **state)
{
	struct qlab *f = *state;
	char path[PATH_MAX];
	struct stat st;

	assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
	assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
	assert_int_equal(f->probed, 0);
	qlab_await(f, &f->probed, 2);
	assert_true(f->cap.usable);
	assert_int_equal(f->cap.virt, WEFT_VIRT_UNIKERNEL);
	assert_int_equal(strncmp(f->cap.version, "qemu ", 5), 0);
	assert_true(strncmp(f->cap.detail, "TCG: ", 5) == 0 || strcmp(f->cap.detail, "KVM") == 0);
	print_message("# %s, %s\n", f->cap.version, f->cap.detail);

	/* Known from then on, also to the next daemon when the guest got through. */
	snprintf(path, sizeof(path), "%s/qemu/accel.json", f->dir);
	if (stat(path, &st) == 0) {
		char text[sizeof(f->cap.detail)];

		memcpy(text, f->cap.detail, sizeof(text));
		ops->free_(f->rt);
		qlab_new_runtime(f);
		assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
		qlab_await(f, &f->probed, 3);
		assert_string_equal(f->cap.detail, text);
	}
	/* Freed while it probes. */
	assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
}

static void not_installed(void **state)
{
	struct qlab *f = *state;
	static const char script[] = "#!/bin/sh\nexit 3\n";
	_cleanup_(freep) char *path = strdup(getenv("PATH")), *broken = NULL;
	struct weft_runtime_spec spec;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	if (access("/usr/bin/" WEFT_QEMU_AMD64, X_OK) == 0 && geteuid() == 0) {
		/* The search path always ends with the sbin directories; qemu is in bin. */
		setenv("PATH", f->dir, 1);
		assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
		qlab_await(f, &f->probed, 1);
		assert_false(f->cap.usable);
		assert_non_null(strstr(f->cap.detail, "apt-get install qemu-system-x86"));
		spec = qlab_spec(f);
		assert_int_equal(qlab_start_spec(f, &spec), -ENOTSUP);
		assert_non_null(strstr(f->err.msg, "not installed"));
		/* There, and no good. */
		broken = weft_strf("%s/" WEFT_QEMU_AMD64, f->dir);
		assert_int_equal(weft_write_file(broken, script, strlen(script), 0755), 0);
		assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
		qlab_await(f, &f->probed, 2);
		assert_false(f->cap.usable);
		assert_non_null(strstr(f->cap.detail, "does not say its version: exit status 3"));
		assert_int_equal(qlab_start_spec(f, &spec), -ENOTSUP);
		assert_non_null(strstr(f->err.msg, "does not say its version"));
		assert_int_equal(unlink(broken), 0);
		qlab_assert_nothing_left(f);
		setenv("PATH", path, 1);
	}
	/* Installed meanwhile. */
	assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
	qlab_await(f, &f->probed, f->probed + 1);
	assert_true(f->cap.usable);
}

/* --- life and death ------------------------------------------------------------------------------
 */

static void life(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	struct weft_runtime_stats s;
	_cleanup_(freep) char *text = NULL, *log = NULL, *group = NULL;
	char path[PATH_MAX];

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	spec = qlab_spec(f);
	assert_int_equal(qlab_start_spec(f, &spec), -EEXIST);
	assert_int_equal(ops->stats(f->rt, QLAB_ID, &s), 0);
	assert_true(s.cpu_ns > 0 && s.memory_bytes > 0);

	/* Unprivileged, confined, in its cgroup. */
	snprintf(path, sizeof(path), "/proc/%u/status", s.pid);
	assert_int_equal(weft_read_file(path, 65536, &text, NULL), 0);
	assert_non_null(strstr(text, "Uid:\t65534\t65534\t65534\t65534"));
	assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
	assert_non_null(strstr(text, "NoNewPrivs:\t1"));
	assert_non_null(strstr(text, "Seccomp:\t2"));
	assert_int_equal(weft_cgroup_of_pid((pid_t)s.pid, &group), 0);
	assert_string_equal(group, f->cgroup);
	assert_int_equal(weft_read_file(f->log, 65536, &log, NULL), 0);
	assert_non_null(strstr(log, "weft: " QLAB_ID ": qemu microvm on "));

	assert_int_equal(qlab_stop(f, 5000), 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(qlab_stop(f, 5000), 0);
	assert_int_equal(qlab_delete(f), 0);
	assert_int_equal(qlab_delete(f), 0);
	assert_int_equal(f->events, 0);
	/* The same id again. */
	qlab_start(f);
	assert_int_equal(qlab_delete(f), 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

static void console(void **state)
{
	struct qlab *f = *state;
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;
	bool seen = false;

	qlab_prepare_code(f, MICROVM, test_code_hello, test_code_hello_size);
	qlab_start(f);
	while (!seen && weft_now_ns() < end) {
		_cleanup_(freep) char *log = NULL;

		assert_true(sd_event_run(f->event, 10000) >= 0);
		assert_int_equal(weft_read_file(f->log, 65536, &log, NULL), 0);
		seen = strstr(log, "\nK\n") != NULL;
	}
	assert_true(seen);
	assert_int_equal(qlab_delete(f), 0);
}

static void guest_ends(void **state)
{
	struct qlab *f = *state;
	const struct {
		const char *hints;
		const uint8_t *code;
		size_t size;
		enum weft_runtime_event event;
		const char *detail;
	} ends[] = {
		{Q35, test_code_poweroff, test_code_poweroff_size, WEFT_RUNTIME_EXITED,
			"guest shut down"},
		{Q35, test_code_panic, test_code_panic_size, WEFT_RUNTIME_FAILED, "guest panicked"},
		{MICROVM, test_code_panic, test_code_panic_size, WEFT_RUNTIME_FAILED,
			"guest panicked"},
		{MICROVM, test_code_reset, test_code_reset_size, WEFT_RUNTIME_FAILED,
			"guest reset"},
		{"{\"machine\": \"q35\", \"watchdog\": true}", test_code_watchdog,
			test_code_watchdog_size, WEFT_RUNTIME_FAILED, "watchdog"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct weft_runtime_spec spec;

		qlab_prepare_code(f, ends[i].hints, ends[i].code, ends[i].size);
		spec = qlab_spec(f);
		f->events = 0;
		/* A guest may end before qemu has said that it runs: the reason is known all the
		 * same. */
		if (qlab_start_spec(f, &spec) == 0) {
			qlab_await(f, &f->events, 1);
			assert_int_equal(f->event_kind, ends[i].event);
		} else {
			snprintf(f->detail, sizeof(f->detail), "%.200s", f->err.msg);
		}
		if (!strstr(f->detail, ends[i].detail))
			fail_msg("'%s' does not say '%s'", f->detail, ends[i].detail);
		qlab_assert_nothing_left(f);
	}
}

static void killed(void **state)
{
	struct qlab *f = *state;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	assert_int_equal(kill(qlab_pid(f), SIGKILL), 0);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	assert_non_null(strstr(f->detail, "SIGKILL"));
	qlab_assert_nothing_left(f);

	/* Told to end by somebody else. */
	qlab_start(f);
	assert_int_equal(kill(qlab_pid(f), SIGTERM), 0);
	qlab_await(f, &f->events, 2);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	assert_non_null(strstr(f->detail, "by a signal"));
	qlab_assert_nothing_left(f);
}

static void hung_at_start(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	struct weft_runtime_stats s;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	spec = qlab_spec(f);
	weft_qemu_set_timeouts(f->rt, 300, 0, 0);
	f->done = 0;
	assert_int_equal(ops->start(f->rt, &spec, qlab_on_done, f, &f->err), 0);
	while (ops->stats(f->rt, QLAB_ID, &s) < 0)
		assert_true(sd_event_run(f->event, 50000) >= 0);
	assert_int_equal(kill((pid_t)s.pid, SIGSTOP), 0);
	qlab_await(f, &f->done, 1);
	assert_int_equal(f->r, -ETIMEDOUT);
	assert_non_null(strstr(f->err.msg, QLAB_ID));
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

static void hung_later(void **state)
{
	struct qlab *f = *state;
	uint64_t t;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	assert_int_equal(kill(qlab_pid(f), SIGSTOP), 0);
	t = weft_now_ns();
	assert_int_equal(qlab_stop(f, 200), 0);
	assert_true(weft_now_ns() - t >= 200000000ULL);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

/* A guest that ignores the power button is killed after its grace. */
static void power_button(void **state)
{
	struct qlab *f = *state;
	unsigned more = 0;

	qlab_prepare_code(f, "{\"machine\": \"q35\", \"powerdown\": true}", test_code_idle,
		test_code_idle_size);
	qlab_start(f);
	f->done = 0;
	assert_int_equal(ops->stop(f->rt, QLAB_ID, 300, qlab_on_done, f, &f->err), 0);
	/* Who asks later waits for the same end. */
	while (ops->stop(f->rt, QLAB_ID, 300, qlab_on_done, f, &f->err) == 0)
		more++;
	assert_true(more > 0 && more < 100);
	qlab_await(f, &f->done, 1 + more);
	assert_int_equal(f->r, 0);
	qlab_assert_nothing_left(f);
}

static void stopped_while_starting(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	struct weft_runtime_stats s;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	for (int launched = 0; launched < 2; launched++) {
		spec = qlab_spec(f);
		f->done = 0;
		assert_int_equal(ops->start(f->rt, &spec, qlab_on_done, f, &f->err), 0);
		while (launched && ops->stats(f->rt, QLAB_ID, &s) < 0)
			assert_true(sd_event_run(f->event, 50000) >= 0);
		assert_int_equal(ops->delete_(f->rt, QLAB_ID, qlab_on_done, f, &f->err), 0);
		qlab_await(f, &f->done, 2); /* qlab_start() with -ECANCELED, delete() with 0 */
		qlab_assert_nothing_left(f);
	}
}

/* --- daemons come and go -------------------------------------------------------------------------
 */

static void adopted(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	pid_t pid;

	assert_int_equal(qlab_adopt(f), -ENOENT);
	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	pid = qlab_pid(f);
	ops->free_(f->rt);
	qlab_new_runtime(f);
	spec = qlab_spec(f);
	assert_int_equal(qlab_start_spec(f, &spec), -EEXIST);
	if (qlab_adopt(f) != 0)
		fail_msg("%s", f->err.msg);
	assert_int_equal(qlab_pid(f), pid);
	assert_int_equal(qlab_adopt(f), 0); /* again is no error */
	assert_int_equal(qlab_stop(f, 5000), 0);
	qlab_assert_nothing_left(f);

	/* Deleted without having been adopted. */
	qlab_start(f);
	ops->free_(f->rt);
	qlab_new_runtime(f);
	assert_int_equal(qlab_delete(f), 0);
	qlab_assert_nothing_left(f);

	/* Ended while nobody watched. */
	qlab_start(f);
	pid = qlab_pid(f);
	ops->free_(f->rt);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	qlab_new_runtime(f);
	assert_int_equal(qlab_adopt(f), -ENOENT);
	assert_int_equal(qlab_delete(f), 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

static void adopt_hung(void **state)
{
	struct qlab *f = *state;
	pid_t pid;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	pid = qlab_pid(f);
	ops->free_(f->rt);
	qlab_new_runtime(f);
	weft_qemu_set_timeouts(f->rt, 0, 0, 200);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(qlab_adopt(f), -ENOENT);
	assert_non_null(strstr(f->err.msg, "hangs"));
	qlab_assert_nothing_left(f);
}

/* The daemon dies of SIGKILL; the instance goes on and is no child of the next one. */
static void daemon_killed(void **state)
{
	struct qlab *f = *state;
	int pipefd[2], status;
	pid_t child;
	char ref[sizeof(f->image)];

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	memcpy(ref, f->image, sizeof(ref));
	ops->free_(f->rt);
	f->rt = NULL;
	assert_int_equal(pipe(pipefd), 0);
	child = fork();
	if (child == 0) {
		f->event = NULL; /* an sd_event does not survive fork */
		assert_true(sd_event_new(&f->event) >= 0);
		qlab_new_runtime(f);
		qlab_start(f);
		(void)!write(pipefd[1], "x", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(pipefd[0], &status, 1), 1);
	close(pipefd[0]);
	close(pipefd[1]);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);

	qlab_new_runtime(f);
	if (qlab_adopt(f) != 0)
		fail_msg("%s", f->err.msg);
	assert_int_equal(kill(qlab_pid(f), SIGKILL), 0);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_FAILED);
	qlab_assert_nothing_left(f);
}

static void on_nothing(void *userdata)
{
	unsigned *n = userdata;

	(*n)++;
}

static void on_nothing_reply(
	void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	(void)result;
	(void)err;
	assert_int_equal(r, 0);
	on_nothing(userdata);
}

static void on_nothing_closed(void *userdata, int r, const struct weft_err *err)
{
	(void)userdata;
	fail_msg("%d: %s", r, err->msg);
}

static void on_nothing_event(void *userdata, const char *name, const json_t *data)
{
	(void)userdata;
	(void)name;
	(void)data;
}

/* Somebody pauses the guest by the monitor, which takes one client at a time. */
static void paused(void **state)
{
	static const struct weft_qmp_callbacks callbacks = {
		on_nothing, on_nothing_event, on_nothing_closed};
	struct qlab *f = *state;
	struct weft_qmp *q;
	unsigned ready = 0;
	char path[PATH_MAX + 16];

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	qlab_start(f);
	ops->free_(f->rt);
	snprintf(path, sizeof(path), "%s/qmp.sock", f->inst);
	assert_int_equal(weft_qmp_connect(f->event, path, 10000, &callbacks, &ready, &q, NULL), 0);
	qlab_await(f, &ready, 1);
	assert_int_equal(weft_qmp_execute(q, "stop", NULL, 10000, on_nothing_reply, &ready), 0);
	qlab_await(f, &ready, 2);
	weft_qmp_free(q);
	qlab_new_runtime(f);
	assert_int_equal(qlab_adopt(f), 0);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_PAUSED);
	assert_int_equal(qlab_delete(f), 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 1);
}

/* --- what cannot start ---------------------------------------------------------------------------
 */

static void refused(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	const char *const bad[] = {"a\nb", NULL};

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	spec = qlab_spec(f);
	spec.id = "../x";
	assert_int_equal(qlab_start_spec(f, &spec), -EINVAL);
	spec = qlab_spec(f);
	spec.image = "sha256:0";
	assert_int_equal(qlab_start_spec(f, &spec), -EINVAL);
	spec.image = "sha256:"
		     "0000000000000000000000000000000000000000000000000000000000000000";
	assert_int_equal(qlab_start_spec(f, &spec), -ENOENT);
	spec = qlab_spec(f);
	spec.arch = WEFT_ARCH_ARM64;
	assert_int_equal(qlab_start_spec(f, &spec), -ENOTSUP);
	spec = qlab_spec(f);
	spec.memory_mb = 1;
	assert_int_equal(qlab_start_spec(f, &spec), -EINVAL);
	spec = qlab_spec(f);
	spec.args = bad;
	assert_int_equal(qlab_start_spec(f, &spec), -EINVAL);
	spec = qlab_spec(f);
	spec.net.tap_fd = 900;
	assert_int_equal(qlab_start_spec(f, &spec), -EBADF);

	/* These fail later, and leave nothing either. */
	spec = qlab_spec(f);
	spec.net.netns = "/run/netns/weft-test-qemu-no-such";
	assert_int_equal(qlab_start_spec(f, &spec), -ENOENT);
	assert_non_null(strstr(f->err.msg, "weft-test-qemu-no-such"));
	qlab_assert_nothing_left(f);
	spec = qlab_spec(f);
	spec.memory_mb = 3u << 30; /* qemu's word on it is passed on */
	assert_int_equal(qlab_start_spec(f, &spec), -EIO);
	assert_non_null(strstr(f->err.msg, "memory"));
	qlab_assert_nothing_left(f);
	spec = qlab_spec(f);
	spec.net.tap_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(qlab_start_spec(f, &spec), -EIO);
	close(spec.net.tap_fd);
	qlab_assert_nothing_left(f);
}

static void freed_while_starting(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;

	qlab_prepare_code(f, MICROVM, test_code_idle, test_code_idle_size);
	spec = qlab_spec(f);
	f->done = 0;
	assert_int_equal(ops->start(f->rt, &spec, qlab_on_done, f, &f->err), 0);
	ops->free_(f->rt);
	while (sd_event_run(f->event, 0) > 0)
		;
	assert_int_equal(f->done, 0);
	qlab_new_runtime(f);
	assert_int_equal(qlab_delete(f), 0);
	qlab_assert_nothing_left(f);
}

/* --- the project's own guest ---------------------------------------------------------------------
 */

static void own_guest(void **state)
{
	struct qlab *f = *state;
	_cleanup_(closep) int tap = qlab_tap("wqemu0", "10.19.77.1");
	struct weft_runtime_spec spec;
	uint64_t t, end;
	bool answered = false;

	qlab_prepare(f, guest_image);
	spec = qlab_spec(f);
	spec.memory_mb = 0;
	spec.net.tap_fd = tap;
	inet_pton(AF_INET, "10.19.77.2", &spec.net.addr);
	inet_pton(AF_INET, "10.19.77.1", &spec.net.gateway);
	spec.net.prefix_len = 24;
	memcpy(spec.net.mac, "\x02\x00\x0a\x13\x4d\x02", 6);
	t = weft_now_ns();
	if (qlab_start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
	end = t + QLAB_DEADLINE_NS;
	while (!answered && weft_now_ns() < end && f->events == 0) {
		answered = qlab_http("10.19.77.2", NULL);
		assert_true(sd_event_run(f->event, 0) >= 0);
	}
	if (!answered)
		fail_msg("no answer: %s", f->detail);
	print_message("# own guest: first HTTP answer after %u ms\n",
		(unsigned)((weft_now_ns() - t) / 1000000));
	assert_int_equal(qlab_stop(f, 5000), 0);
	qlab_assert_nothing_left(f);
}

/* A guest for another machine's processor: Linux' boot protocol for arm64, "K" on the serial line,
 * and the machine switched off. */
static void arm64(void **state)
{
	static const uint32_t code[] = {
		0x14000010, /* b over the header */
		0, 0, 0, 0x10000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x644d5241, 0,
		0x52a12001,                         /* mov w1, #0x09000000: the serial line */
		0x52800960,                         /* mov w0, #'K' */
		0x39000020,                         /* strb w0, [x1] */
		0x52a20002,                         /* mov w2, #0x10000000: a while */
		0x71000442,                         /* 1: subs w2, w2, #1 */
		0x54ffffe1,                         /* b.ne 1b */
		0x52800100, 0x72b08000, 0xd4000002, /* PSCI's SYSTEM_OFF */
	};
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	_cleanup_(freep) char *log = NULL;
	char path[PATH_MAX];

	assert_int_equal(ops->probe(f->rt, qlab_on_probed, f), 0);
	qlab_await(f, &f->probed, 1);
	print_message("# %s %s\n", f->arm.version, f->arm.detail);
	if (!f->arm.usable) {
		assert_non_null(strstr(f->arm.detail, "qemu-system-aarch64"));
		return;
	}
	snprintf(path, sizeof(path), "%s/kernel.arm64", f->dir);
	assert_int_equal(weft_write_file(path, code, sizeof(code), 0644), 0);
	f->prepared = 0;
	assert_int_equal(
		ops->prepare(f->rt, path, WEFT_ARCH_ARM64, qlab_on_prepared, f, &f->err), 0);
	qlab_await(f, &f->prepared, 1);
	spec = qlab_spec(f);
	spec.arch = WEFT_ARCH_ARM64;
	if (qlab_start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_EXITED);
	assert_int_equal(weft_read_file(f->log, 65536, &log, NULL), 0);
	assert_non_null(strstr(log, "qemu virt on TCG: for arm64"));
	assert_non_null(strstr(log, "\nK"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(probe, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(not_installed, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(life, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(console, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(guest_ends, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(killed, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(hung_at_start, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(hung_later, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(power_button, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(stopped_while_starting, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(adopted, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(adopt_hung, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(daemon_killed, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(paused, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(refused, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(freed_while_starting, qlab_setup, qlab_teardown),
	};
	const struct CMUnitTest with_guest[] = {
		cmocka_unit_test_setup_teardown(arm64, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(own_guest, qlab_setup, qlab_teardown),
	};
	int failed;

	if (!qlab_available())
		return 0;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (qlab_guest_image(guest_image) && unshare(CLONE_NEWNET) == 0)
		failed += cmocka_run_group_tests(with_guest, NULL, NULL);
	return failed;
}
