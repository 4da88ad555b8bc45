/* SPDX-License-Identifier: Apache-2.0 */
/* Warm starts: a checkpoint of the image is made behind the first instance's back, and the next
 * ones begin from it. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/image/oci.h"
#include "runtimes/qemu/warm_job.h"
#include "tests/lib/doomed.h"
#include "tests/lib/kernel.h"
#include "tests/lib/qemu_lab.h"

static const struct weft_runtime_ops *const ops = &weft_runtime_qemu;
static char guest_image[PATH_MAX];
static bool has_ipv6; /* as long as the tap has */

/* How many checkpoints there are, and what glob(3) says of them. */
static unsigned find(struct qlab *f, const char *what, glob_t *g)
{
	char pattern[PATH_MAX];

	snprintf(pattern, sizeof(pattern), "%s/qemu/images/*/warm/%s", f->dir, what);
	return glob(pattern, 0, NULL, g) == 0 ? (unsigned)g->gl_pathc : 0;
}

static unsigned count(struct qlab *f, const char *what)
{
	glob_t g;
	unsigned n = find(f, what, &g);

	globfree(&g);
	return n;
}

/* Until there are n that are complete, and no work is left. */
static void await_checkpoints(struct qlab *f, unsigned n)
{
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;

	while (count(f, "*[!t]/state") != n || count(f, "*.part") > 0) {
		assert_true(sd_event_run(f->event, 20000) >= 0);
		if (weft_now_ns() > end)
			fail_msg("%u checkpoints, not %u", count(f, "*[!t]/state"), n);
	}
}

