/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
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
#include "runtimes/cgroup_mounts.h"
#include "runtimes/process.h"

#define PARENT    "weft-test-cgroup"
#define GROUP     PARENT "/shop.web.1"
#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

/* --- finding the hierarchies: no privileges needed -----------------------------------------------
 */

static void feed(struct weft_cgroup_mounts *m, const char *line)
{
	_cleanup_(freep) char *copy = strdup(line);

	weft_cgroup_mounts_line(m, copy);
}

static void test_mounts_v1(void **state)
{
	struct weft_cgroup_mounts m = {};

	(void)state;
	feed(&m, "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755");
	feed(&m, "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:1 - cgroup cgroup "
		 "rw,cpu,cpuacct");
	feed(&m, "33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd");
	feed(&m, "34 31 0:31 /sub /mnt/my\\040mem rw - cgroup none rw,memory");
	feed(&m, "35 31 0:31 / /mnt/mem2 rw - cgroup none rw,memory");
	feed(&m, "36 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 none rw,nsdelegate");
	feed(&m, "37 31 0:32 / /mnt/unified2 rw - cgroup2 none rw");
	assert_int_equal(m.n, 3);
	assert_string_equal(m.h[0].dir, "/sys/fs/cgroup/cpu,cpuacct");
	assert_int_equal(m.h[0].controllers, WEFT_CGROUP_CPU | WEFT_CGROUP_CPUACCT);
	assert_string_equal(m.h[1].dir, "/mnt/my mem");
	assert_string_equal(m.h[1].root, "/sub");
	assert_int_equal(m.h[1].controllers, WEFT_CGROUP_MEMORY);
	assert_true(m.h[2].v2);
	assert_ptr_equal(weft_cgroup_mounts_find(&m, WEFT_CGROUP_CPUACCT), &m.h[0]);
	assert_null(weft_cgroup_mounts_find(&m, WEFT_CGROUP_PIDS));
}

static void test_mounts_strange_lines(void **state)
{
	struct weft_cgroup_mounts m = {};
	char lng[600];

	(void)state;
	feed(&m, "");
	feed(&m, "1 2 3:4 /");
	feed(&m, "1 2 3:4 / /mnt rw - cgroup");
	feed(&m, "1 2 3:4 / /mnt rw cgroup cgroup rw,cpu");
	feed(&m, "1 2 3:4 / /mnt rw - cgroup x");
	feed(&m, "1 2 3:4 / /mnt rw - cgroup x cpuset");
	snprintf(lng, sizeof(lng), "1 2 3:4 / /%0300d rw - cgroup x cpu", 1);
	feed(&m, lng);
	assert_int_equal(m.n, 0);
	feed(&m, "1 2 3:4 / /mnt\\ rw - cgroup x cpu");
	assert_int_equal(m.n, 1);
	assert_string_equal(m.h[0].dir, "/mnt\\");
}

