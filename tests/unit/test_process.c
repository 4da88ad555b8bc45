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
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/process.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct weft_process_spec plain = {.stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};

/* Run to its end, with stdout in a pipe; returns the waitpid() status. */
static int run(struct weft_process_spec *spec, char *out, size_t size)
{
	struct weft_err err = {};
	int pipefd[2], pidfd = -1, status;
	pid_t pid = -1;
	size_t have = 0;
	ssize_t n;

	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	spec->stdout_fd = pipefd[1];
	if (weft_process_spawn(spec, &pid, &pidfd, &err) < 0)
		fail_msg("%s", err.msg);
	close(pipefd[1]);
	while ((n = read(pipefd[0], out + have, size - 1 - have)) > 0)
		have += (size_t)n;
	out[have] = '\0';
	close(pipefd[0]);
	close(pidfd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static unsigned count_fds(void)
{
	_cleanup_(closedirp) DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	return n;
}

static void test_output_and_environment(void **state)
{
	struct weft_process_spec spec = plain;
	char out[512];

	(void)state;
	setenv("WEFT_SECRET", "leak", 1);
	spec.argv = ARGV("sh", "-c", "echo \"$PWD|${WEFT_SECRET-none}|$LANG\"; exit 7");
	assert_int_equal(WEXITSTATUS(run(&spec, out, sizeof(out))), 7);
	assert_string_equal(out, "/|none|C.UTF-8\n");

	spec.env = ARGV("A=1", "PATH=/usr/bin:/bin");
	spec.cwd = "/usr";
	spec.argv = ARGV("sh", "-c", "echo \"$PWD|$A|${LANG-none}\"");
	assert_int_equal(run(&spec, out, sizeof(out)), 0);
	assert_string_equal(out, "/usr|1|none\n");
	unsetenv("WEFT_SECRET");
}

static void test_descriptors(void **state)
{
	_cleanup_(closep) int a = -1, b = -1, leak = -1;
	struct weft_process_spec spec = plain;
	char out[512];
	int fds[3];

	(void)state;
	a = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	b = open("/dev/full", O_WRONLY | O_CLOEXEC);
	leak = open("/dev/urandom", O_RDONLY); /* inheritable on purpose */
	fds[0] = b; /* numbers cross each other: 3 and 4 are wanted where others may be */
	fds[1] = a;
	fds[2] = a;
	spec.fds = fds;
	spec.n_fds = 3;
	spec.argv = ARGV("sh", "-c",
		"f=0; while [ $f -lt 40 ]; do readlink /proc/$$/fd/$f && n=$f; f=$((f+1)); done; "
		"echo last $n");
	assert_int_equal(run(&spec, out, sizeof(out)), 0);
	assert_non_null(strstr(out, "/dev/null\npipe:["));
	assert_non_null(strstr(out, "]\n/dev/null\n/dev/full\n/dev/zero\n/dev/zero\nlast 5\n"));
}

static void test_session_and_signals(void **state)
{
	struct weft_process_spec spec = plain;
	sigset_t set, before;
	char out[4096];

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &before);
	signal(SIGPIPE, SIG_IGN);
	spec.argv = ARGV("sh", "-c",
		"read a b c d e f g </proc/$$/stat; [ $e = $$ ] && [ $f = $$ ] && echo leader; "
		"grep -E 'Sig(Blk|Ign)' /proc/self/status");
	assert_int_equal(run(&spec, out, sizeof(out)), 0);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, &set);
	assert_int_equal(sigismember(&set, SIGUSR1), 1); /* ours is as it was */
	assert_string_equal(out, "leader\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static void expect_error(struct weft_process_spec *spec, int code, const char *text)
{
	struct weft_err err = {};
	unsigned before = count_fds();
	pid_t pid = 42;
	int pidfd = 42;

	assert_int_equal(weft_process_spawn(spec, &pid, &pidfd, &err), -code);
	assert_string_equal(err.msg, text);
	assert_int_equal(err.code, code);
	assert_int_equal(pid, 42);
	assert_int_equal(pidfd, 42);
	assert_int_equal(count_fds(), before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void test_errors(void **state)
{
	struct weft_process_spec spec = plain;

	(void)state;
	spec.argv = ARGV("weft-no-such-program");
	expect_error(&spec, ENOENT, "exec weft-no-such-program: no such program in PATH");
	spec.argv = ARGV("/usr/bin/weft-no-such-program");
	expect_error(
		&spec, ENOENT, "exec /usr/bin/weft-no-such-program: No such file or directory");
	spec.argv = ARGV("/etc/passwd");
	expect_error(&spec, EACCES, "exec /etc/passwd: Permission denied");
	spec.argv = ARGV("/bin/true");
	spec.cwd = "/no/such/dir";
	expect_error(&spec, ENOENT,
		"exec /bin/true: change to directory /no/such/dir: No such file or directory");
	spec.cwd = NULL;
	spec.netns = "/run/netns/weft-none";
	expect_error(&spec, ENOENT,
		"exec /bin/true: network namespace /run/netns/weft-none: "
		"No such file or directory");
	spec.netns = "/proc/self/ns/uts";
	expect_error(&spec, EINVAL,
		"exec /bin/true: enter network namespace /proc/self/ns/uts: Invalid argument");
	spec.netns = NULL;
	spec.cgroup = "weft-test-process-none";
	expect_error(&spec, ENOENT,
		"exec /bin/true: enter cgroup weft-test-process-none: No such file or directory");
}

static void test_sbin_is_searched(void **state)
{
	struct weft_process_spec spec = plain;
	_cleanup_(freep) char *path = strdup(getenv("PATH"));
	char out[4096];

	(void)state;
	setenv("PATH", "/usr/bin:/bin", 1);
	spec.argv = ARGV("ldconfig", "--version");
	assert_int_equal(run(&spec, out, sizeof(out)), 0);
	setenv("PATH", path, 1);
}

static void test_drop(void **state)
{
	struct weft_process_spec spec = plain;
	char out[4096];

	(void)state;
	if (geteuid() != 0)
		return;
	spec.drop = true;
	spec.die_with_parent = true;
	for (uid_t uid = 0; uid <= 65534; uid += 65534) {
		char want[64];

		spec.uid = uid;
		spec.gid = uid;
		spec.argv = ARGV("grep", "-E",
			"^(Uid|Groups|NoNewPrivs|Cap(Prm|Eff|Inh|Bnd|Amb)):", "/proc/self/status");
		assert_int_equal(run(&spec, out, sizeof(out)), 0);
		snprintf(want, sizeof(want), "Uid:\t%u\t%u\t%u\t%u\n", uid, uid, uid, uid);
		assert_non_null(strstr(out, want));
		assert_null(strstr(out, "Groups:\t0"));
		assert_non_null(strstr(out, "NoNewPrivs:\t1\n"));
		for (const char *p = out; (p = strstr(p, "Cap")); p += 7)
			assert_memory_equal(p + 6, ":\t0000000000000000\n", 19);
	}
}

/* As after a clone into root's home: nobody may not go there, and does not have to. */
static void test_drop_with_a_closed_directory(void **state)
{
	char dir[] = "/tmp/weft-test-process.XXXXXX", out[64] = "";
	_cleanup_(freep) char *program = NULL, *copy = NULL;
	const char *argv[] = {NULL, "was run", NULL};
	struct weft_process_spec spec = plain;

	(void)state;
	assert_non_null(mkdtemp(dir)); /* mode 0700 */
	program = weft_strf("%s/echo", dir);
	copy = weft_strf("cp /bin/echo %s", program);
	assert_int_equal(system(copy), 0);
	argv[0] = program;
	spec.argv = argv;
	spec.drop = true;
	spec.uid = spec.gid = 65534;
	assert_int_equal(run(&spec, out, sizeof(out)), 0);
	assert_string_equal(out, "was run\n");
	weft_remove_tree(dir);
}

static void test_dies_with_parent(void **state)
{
	struct weft_process_spec spec = plain;
	int pipefd[2], pidfd, r;
	pid_t middle, pid;
	char c;

	(void)state;
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	middle = fork();
	if (middle == 0) {
		spec.argv = ARGV("sleep", "600");
		spec.stdout_fd = pipefd[1];
		spec.die_with_parent = true;
		r = weft_process_spawn(&spec, &pid, &pidfd, NULL);
		_exit(r < 0);
	}
	close(pipefd[1]);
	assert_int_equal(waitpid(middle, &r, 0), middle);
	assert_int_equal(r, 0);
	/* End of file: nobody holds the pipe, so the sleeper is gone. */
	assert_int_equal(read(pipefd[0], &c, 1), 0);
	close(pipefd[0]);
}

struct ended {
	sd_event *event;
	int n, status;
};

static void on_end(void *userdata, int status)
{
	struct ended *e = userdata;

	e->n++;
	e->status = status;
	sd_event_exit(e->event, 0);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
	(void)s;
	(void)usec;
	(void)userdata;
	return -ETIMEDOUT;
}

static void watch_until_end(int pidfd, struct ended *e, int kill_with)
{
	struct weft_process_watch *w = NULL;

	memset(e, 0, sizeof(*e));
	assert_true(sd_event_new(&e->event) >= 0);
	assert_true(sd_event_add_time_relative(
			    e->event, NULL, CLOCK_MONOTONIC, 10000000, 0, on_timeout, NULL) >= 0);
	assert_int_equal(weft_process_watch(e->event, pidfd, on_end, e, &w), 0);
	if (kill_with)
		assert_int_equal(pidfd_send_signal(pidfd, kill_with, NULL, 0), 0);
	assert_int_equal(sd_event_loop(e->event), 0);
	weft_process_unwatch(w);
	e->event = sd_event_unref(e->event);
	assert_int_equal(e->n, 1);
}

static void test_watch(void **state)
{
	struct weft_process_spec spec = plain;
	struct ended e;
	char text[64];
	pid_t pid;
	int pidfd;

	(void)state;
	spec.argv = ARGV("sh", "-c", "exit 3");
	assert_int_equal(weft_process_spawn(&spec, &pid, &pidfd, NULL), 0);
	watch_until_end(pidfd, &e, 0);
	close(pidfd);
	assert_string_equal(
		weft_process_status_text(e.status, text, sizeof(text)), "exit status 3");
	assert_int_equal(waitpid(pid, NULL, WNOHANG), -1); /* reaped */

	spec.argv = ARGV("sleep", "600");
	assert_int_equal(weft_process_spawn(&spec, &pid, &pidfd, NULL), 0);
	watch_until_end(pidfd, &e, SIGKILL);
	close(pidfd);
	assert_string_equal(
		weft_process_status_text(e.status, text, sizeof(text)), "killed by SIGKILL");
	assert_string_equal(weft_process_status_text(-1, text, sizeof(text)), "ended");
	assert_string_equal(weft_process_status_text(SIGSEGV | WCOREFLAG, text, sizeof(text)),
		"killed by SIGSEGV (core dumped)");
}

/* A process that is not our child, as after a restart of the daemon: its status is known all the
 * same while it is a zombie (its parent here never waits), and on Linux 6.15 afterwards too. */
static void test_watch_of_a_stranger(void **state)
{
	struct weft_process_spec spec = plain;
	pid_t middle, pids[2] = {};
	int pipefd[2], gate[2], pidfd, own;
	struct ended e;
	char text[64];

	(void)state;
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	middle = fork();
	if (middle == 0) {
		spec.argv = ARGV("sleep", "600");
		weft_process_spawn(&spec, &pids[0], &own, NULL);
		close(gate[1]);
		spec.argv = ARGV("sh", "-c", "read line; exit 5");
		spec.stdin_fd = gate[0];
		weft_process_spawn(&spec, &pids[1], &own, NULL);
		(void)!write(pipefd[1], pids, sizeof(pids));
		for (;;)
			pause();
	}
	assert_int_equal(read(pipefd[0], pids, sizeof(pids)), sizeof(pids));
	for (int i = 0; i < 2; i++) {
		pidfd = pidfd_open(pids[i], 0);
		assert_true(pidfd >= 0);
		if (i == 1)
			close(gate[1]); /* end of file: it exits by itself */
		watch_until_end(pidfd, &e, i == 0 ? SIGKILL : 0);
		close(pidfd);
		assert_string_equal(weft_process_status_text(e.status, text, sizeof(text)),
			i == 0 ? "killed by SIGKILL" : "exit status 5");
	}
	kill(middle, SIGKILL);
	assert_int_equal(waitpid(middle, NULL, 0), middle);
	close(pipefd[0]);
	close(pipefd[1]);
	close(gate[0]);
}

static void test_identity(void **state)
{
	struct weft_process_spec spec = plain;
	uint64_t start, mine;
	int pidfd, again = -1;
	siginfo_t si;
	pid_t pid;

	(void)state;
	/* Hostile command name: the parser must not count its blanks and parentheses. */
	prctl(PR_SET_NAME, ") Z 1 (x) 2", 0, 0, 0);
	assert_int_equal(weft_process_start_time(getpid(), &mine), 0);
	prctl(PR_SET_NAME, "test_process", 0, 0, 0);
	assert_int_equal(weft_process_start_time(getpid(), &start), 0);
	assert_true(start == mine && start > 0);

	spec.argv = ARGV("sleep", "600");
	assert_int_equal(weft_process_spawn(&spec, &pid, &pidfd, NULL), 0);
	assert_int_equal(weft_process_start_time(pid, &start), 0);
	assert_int_equal(weft_process_open(pid, start + 1, &again), -ESRCH);
	assert_int_equal(weft_process_open(pid, start, &again), 0);
	close(again);
	again = -1;
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
	assert_int_equal(weft_process_open(pid, start, &again), -ESRCH); /* a zombie */
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(weft_process_open(pid, start, &again), -ESRCH);
	assert_int_equal(weft_process_start_time(pid, &start), -ESRCH);
	assert_int_equal(again, -1);
	close(pidfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_and_environment),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_session_and_signals),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_sbin_is_searched),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_drop_with_a_closed_directory),
		cmocka_unit_test(test_dies_with_parent),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_of_a_stranger),
		cmocka_unit_test(test_identity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