static uint64_t allocated(struct qlab *f)
{
	uint64_t bytes = 0;
	struct stat st;
	glob_t g;

	(void)find(f, "*/ram", &g);
	for (size_t i = 0; i < g.gl_pathc; i++)
		if (stat(g.gl_pathv[i], &st) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	globfree(&g);
	return bytes;
}

static void remove_checkpoints(struct qlab *f)
{
	glob_t g;

	(void)find(f, "*", &g);
	for (size_t i = 0; i < g.gl_pathc; i++)
		assert_int_equal(weft_remove_tree(g.gl_pathv[i]), 0);
	globfree(&g);
}

static bool log_says(struct qlab *f, const char *text)
{
	_cleanup_(freep) char *log = NULL;

	assert_int_equal(weft_read_file(f->log, 1 << 20, &log, NULL), 0);
	return strstr(log, text);
}

static struct weft_runtime_spec guest_spec(struct qlab *f, int tap, uint8_t last)
{
	struct weft_runtime_spec spec = qlab_spec(f);

	spec.memory_mb = 64;
	spec.warm_start = WEFT_WARM_START_ON;
	spec.net.tap_fd = tap;
	spec.net.addr.s_addr = htonl(0x0a134f00u | last);
	spec.net.gateway.s_addr = htonl(0x0a134f01u);
	spec.net.prefix_len = 24;
	memcpy(spec.net.mac, "\x02\x00\x0a\x13\x4f", 5);
	spec.net.mac[5] = last;
	inet_pton(AF_INET6, "fd00:10:19:79::", &spec.net.addr6);
	spec.net.addr6.s6_addr[15] = last;
	inet_pton(AF_INET6, "fd00:10:19:79::1", &spec.net.gateway6);
	spec.net.prefix6_len = 128;
	return spec;
}

/* Start it, wait for its answer, stop it; was it started from a checkpoint? */
static bool run_once(struct qlab *f, const struct weft_runtime_spec *spec, const char *text)
{
	char addr[INET_ADDRSTRLEN], addr6[INET6_ADDRSTRLEN];
	uint64_t t = weft_now_ns();
	bool warm;

	unlink(f->log);
	inet_ntop(AF_INET, &spec->net.addr, addr, sizeof(addr));
	if (qlab_start_spec(f, spec) != 0)
		fail_msg("%s", f->err.msg);
	t = qlab_await_http(f, addr, text, t);
	inet_ntop(AF_INET6, &spec->net.addr6, addr6, sizeof(addr6));
	if (has_ipv6)
		qlab_await_http(f, addr6, addr6, t);
	warm = log_says(f, "from a checkpoint");
	print_message("# %s: first answer after %u ms\n", warm ? "warm" : "cold", (unsigned)t);
	assert_int_equal(qlab_stop(f, 5000), 0);
	qlab_assert_nothing_left(f);
	return warm;
}

static void warm_start(void **state)
{
	struct qlab *f = *state;
	_cleanup_(closep) int tap = qlab_tap("wqwarm0", "10.19.79.1");
	const char *const args[] = {"keepalive=5", NULL};
	struct weft_runtime_spec spec;

	has_ipv6 = qlab_tap6("wqwarm0", "fd00:10:19:79::1");
	weft_qemu_set_warm_delay(f->rt, 0);
	qlab_prepare(f, guest_image);
	spec = guest_spec(f, tap, 2);
	assert_false(run_once(f, &spec, "at 10.19.79.2"));
	await_checkpoints(f, 1);
	for (uint8_t i = 3; i < 7; i++) {
		char text[32];

		spec = guest_spec(f, tap, i);
		snprintf(text, sizeof(text), QLAB_ID " at 10.19.79.%u", i);
		assert_true(run_once(f, &spec, text));
	}
	/* Not asked for: the image says that it can, not that it is worth it. */
	spec.warm_start = WEFT_WARM_START_AUTO;
	assert_false(run_once(f, &spec, "at 10.19.79.6"));
	/* Another memory, other arguments: other checkpoints. */
	spec = guest_spec(f, tap, 2);
	spec.args = args;
	assert_false(run_once(f, &spec, NULL));
	await_checkpoints(f, 2);
	assert_true(run_once(f, &spec, NULL));
	spec.memory_mb = 48;
	assert_false(run_once(f, &spec, NULL));
	await_checkpoints(f, 3);

	/* The next daemon has them as well. */
	ops->free_(f->rt);
	qlab_new_runtime(f);
	assert_int_equal(count(f, "*"), 3);
	assert_true(run_once(f, &spec, NULL));
	assert_int_equal(f->events, 0);
	has_ipv6 = false;
}

/* --- what is wrong with one ----------------------------------------------------------------------
 */

static void cut_state(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/state", dir);
	assert_int_equal(truncate(path, 6000), 0);
}

static void cut_head(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/state", dir);
	assert_int_equal(truncate(path, 60), 0);
}

static void flip_state(const char *dir)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/state", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "?", 1, 5000), 1);
	close(fd);
}

static void lose_ram(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/ram", dir);
	assert_int_equal(unlink(path), 0);
}

static void cut_ram(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/ram", dir);
	assert_int_equal(truncate(path, 1 << 20), 0);
}

static void lose_seal(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/seal.json", dir);
	assert_int_equal(unlink(path), 0);
}

/* As if another qemu had made it. */
static void change_seal(const char *dir)
{
	_cleanup_(freep) char *text = NULL;
	char path[PATH_MAX], *version;

	snprintf(path, sizeof(path), "%s/seal.json", dir);
	assert_int_equal(weft_read_file(path, 65536, &text, NULL), 0);
	version = strstr(text, "qemu=");
	assert_non_null(version);
	version[5]++;
	assert_int_equal(weft_write_file(path, text, strlen(text), 0600), 0);
}

/* Sealed with what is wrong in it: only qemu finds out, and it starts all the same. */
static void seal_damage(const char *dir)
{
	_cleanup_(freep) char *text = NULL, *seal = NULL;
	char path[PATH_MAX], digest[80], *at;
	size_t size;

	cut_state(dir);
	snprintf(path, sizeof(path), "%s/state", dir);
	assert_int_equal(weft_read_file(path, 65536, &text, &size), 0);
	weft_oci_digest(text, size, digest);
	snprintf(path, sizeof(path), "%s/seal.json", dir);
	assert_int_equal(weft_read_file(path, 65536, &seal, NULL), 0);
	at = strstr(seal, "sha256:");
	assert_non_null(at);
	at = strstr(strstr(seal, "\"digest\""), "sha256:");
	memcpy(at, digest, strlen(digest));
	assert_int_equal(weft_write_file(path, seal, strlen(seal), 0600), 0);
}

