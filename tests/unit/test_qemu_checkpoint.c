/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of running guests, and instances that begin from one. */
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
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/checkpoint.h"
#include "tests/lib/kernel.h"
#include "tests/lib/qemu_lab.h"

static const struct weft_runtime_ops *const ops = &weft_runtime_qemu;
static char guest_image[PATH_MAX];

static int checkpoint(struct qlab *f, const char *file)
{
	int r;

	f->done = 0;
	r = ops->checkpoint(f->rt, QLAB_ID, file, qlab_on_done, f, &f->err);
	if (r < 0)
		return r;
	qlab_await(f, &f->done, 1);
	return f->r;
}

static struct weft_runtime_spec guest_spec(struct qlab *f, int tap, const char *addr, uint8_t last)
{
	struct weft_runtime_spec spec = qlab_spec(f);

	spec.memory_mb = 64;
	spec.net.tap_fd = tap;
	inet_pton(AF_INET, addr, &spec.net.addr);
	inet_pton(AF_INET, "10.19.78.1", &spec.net.gateway);
	spec.net.prefix_len = 24;
	memcpy(spec.net.mac, "\x02\x00\x0a\x13\x4e", 5);
	spec.net.mac[5] = last;
	inet_pton(AF_INET6, "fd00:10:19:78::", &spec.net.addr6);
	spec.net.addr6.s6_addr[15] = last;
	inet_pton(AF_INET6, "fd00:10:19:78::1", &spec.net.gateway6);
	spec.net.prefix6_len = 128;
	return spec;
}

/* --- the file ------------------------------------------------------------------------------------
 */

static void file(void **state)
{
	struct weft_err err = {};
	char path[] = "/tmp/weft-test-checkpoint-XXXXXX", buf[256];
	int fd = mkstemp(path), other = -1;

	(void)state;
	close(fd);
	assert_int_equal(weft_checkpoint_open("/no/such", "a=1", &fd, &err), -ENOENT);
	assert_int_equal(weft_checkpoint_open(path, "a=1", &fd, &err), -EBADMSG);
	assert_int_equal(weft_checkpoint_create(path, "a=1 b=2 c=3", &fd, &err), 0);
	assert_int_equal(write(fd, "state", 5), 5);
	close(fd);
	assert_int_equal(weft_checkpoint_open(path, "a=1 b=2 c=3", &other, &err), 0);
	assert_int_equal(read(other, buf, sizeof(buf)), 5);
	close(other);
	assert_int_equal(weft_checkpoint_open(path, "a=1 b=4 c=3", &other, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "b=2 there, b=4 here"));
	assert_string_equal(weft_shape_difference("a=1", "a=1 b=2", buf, 256), " there, b=2 here");
	assert_int_equal(truncate(path, 4000), 0);
	assert_int_equal(weft_checkpoint_open(path, "a=1 b=2 c=3", &other, &err), -EBADMSG);
	assert_int_equal(weft_checkpoint_create("/no/such", "a=1", &other, &err), -ENOENT);
	unlink(path);
}

/* --- machines of a few instructions --------------------------------------------------------------
 */