static void test_paths(void **state)
{
	struct weft_cgroup_hierarchy h = {.dir = "/c"};
	char buf[16];

	(void)state;
	assert_int_equal(weft_cgroup_mounts_path(&h, "a/b", "procs", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "/c/a/b/procs");
	assert_int_equal(weft_cgroup_mounts_path(&h, "a/b", NULL, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "/c/a/b");
	assert_int_equal(
		weft_cgroup_mounts_path(&h, "a/b", "procs1234", buf, sizeof(buf)), -ENAMETOOLONG);
	assert_true(weft_cgroup_path_valid("weft"));
	assert_true(weft_cgroup_path_valid("weft/shop.web.1"));
	assert_true(weft_cgroup_path_valid("weft/..1"));
	assert_false(weft_cgroup_path_valid(""));
	assert_false(weft_cgroup_path_valid("/"));
	assert_false(weft_cgroup_path_valid("/weft"));
	assert_false(weft_cgroup_path_valid("weft/"));
	assert_false(weft_cgroup_path_valid("weft//a"));
	assert_false(weft_cgroup_path_valid("weft/../a"));
	assert_false(weft_cgroup_path_valid(".."));
}

/* Refused before anything is touched: "" would be every process of the machine. */
static void test_bad_paths_are_refused(void **state)
{
	struct weft_err err = {};

	(void)state;
	assert_int_equal(weft_cgroup_create("../x", NULL, &err), -EINVAL);
	assert_string_equal(err.msg, "cgroup path \"../x\" is not valid");
	assert_int_equal(weft_cgroup_destroy(""), -EINVAL);
	assert_int_equal(weft_cgroup_destroy("/"), -EINVAL);
	assert_int_equal(weft_cgroup_join("", 0), -EINVAL);
	assert_int_equal(weft_cgroup_read("", NULL, NULL), -EINVAL);
}

/* --- the real thing ------------------------------------------------------------------------------
 */

static void read_back(enum weft_cgroup_controller c, const char *v1, const char *v2, char *buf)
{
	const struct weft_cgroup_hierarchy *h;
	_cleanup_(freep) char *text = NULL;
	struct weft_cgroup_mounts m;
	char path[600];

	assert_int_equal(weft_cgroup_mounts_read(&m), 0);
	h = weft_cgroup_mounts_find(&m, c);
	assert_non_null(h);
	assert_int_equal(weft_cgroup_mounts_path(h, GROUP, h->v2 ? v2 : v1, path, sizeof(path)), 0);
	assert_int_equal(weft_read_file(path, 4096, &text, NULL), 0);
	snprintf(buf, 64, "%s%.40s", h->v2 ? "v2 " : "v1 ", text);
}

static unsigned count_left(void)
{
	struct weft_cgroup_mounts m;
	unsigned n = 0;
	char path[600];

	assert_int_equal(weft_cgroup_mounts_read(&m), 0);
	for (unsigned i = 0; i < m.n; i++) {
		assert_int_equal(
			weft_cgroup_mounts_path(&m.h[i], PARENT, NULL, path, sizeof(path)), 0);
		n += access(path, F_OK) == 0;
	}
	return n;
}

static int teardown(void **state)
{
	(void)state;
	weft_cgroup_destroy(PARENT);
	return 0;
}

static void expect(enum weft_cgroup_controller c, const char *v1_file, const char *v2_file,
	const char *v1, const char *v2)
{
	char buf[64], want[64];

	read_back(c, v1_file, v2_file, buf);
	snprintf(want, sizeof(want), "%s%s\n", buf[1] == '2' ? "v2 " : "v1 ",
		buf[1] == '2' ? v2 : v1);
	assert_string_equal(buf, want);
}

static void test_limits_are_set(void **state)
{
	struct weft_cgroup_limits lim = {.memory_bytes = 64 << 20, .cpu_milli = 1500, .pids = 20};
	struct weft_err err = {};
	int r;

	(void)state;
	r = weft_cgroup_create(GROUP, &lim, &err);
	if (r < 0)
		fail_msg("%s", err.msg);
	expect(WEFT_CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max", "150000", "150000 100000");
	expect(WEFT_CGROUP_MEMORY, "memory.limit_in_bytes", "memory.max", "67108864", "67108864");
	expect(WEFT_CGROUP_PIDS, "pids.max", "pids.max", "20", "20");

	lim.cpu_milli = 5; /* less than the kernel's least quota */
	lim.memory_bytes = 0;
	lim.pids = 0;
	assert_int_equal(weft_cgroup_create(GROUP, &lim, &err), 0);
	expect(WEFT_CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max", "1000", "1000 100000");
	expect(WEFT_CGROUP_PIDS, "pids.max", "pids.max", "max", "max");

	assert_int_equal(weft_cgroup_create(GROUP, NULL, &err), 0);
	expect(WEFT_CGROUP_CPU, "cpu.cfs_quota_us", "cpu.max", "-1", "max 100000");
	assert_int_equal(weft_cgroup_destroy(GROUP), 0);
	assert_int_equal(weft_cgroup_destroy(GROUP), 0);
	assert_int_equal(weft_cgroup_destroy(PARENT), 0);
	assert_int_equal(count_left(), 0);
}

static void wait_for_cpu(uint64_t ns)
{
	uint64_t deadline = weft_now_ns() + 10000000000ULL, cpu = 0;

	while (cpu < ns) {
		assert_int_equal(weft_cgroup_read(GROUP, &cpu, NULL), 0);
		assert_true(weft_now_ns() < deadline);
		usleep(1000);
	}
}

static void test_usage_and_kill(void **state)
{
	struct weft_cgroup_limits lim = {.cpu_milli = 500, .pids = 50};
	struct weft_process_spec spec = {
		.argv = ARGV("sh", "-c", "trap '' TERM; sleep 600 & while :; do :; done"),
		.cgroup = GROUP,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
	};
	uint64_t cpu, cpu2, memory, t, wall;
	_cleanup_(freep) char *path = NULL;
	struct weft_err err = {};
	int pidfd, status;
	pid_t pid;

	(void)state;
	assert_int_equal(weft_cgroup_read(GROUP, &cpu, &memory), -ENOENT);
	assert_int_equal(weft_cgroup_create(GROUP, &lim, &err), 0);
	assert_int_equal(weft_process_spawn(&spec, &pid, &pidfd, &err), 0);
	assert_int_equal(weft_cgroup_of_pid(pid, &path), 0);
	assert_string_equal(path, GROUP);

	wait_for_cpu(50000000);
	t = weft_now_ns();
	assert_int_equal(weft_cgroup_read(GROUP, &cpu, &memory), 0);
	wait_for_cpu(cpu + 400000000);
	wall = weft_now_ns() - t;
	assert_int_equal(weft_cgroup_read(GROUP, &cpu2, NULL), 0);
	print_message("# quota 0.5 CPU: used %.3f, memory %llu\n",
		(double)(cpu2 - cpu) / (double)wall, (unsigned long long)memory);
	assert_true((double)(cpu2 - cpu) < 0.7 * (double)wall);
	assert_true(memory > 0 && memory < 64 << 20);

	t = weft_now_ns();
	assert_int_equal(weft_cgroup_destroy(GROUP), 0); /* the shell and its child */
	print_message("# killed and removed in %.1f ms\n", (double)(weft_now_ns() - t) / 1e6);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	close(pidfd);
	assert_int_equal(weft_cgroup_read(GROUP, &cpu, NULL), -ENOENT);
	assert_int_equal(weft_cgroup_destroy(PARENT), 0);
	assert_int_equal(count_left(), 0);
}

/* An instance may make groups of its own; destroying a parent takes them along. */
static void test_destroy_takes_subgroups(void **state)
{
	struct weft_process_spec spec = {
		.argv = ARGV("sleep", "600"),
		.cgroup = GROUP "/a/b",
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
	};
	struct weft_err err = {};
	int pidfd, status;
	pid_t pid;

	(void)state;
	assert_int_equal(weft_cgroup_create(GROUP "/a/b", NULL, &err), 0);
	assert_int_equal(weft_process_spawn(&spec, &pid, &pidfd, &err), 0);
	assert_int_equal(weft_cgroup_destroy(PARENT), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	close(pidfd);
	assert_int_equal(count_left(), 0);
}

/* A host with nothing but v2: v1 is unmounted in a mount namespace of a child. Returns the line
 * that went wrong. CPU time is counted even where no controller is handed to v2; a limit is
 * refused. */
static int on_v2_alone(void)
{
	struct weft_process_spec spec = {
		.argv = ARGV("sh", "-c", "while :; do :; done"),
		.cgroup = GROUP,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
	};
	struct weft_cgroup_limits lim = {.cpu_milli = 500};
	_cleanup_(freep) char *path = NULL;
	struct weft_cgroup_mounts m;
	struct weft_err err = {};
	uint64_t cpu = 0;
	int pidfd, status, r;
	pid_t pid;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return __LINE__;
	while (weft_cgroup_mounts_read(&m) == 0 && !m.h[0].v2)
		if (umount2(m.h[0].dir, MNT_DETACH) < 0)
			return __LINE__;
	if (weft_cgroup_mounts_read(&m) < 0 || m.n != 1)
		return __LINE__;
	r = weft_cgroup_create(GROUP, &lim, &err);
	if (r < 0 && (r != -ENOTSUP || !err.hint[0]))
		return __LINE__;
	if (r < 0 && weft_cgroup_create(GROUP, NULL, &err) < 0)
		return __LINE__;
	if (weft_process_spawn(&spec, &pid, &pidfd, &err) < 0)
		return __LINE__;
	if (weft_cgroup_of_pid(pid, &path) < 0 || strcmp(path, GROUP) != 0)
		return __LINE__;
	while (cpu < 20000000)
		if (weft_cgroup_read(GROUP, &cpu, NULL) < 0)
			return __LINE__;
	if (weft_cgroup_destroy(PARENT) < 0)
		return __LINE__;
	if (waitpid(pid, &status, 0) != pid || WTERMSIG(status) != SIGKILL)
		return __LINE__;
	close(pidfd);
	return weft_cgroup_read(GROUP, &cpu, NULL) == -ENOENT ? 0 : __LINE__;
}

static void test_v2_alone(void **state)
{
	struct weft_cgroup_mounts m;
	int pipefd[2], line = -1;
	bool v2 = false;
	pid_t pid;

	(void)state;
	assert_int_equal(weft_cgroup_mounts_read(&m), 0);
	for (unsigned i = 0; i < m.n; i++)
		v2 |= m.h[i].v2;
	if (!v2 && access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) < 0) {
		print_message("# no cgroup2 mount here: nothing to try\n");
		return;
	}
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		line = on_v2_alone();
		_exit(write(pipefd[1], &line, sizeof(line)) != sizeof(line));
	}
	close(pipefd[1]);
	assert_int_equal(read(pipefd[0], &line, sizeof(line)), sizeof(line));
	close(pipefd[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	if (line)
		fail_msg("in the child: line %d", line);
}

static void test_of_pid_without_group(void **state)
{
	char *path = NULL;

	(void)state;
	assert_int_equal(weft_cgroup_of_pid(0x7ffffffe, &path), -ESRCH);
	assert_null(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mounts_v1),
		cmocka_unit_test(test_mounts_strange_lines),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_bad_paths_are_refused),
		cmocka_unit_test_teardown(test_limits_are_set, teardown),
		cmocka_unit_test_teardown(test_usage_and_kill, teardown),
		cmocka_unit_test_teardown(test_destroy_takes_subgroups, teardown),
		cmocka_unit_test_teardown(test_v2_alone, teardown),
		cmocka_unit_test(test_of_pid_without_group),
	};
	struct weft_err err = {};

	if (weft_cgroup_create(PARENT, &(struct weft_cgroup_limits){.pids = 100}, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return 0;
	}
	weft_cgroup_destroy(PARENT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