static const struct damage {
	void (*make)(const char *dir);
	const char *why;
} damages[] = {
	{cut_state, "not what was written there"},
	{cut_head, "not what was written there"},
	{flip_state, "not what was written there"},
	{lose_ram, "its memory: No such file"},
	{cut_ram, "its memory has 1048576 bytes, not the machine's 67108864"},
	{lose_seal, "it is not complete"},
	{change_seal, "is of another machine: qemu="},
	{seal_damage, "booted: "},
};

/* Whatever is wrong with a checkpoint, the instance starts, and its log says why it boots. */
static void damaged(void **state)
{
	struct qlab *f = *state;
	_cleanup_(closep) int tap = qlab_tap("wqwarm0", "10.19.79.1");
	struct weft_runtime_spec spec;
	glob_t g;

	weft_qemu_set_warm_delay(f->rt, 0);
	qlab_prepare(f, guest_image);
	spec = guest_spec(f, tap, 2);
	for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
		assert_false(run_once(f, &spec, NULL));
		await_checkpoints(f, 1);
		assert_int_equal(find(f, "*", &g), 1);
		damages[i].make(g.gl_pathv[0]);
		globfree(&g);
		unlink(f->log);
		if (qlab_start_spec(f, &spec) != 0)
			fail_msg("%s", f->err.msg);
		qlab_await_http(f, "10.19.79.2", NULL, 0);
		if (!log_says(f, damages[i].why))
			fail_msg("damage %zu: the log does not say: %s", i, damages[i].why);
		assert_int_equal(qlab_stop(f, 5000), 0);
		qlab_assert_nothing_left(f);
		/* It is gone, and this daemon makes none like it again. */
		assert_int_equal(count(f, "*"), 0);
		assert_false(run_once(f, &spec, NULL));
		assert_int_equal(count(f, "*"), 0);
		ops->free_(f->rt);
		qlab_new_runtime(f);
		weft_qemu_set_warm_delay(f->rt, 0);
	}
	assert_int_equal(f->events, 0);
}

/* --- a daemon that is killed while it makes one --------------------------------------------------
 */

/* What is there when it is killed. */
static const char *const steps[] = {
	"*.part", "*.part/ram", "*.part/state", "*.part/seal.json", "*[!t]/seal.json"};

static void doomed_daemon(struct qlab *f, const struct weft_runtime_spec *spec, const char *step)
{
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;

	qlab_new_runtime(f);
	weft_qemu_set_warm_delay(f->rt, 0);
	f->done = 0;
	if (ops->start(f->rt, spec, qlab_on_done, f, &f->err) < 0)
		_exit(1);
	/* The seal is written within a moment: then the step after it is what is seen. */
	while (count(f, step) == 0 && count(f, "*[!t]/seal.json") == 0) {
		if (sd_event_run(f->event, 1000) < 0 || weft_now_ns() > end)
			_exit(2);
	}
	raise(SIGKILL);
}