static void saved_and_restored(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	char path[PATH_MAX], part[PATH_MAX + 8];
	static const char *const hints[] = {
		"{\"machine\": \"microvm\"}", "{\"machine\": \"q35\"}", "{\"machine\": \"pc\"}"};

	snprintf(path, sizeof(path), "%s/state, of it", f->dir);
	snprintf(part, sizeof(part), "%s.part", path);
	for (size_t i = 0; i < ARRAY_SIZE(hints); i++) {
		uint64_t t;

		qlab_prepare_code(f, hints[i], test_code_busy, test_code_busy_size);
		assert_int_equal(checkpoint(f, path), -ENOENT);
		qlab_start(f);
		t = weft_now_ns();
		if (checkpoint(f, path) != 0)
			fail_msg("%s", f->err.msg);
		print_message("# %s: saved in %u ms\n", hints[i],
			(unsigned)((weft_now_ns() - t) / 1000000));
		assert_int_equal(access(part, F_OK), -1);
		assert_int_equal(qlab_stop(f, 5000), 0);

		spec = qlab_spec(f);
		spec.restore = path;
		t = weft_now_ns();
		if (qlab_start_spec(f, &spec) != 0)
			fail_msg("%s", f->err.msg);
		print_message("# %s: restored in %u ms\n", hints[i],
			(unsigned)((weft_now_ns() - t) / 1000000));
		/* Again, of what was restored, and it goes on. */
		assert_int_equal(checkpoint(f, path), 0);
		assert_int_equal(qlab_delete(f), 0);
		qlab_assert_nothing_left(f);
	}
	/* A checkpoint fits one machine alone. */
	spec.memory_mb = 48;
	assert_int_equal(qlab_start_spec(f, &spec), -EINVAL);
	assert_non_null(strstr(f->err.msg, "memory=32 there, memory=48 here"));
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

static void paused_stays_paused(void **state)
{
	struct qlab *f = *state;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/state", f->dir);
	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_busy, test_code_busy_size);
	qlab_start(f);
	f->done = 0;
	assert_int_equal(ops->pause(f->rt, QLAB_ID, qlab_on_done, f, &f->err), 0);
	qlab_await(f, &f->done, 1);
	assert_int_equal(checkpoint(f, path), 0);
	/* A later daemon finds it paused. */
	ops->free_(f->rt);
	qlab_new_runtime(f);
	assert_int_equal(qlab_adopt(f), 0);
	qlab_await(f, &f->events, 1);
	assert_int_equal(f->event_kind, WEFT_RUNTIME_PAUSED);
	assert_int_equal(qlab_delete(f), 0);
}

static void goes_wrong(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/state", f->dir);
	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_busy, test_code_busy_size);
	qlab_start(f);
	assert_int_equal(checkpoint(f, "/no/such/dir/x"), -ENOENT);
	/* Nothing else meanwhile; killed meanwhile. */
	f->done = 0;
	assert_int_equal(ops->checkpoint(f->rt, QLAB_ID, path, qlab_on_done, f, &f->err), 0);
	assert_int_equal(ops->checkpoint(f->rt, QLAB_ID, path, qlab_on_done, f, &f->err), -EBUSY);
	assert_int_equal(ops->pause(f->rt, QLAB_ID, qlab_on_done, f, &f->err), -EBUSY);
	assert_int_equal(kill(qlab_pid(f), SIGKILL), 0);
	qlab_await(f, &f->events, 1);
	qlab_await(f, &f->done, 1);
	assert_true(f->r < 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(access(path, F_OK), -1);

	/* What it begins from is damaged. */
	f->events = 0;
	qlab_start(f);
	assert_int_equal(checkpoint(f, path), 0);
	assert_int_equal(qlab_delete(f), 0);
	spec = qlab_spec(f);
	spec.restore = path;
	assert_int_equal(truncate(path, WEFT_CHECKPOINT_HEAD + 3000), 0);
	assert_int_equal(qlab_start_spec(f, &spec), -EIO);
	print_message("# %s\n", f->err.msg);
	qlab_assert_nothing_left(f);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(qlab_start_spec(f, &spec), -EBADMSG);
	spec.restore = "/no/such";
	assert_int_equal(qlab_start_spec(f, &spec), -ENOENT);
	qlab_assert_nothing_left(f);
}

/* The guest goes on, and nothing is left of the file. */
static void disk_full(void **state)
{
	struct qlab *f = *state;
	char dir[PATH_MAX], path[PATH_MAX + 8], part[PATH_MAX + 16];

	snprintf(dir, sizeof(dir), "%s/small", f->dir);
	snprintf(path, sizeof(path), "%s/state", dir);
	snprintf(part, sizeof(part), "%s.part", path);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(mount("none", dir, "tmpfs", 0, "size=64k"), 0);
	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_busy, test_code_busy_size);
	qlab_start(f);
	assert_true(checkpoint(f, path) < 0);
	print_message("# %s\n", f->err.msg);
	assert_non_null(strstr(f->err.msg, path));
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(access(part, F_OK), -1);
	assert_int_equal(f->events, 0);
	snprintf(path, sizeof(path), "%s/state", f->dir);
	assert_int_equal(checkpoint(f, path), 0); /* elsewhere it works */
	assert_int_equal(qlab_delete(f), 0);
	assert_int_equal(umount(dir), 0);
}

/* The daemon dies while it makes a checkpoint: the next one lets the guest go on. */
static void daemon_ends_meanwhile(void **state)
{
	struct qlab *f = *state;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/state", f->dir);
	qlab_prepare_code(f, "{\"machine\": \"microvm\"}", test_code_busy, test_code_busy_size);
	for (unsigned turns = 0; turns < 12; turns++) {
		qlab_start(f);
		f->done = 0;
		assert_int_equal(
			ops->checkpoint(f->rt, QLAB_ID, path, qlab_on_done, f, &f->err), 0);
		for (unsigned i = 0; i < turns; i++)
			assert_true(sd_event_run(f->event, 1000) >= 0);
		ops->free_(f->rt);
		qlab_new_runtime(f);
		if (qlab_adopt(f) != 0)
			fail_msg("after %u turns: %s", turns, f->err.msg);
		for (unsigned i = 0; i < 4; i++)
			assert_true(sd_event_run(f->event, 1000) >= 0);
		assert_int_equal(f->events, 0); /* not paused */
		assert_int_equal(qlab_delete(f), 0);
		qlab_assert_nothing_left(f);
	}
}

/* --- the project's own guest ---------------------------------------------------------------------
 */

/* Whoever begins from another's checkpoint answers at its own address, under its own name. */
static void takes_its_address(void **state)
{
	struct qlab *f = *state;
	_cleanup_(closep) int tap = qlab_tap("wqckpt0", "10.19.78.1");
	bool v6 = qlab_tap6("wqckpt0", "fd00:10:19:78::1");
	struct weft_runtime_spec spec;
	char path[PATH_MAX];
	uint64_t t;

	snprintf(path, sizeof(path), "%s/state", f->dir);
	qlab_prepare(f, guest_image);
	spec = guest_spec(f, tap, "10.19.78.2", 2);
	t = weft_now_ns();
	if (qlab_start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
	print_message("# booted, first answer after %u ms\n",
		qlab_await_http(f, "10.19.78.2", "at 10.19.78.2", t));
	assert_int_equal(checkpoint(f, path), 0);
	qlab_await_http(f, "10.19.78.2", "at 10.19.78.2", t); /* it goes on */
	if (v6)
		qlab_await_http(f, "fd00:10:19:78::2", "and fd00:10:19:78::2<", t);
	assert_int_equal(qlab_stop(f, 5000), 0);

	spec = guest_spec(f, tap, "10.19.78.3", 3);
	spec.restore = path;
	t = weft_now_ns();
	if (qlab_start_spec(f, &spec) != 0)
		fail_msg("%s", f->err.msg);
	print_message("# restored, first answer at another address after %u ms\n",
		qlab_await_http(f, "10.19.78.3", "at 10.19.78.3", t));
	assert_false(qlab_http("10.19.78.2", NULL));
	if (v6) {
		qlab_await_http(f, "fd00:10:19:78::3", "and fd00:10:19:78::3<", t);
		assert_false(qlab_http("fd00:10:19:78::2", NULL));
	}
	assert_int_equal(qlab_stop(f, 5000), 0);
	qlab_assert_nothing_left(f);
	assert_int_equal(f->events, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file),
		cmocka_unit_test_setup_teardown(saved_and_restored, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(paused_stays_paused, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(goes_wrong, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(disk_full, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(daemon_ends_meanwhile, qlab_setup, qlab_teardown),
	};
	const struct CMUnitTest with_guest[] = {
		cmocka_unit_test_setup_teardown(takes_its_address, qlab_setup, qlab_teardown),
	};
	int failed;

	if (!qlab_available())
		return 0;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (qlab_guest_image(guest_image) && unshare(CLONE_NEWNET) == 0)
		failed += cmocka_run_group_tests(with_guest, NULL, NULL);
	return failed;
}