static void daemon_killed(void **state)
{
	struct qlab *f = *state;
	_cleanup_(closep) int tap = qlab_tap("wqwarm0", "10.19.79.1");
	struct weft_runtime_spec spec;

	qlab_prepare(f, guest_image);
	spec = guest_spec(f, tap, 2);
	ops->free_(f->rt);
	f->rt = NULL;
	f->event = sd_event_unref(f->event);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0) {
			if (sd_event_new(&f->event) < 0)
				_exit(3);
			doomed_daemon(f, &spec, steps[i]);
		}
		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

		/* The next one ends what it left, keeps what is whole, and takes its guest over. */
		assert_int_equal(sd_event_new(&f->event), 0);
		qlab_new_runtime(f);
		weft_qemu_set_warm_delay(f->rt, 0);
		assert_int_equal(count(f, "*.part"), 0);
		assert_int_equal(qlab_adopt(f), 0);
		assert_int_equal(qlab_delete(f), 0);
		qlab_assert_nothing_left(f);
		if (count(f, "*") == 0) {
			assert_false(run_once(f, &spec, NULL));
			await_checkpoints(f, 1);
		}
		assert_true(run_once(f, &spec, NULL));
		ops->free_(f->rt);
		f->rt = NULL;
		f->event = sd_event_unref(f->event);
		remove_checkpoints(f);
	}
	assert_int_equal(sd_event_new(&f->event), 0);
	qlab_new_runtime(f);
}

/* --- room ----------------------------------------------------------------------------------------
 */

/* All together take no more than they may: the one that was not used for the longest time goes. */
static void bounded(void **state)
{
	struct qlab *f = *state;
	_cleanup_(closep) int tap = qlab_tap("wqwarm0", "10.19.79.1");
	struct weft_runtime_spec spec;

	weft_qemu_set_warm_delay(f->rt, 0);
	weft_qemu_set_warm_room(f->rt, 65 << 20, 0);
	qlab_prepare(f, guest_image);
	spec = guest_spec(f, tap, 2);
	for (spec.memory_mb = 48; spec.memory_mb < 64; spec.memory_mb += 8) {
		assert_false(run_once(f, &spec, NULL));
		await_checkpoints(f, (spec.memory_mb - 40) / 8);
	}
	spec.memory_mb = 48; /* in use, so the other one is older */
	assert_true(run_once(f, &spec, NULL));
	weft_qemu_set_warm_room(f->rt, allocated(f) + (1 << 20), 0);
	spec.memory_mb = 40;
	assert_false(run_once(f, &spec, NULL));
	await_checkpoints(f, 2);
	assert_true(run_once(f, &spec, NULL));
	spec.memory_mb = 48;
	assert_true(run_once(f, &spec, NULL));

	/* More than there may ever be: none is left, and none is made again. */
	weft_qemu_set_warm_room(f->rt, 1 << 20, 0);
	spec.memory_mb = 44;
	assert_false(run_once(f, &spec, NULL));
	await_checkpoints(f, 0);
	assert_false(run_once(f, &spec, NULL));
	assert_int_equal(count(f, "*"), 0);
}

/* The disk is full, before and while one is made: the instance serves, and nothing is left. */
static void disk_full(void **state)
{
	struct qlab *f = *state;
	_cleanup_(closep) int tap = qlab_tap("wqwarm0", "10.19.79.1"), fill = -1;
	struct weft_runtime_spec spec;
	char images[128], path[PATH_MAX];
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;

	snprintf(images, sizeof(images), "%s/qemu/images", f->dir);
	assert_int_equal(mount("none", images, "tmpfs", 0, "size=100m,mode=700"), 0);
	weft_qemu_set_warm_delay(f->rt, 0);
	qlab_prepare(f, guest_image);
	spec = guest_spec(f, tap, 2);
	assert_false(run_once(f, &spec, NULL)); /* 64 MiB and 256 to spare are not there */
	assert_false(run_once(f, &spec, NULL));
	assert_int_equal(count(f, "*"), 0);

	weft_qemu_set_warm_room(f->rt, 1ULL << 30, 1 << 20);
	snprintf(path, sizeof(path), "%s/fill", images);
	fill = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fill >= 0);
	unlink(f->log);
	assert_int_equal(qlab_start_spec(f, &spec), 0);
	while (count(f, "*.part/ram") == 0) {
		assert_true(sd_event_run(f->event, 1000) >= 0);
		assert_true(weft_now_ns() < end);
	}
	for (off_t at = 0, step = 1 << 20; step >= 4096;) {
		if (fallocate(fill, 0, at, step) == 0)
			at += step;
		else
			step /= 2;
	}
	while (count(f, "*") > 0) {
		assert_true(sd_event_run(f->event, 1000) >= 0);
		assert_true(weft_now_ns() < end);
	}
	qlab_await_http(f, "10.19.79.2", NULL, 0);
	assert_int_equal(qlab_stop(f, 5000), 0);
	qlab_assert_nothing_left(f);
	ops->free_(f->rt);
	close(TAKE_FD(fill));
	assert_int_equal(umount(images), 0);
	qlab_new_runtime(f);
	assert_int_equal(f->events, 0);
}

/* The image goes while one is being made of it: nobody waits for its qemu, which ends, and the next
 * one is made. */
static void image_goes(void **state)
{
	struct qlab *f = *state;
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;
	struct weft_runtime_spec spec;
	char cgroup[128];

	snprintf(cgroup, sizeof(cgroup), "%s/_warm", f->cgroup_root);
	weft_qemu_set_warm_delay(f->rt, 0);
	for (int i = 0; i < 2; i++) {
		qlab_prepare_code(f, "{\"machine\": \"q35\", \"warm\": \"can\"}", test_code_idle,
			test_code_idle_size);
		spec = qlab_spec(f);
		spec.warm_start = WEFT_WARM_START_ON;
		assert_int_equal(qlab_start_spec(f, &spec), 0);
		/* It idles, and never says that it waits: the making goes on. */
		while (weft_cgroup_read(cgroup, NULL, NULL) < 0 || count(f, "*.part") != 1) {
			assert_true(sd_event_run(f->event, 10000) >= 0);
			assert_true(weft_now_ns() < end);
		}
		assert_int_equal(qlab_delete(f), 0);
		f->done = 0;
		assert_int_equal(ops->image_remove(f->rt, f->image, qlab_on_done, f, &f->err), 0);
		assert_int_equal(weft_cgroup_read(cgroup, NULL, NULL), 0); /* not waited for */
		qlab_await(f, &f->done, 1);
		assert_int_equal(f->r, 0);
		while (weft_cgroup_read(cgroup, NULL, NULL) == 0) {
			assert_true(sd_event_run(f->event, 10000) >= 0);
			assert_true(weft_now_ns() < end);
		}
		assert_int_equal(count(f, "*"), 0);
	}
	assert_int_equal(f->events, 0);
}

/* A guest that says it can, and does not. */
static void cannot(void **state)
{
	struct qlab *f = *state;
	struct weft_runtime_spec spec;
	uint64_t end = weft_now_ns() + QLAB_DEADLINE_NS;
	char cgroup[128];

	snprintf(cgroup, sizeof(cgroup), "%s/_warm", f->cgroup_root);
	weft_qemu_set_warm_delay(f->rt, 0);
	qlab_prepare_code(f, "{\"machine\": \"q35\", \"warm\": \"yes\"}", test_code_slow_poweroff,
		test_code_slow_poweroff_size);
	spec = qlab_spec(f);
	(void)qlab_start_spec(f, &spec);
	/* The first guest ends; and then the one of which the checkpoint was to be made. */
	while (weft_cgroup_read(cgroup, NULL, NULL) < 0 && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 10000) >= 0);
	while (weft_cgroup_read(cgroup, NULL, NULL) == 0 && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 10000) >= 0);
	for (int i = 0; i < 4; i++)
		assert_true(sd_event_run(f->event, 20000) >= 0);
	assert_true(weft_now_ns() < end);
	assert_int_equal(count(f, "*"), 0);
	assert_int_equal(qlab_delete(f), 0);

	/* Freed while one is being made: nothing is left of it. */
	qlab_prepare_code(f, "{\"machine\": \"q35\", \"warm\": \"can\"}", test_code_idle,
		test_code_idle_size);
	spec = qlab_spec(f);
	spec.warm_start = WEFT_WARM_START_ON;
	assert_int_equal(qlab_start_spec(f, &spec), 0);
	while (weft_cgroup_read(cgroup, NULL, NULL) < 0 && weft_now_ns() < end)
		assert_true(sd_event_run(f->event, 10000) >= 0);
	assert_int_equal(count(f, "*.part"), 1);
	ops->free_(f->rt);
	assert_int_equal(weft_cgroup_read(cgroup, NULL, NULL), -ENOENT);
	assert_int_equal(count(f, "*"), 0);
	qlab_new_runtime(f);
	assert_int_equal(qlab_delete(f), 0);
	/* An image that cannot, and an instance that asks for it all the same: it is said. */
	qlab_prepare_code(f, "{\"machine\": \"q35\"}", test_code_idle, test_code_idle_size);
	spec = qlab_spec(f);
	spec.warm_start = WEFT_WARM_START_ON;
	assert_int_equal(qlab_start_spec(f, &spec), 0);
	assert_true(log_says(f, "the image cannot start from a checkpoint"));
	assert_int_equal(qlab_delete(f), 0);
}

/* What earlier boots and killed daemons have left. */
static void leftovers(void **state)
{
	struct qlab *f = *state;
	char dir[PATH_MAX], boot[64];

	qlab_prepare_code(f, "{\"machine\": \"q35\"}", test_code_idle, test_code_idle_size);
	assert_int_equal(weft_boot_id(boot, sizeof(boot)), 0);
	snprintf(dir, sizeof(dir), "%s/qemu/images/%s/warm/00000000-x", f->dir, f->image + 7);
	assert_int_equal(weft_mkdir_p(dir, 0700), 0);
	snprintf(
		dir, sizeof(dir), "%s/qemu/images/%s/warm/%.8s-x.part", f->dir, f->image + 7, boot);
	assert_int_equal(weft_mkdir_p(dir, 0700), 0);
	snprintf(dir, sizeof(dir), "%s/qemu/images/%s/warm/%.8s-x", f->dir, f->image + 7, boot);
	assert_int_equal(weft_mkdir_p(dir, 0700), 0);
	ops->free_(f->rt);
	qlab_new_runtime(f);
	assert_int_equal(count(f, "*"), 1);
	assert_int_equal(access(dir, F_OK), 0);
}

/* Killed while it removes one, a daemon leaves none that the next one takes for whole. */
static void killed_while_removing(void **state)
{
	struct qlab *f = *state;
	_cleanup_(freep) char *images = weft_strf("%s/qemu/images", f->dir), *dir = NULL,
			      *ram = NULL;
	char boot[64], memory[65536] = "";
	struct weft_err err = {};
	pid_t pid;

	qlab_prepare_code(f, "{\"machine\": \"q35\"}", test_code_idle, test_code_idle_size);
	assert_int_equal(weft_boot_id(boot, sizeof(boot)), 0);
	dir = weft_strf("%s/%s/warm/%.8s-x", images, f->image + 7, boot);
	ram = weft_strf("%s/ram", dir);
	assert_int_equal(weft_mkdir_p(dir, 0700), 0);
	assert_int_equal(weft_write_file(ram, memory, sizeof(memory), 0600), 0);
	pid = fork();
	if (pid == 0) {
		test_die_at_rmdir();
		_exit(weft_warm_trim(images, 0, "none", &err) < 0);
	}
	assert_int_equal(test_await_doomed(pid), 0);
	assert_int_equal(count(f, "*"), 1);
	ops->free_(f->rt);
	qlab_new_runtime(f);
	assert_int_equal(count(f, "*"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(image_goes, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(cannot, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(leftovers, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(killed_while_removing, qlab_setup, qlab_teardown),
	};
	const struct CMUnitTest with_guest[] = {
		cmocka_unit_test_setup_teardown(warm_start, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(damaged, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(daemon_killed, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(bounded, qlab_setup, qlab_teardown),
		cmocka_unit_test_setup_teardown(disk_full, qlab_setup, qlab_teardown),
	};
	int failed;

	if (!qlab_available())
		return 0;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (qlab_guest_image(guest_image) && unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
		mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		failed += cmocka_run_group_tests(with_guest, NULL, NULL);
	return failed;
}
