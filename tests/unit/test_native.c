/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "runtimes/cgroup.h"
#include "runtimes/cgroup_mounts.h"
#include "runtimes/process.h"
#include "runtimes/runtime.h"

#define ID        "shop.web.1"
#define ROOT      "weft-test-native"
#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct weft_runtime_ops *const ops = &weft_runtime_native;

/* One "daemon": a loop, a runtime, and all that was told, in order. */
struct fixture {
	char dir[64], log[96], netns[96], record[128];
	sd_event *event;
	struct weft_runtime *rt;
	char told[1024];
	bool in_call;
};
static struct fixture f;
static struct weft_err err;
static char libexec[PATH_MAX];
static uint64_t log_max; /* of what is started */

static void tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *fmt, ...)
{
	size_t n = strlen(f.told);
	va_list ap;

	assert_false(f.in_call); /* never from within a call */
	va_start(ap, fmt);
	vsnprintf(f.told + n, sizeof(f.told) - n, fmt, ap);
	va_end(ap);
}

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	static const char *const names[] = {"exited", "failed", "oom", "paused", "resumed"};

	assert_ptr_equal(userdata, &f);
	tell("[%s %s: %s]", id, names[event], detail);
}

static void on_done(void *userdata, int r, const struct weft_err *e)
{
	tell("[%s %d%s%.90s]", (const char *)userdata, r, r ? " " : "", r ? e->msg : "");
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *e, const char *ref, uint64_t size)
{
	(void)userdata;
	(void)e;
	tell("[prepared %d %s %s]", r, ref ? ref : "-", size ? "sized" : "0");
}

static void on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n)
{
	(void)userdata;
	assert_int_equal(n, 1);
	assert_int_equal(caps[0].virt, WEFT_VIRT_NATIVE);
	assert_int_equal(caps[0].arch, weft_arch_host());
	assert_non_null(strstr(caps[0].version, "Linux "));
	tell("[usable %d %s]", caps[0].usable, caps[0].detail);
}

static void daemon_up(void)
{
	struct weft_runtime_config config = {.state_dir = f.dir,
		.libexec_dir = libexec[0] ? libexec : NULL,
		.cgroup_root = ROOT,
		.on_event = on_event,
		.userdata = &f};

	f.told[0] = '\0';
	assert_true(sd_event_new(&f.event) >= 0);
	config.event = f.event;
	assert_int_equal(ops->new_(&config, &f.rt, &err), 0);
}

static void daemon_down(void)
{
	ops->free_(f.rt);
	f.rt = NULL;
	f.event = sd_event_unref(f.event);
}

/* Run the loop until all that is told ends with text. */
static void wait_told(const char *text)
{
	uint64_t deadline = weft_now_ns() + 10000000000ULL;

	for (;;) {
		size_t n = strlen(f.told), m = strlen(text);

		if (n >= m && strcmp(f.told + n - m, text) == 0)
			break;
		if (weft_now_ns() > deadline)
			fail_msg("waited for \"%s\", was told \"%s\"", text, f.told);
		assert_true(sd_event_run(f.event, 100000) >= 0);
	}
}

static void expect_told(const char *text)
{
	wait_told(text);
	assert_string_equal(f.told, text);
	f.told[0] = '\0';
}

/* Nothing more is told while the loop has something to do. */
static void expect_silence(void)
{
	while (sd_event_run(f.event, 20000) > 0)
		;
	assert_string_equal(f.told, "");
}

static struct weft_runtime_spec spec_of(const char *const *args)
{
	return (struct weft_runtime_spec){.id = ID,
		.dir = f.dir,
		.log_path = f.log,
		.log_max_bytes = log_max,
		.arch = weft_arch_host(),
		.args = args,
		.net = {.netns = f.netns, .tap_fd = -1}};
}

#define call(expr)                 \
	({                         \
		int r_;            \
		f.in_call = true;  \
		r_ = (expr);       \
		f.in_call = false; \
		r_;                \
	})

static void start(const char *const *args)
{
	struct weft_runtime_spec spec = spec_of(args);

	if (call(ops->start(f.rt, &spec, on_done, (void *)"start", &err)) < 0)
		fail_msg("%s", err.msg);
}

static void expect_nothing_left(void)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	char path[96];
	struct dirent *e;

	assert_int_equal(weft_cgroup_read(ROOT "/" ID, NULL, NULL), -ENOENT);
	assert_int_equal(weft_cgroup_read(ROOT "/" ID ".log", NULL, NULL), -ENOENT);
	snprintf(path, sizeof(path), "%s/native", f.dir);
	dir = opendir(path);
	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			fail_msg("%s is left", e->d_name);
}

/* The log's lines, once there are n of them. */
static char *read_log(unsigned n)
{
	uint64_t deadline = weft_now_ns() + 10000000000ULL;

	for (;;) {
		char *text = NULL;
		unsigned lines = 0;

		if (weft_read_file(f.log, 65536, &text, NULL) == 0)
			for (char *p = text; *p; p++)
				lines += *p == '\n';
		if (lines >= n)
			return text;
		free(text);
		assert_true(weft_now_ns() < deadline);
		usleep(1000);
	}
}

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	log_max = 0;
	snprintf(f.dir, sizeof(f.dir), "/tmp/weft-test-native.XXXXXX");
	assert_non_null(mkdtemp(f.dir));
	snprintf(f.log, sizeof(f.log), "%s/log", f.dir);
	snprintf(f.netns, sizeof(f.netns), "%s/netns", f.dir);
	snprintf(f.record, sizeof(f.record), "%s/native/%s.json", f.dir, ID);
	assert_int_equal(weft_netns_add(f.netns, &err), 0);
	daemon_up();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	f.in_call = false;
	daemon_down();
	weft_cgroup_destroy(ROOT);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	weft_netns_del(f.netns);
	assert_int_equal(weft_remove_tree(f.dir), 0);
	return 0;
}

/* --- probe and prepare ---------------------------------------------------------------------------
 */

static void test_probe(void **state)
{
	(void)state;
	assert_int_equal(call(ops->probe(f.rt, on_probed, NULL)), 0);
	expect_told("[usable 1 ]");
}

static int prepare(const char *image, enum weft_arch arch)
{
	memset(&err, 0, sizeof(err));
	return call(ops->prepare(f.rt, image, arch, on_prepared, NULL, &err));
}

static void write_program(const char *path, const void *data, size_t size, unsigned mode)
{
	assert_int_equal(weft_write_file(path, data, size, mode), 0);
}

static void test_prepare(void **state)
{
	enum weft_arch host = weft_arch_host(),
		       other = host == WEFT_ARCH_AMD64 ? WEFT_ARCH_ARM64 : WEFT_ARCH_AMD64;
	_cleanup_(freep) char *elf = NULL;
	char path[96];
	size_t size;

	(void)state;
	assert_int_equal(prepare("/bin/true", host), 0);
	expect_told("[prepared 0 /bin/true sized]");
	assert_int_equal(prepare("file:///bin/true", host), 0);
	expect_told("[prepared 0 /bin/true sized]");
	assert_int_equal(prepare(NULL, host), 0);
	expect_told("[prepared 0 - 0]");
	assert_int_equal(prepare("/no/such/program", host), -ENOENT);
	assert_string_equal(err.msg, "program /no/such/program: No such file or directory");
	assert_int_equal(prepare("/etc/passwd", host), -EBADMSG);
	assert_string_equal(err.msg, "program /etc/passwd: neither ELF nor a script");
	assert_int_equal(prepare("/tmp", host), -EBADMSG);
	assert_int_equal(prepare("true", host), -EINVAL);
	assert_int_equal(prepare("/bin/true", other), -ENOTSUP);

	snprintf(path, sizeof(path), "%s/program", f.dir);
	assert_int_equal(weft_read_file("/bin/true", 1 << 20, &elf, &size), 0);
	write_program(path, elf, 40, 0755);
	assert_int_equal(prepare(path, host), -EBADMSG);
	elf[18] ^= 0x55; /* e_machine */
	write_program(path, elf, size, 0755);
	assert_int_equal(prepare(path, host), -ENOTSUP);
	write_program(path, "", 0, 0755);
	assert_int_equal(prepare(path, host), -EBADMSG);
	write_program(path, "#!/bin/sh\n", 10, 0644);
	assert_int_equal(prepare(path, host), -EACCES);
	assert_non_null(strstr(err.hint, "chmod +x"));
	write_program(path, "#!/bin/sh\n", 10, 0755);
	assert_int_equal(prepare(path, host), 0);
	wait_told("sized]");
	f.told[0] = '\0';
	expect_silence();
}

/* --- start and end -------------------------------------------------------------------------------
 */

static void test_runs_where_it_should(void **state)
{
	struct weft_runtime_spec spec = spec_of(ARGV("sh", "-c",
		"stat -L -c %i /proc/self/ns/net; pwd; echo \"$A $LANG\"; echo oops >&2; "
		"grep -o '" ROOT ".*' /proc/self/cgroup | sort -u; read x; exit 3"));
	char want[256];
	_cleanup_(freep) char *log = NULL;
	struct stat st;

	(void)state;
	spec.env = ARGV("A=1", "LANG=C");
	spec.memory_mb = 64;
	spec.vcpus = 1;
	assert_int_equal(weft_write_file(f.log, "before\n", 7, 0644), 0);
	assert_int_equal(call(ops->start(f.rt, &spec, on_done, (void *)"start", &err)), 0);
	expect_told("[start 0]");
	wait_told("exit status 3]");
	assert_string_equal(f.told, "[" ID " failed: exit status 3]");
	assert_int_equal(stat(f.netns, &st), 0);
	snprintf(want, sizeof(want), "before\n%lu\n%s\n1 C\noops\n" ROOT "/" ID "\n",
		(unsigned long)st.st_ino, f.dir);
	log = read_log(6);
	assert_string_equal(log, want);
	expect_nothing_left();
}

static void test_image_is_the_program(void **state)
{
	struct weft_runtime_spec spec = spec_of(NULL);

	(void)state;
	spec.image = "/bin/true";
	assert_int_equal(call(ops->start(f.rt, &spec, on_done, (void *)"start", &err)), 0);
	expect_told("[start 0][" ID " exited: exit status 0]");
	expect_nothing_left();
}

static void test_weight(void **state)
{
	struct weft_runtime_spec spec = spec_of(ARGV("sleep", "1000"));
	const struct weft_cgroup_hierarchy *h;
	_cleanup_(freep) char *text = NULL;
	struct weft_cgroup_mounts m;
	char path[600];

	(void)state;
	spec.limits.cpu_weight = 300;
	assert_int_equal(call(ops->start(f.rt, &spec, on_done, (void *)"start", &err)), 0);
	expect_told("[start 0]");
	assert_int_equal(weft_cgroup_mounts_read(&m), 0);
	h = weft_cgroup_mounts_find(&m, WEFT_CGROUP_CPU);
	assert_non_null(h);
	assert_int_equal(weft_cgroup_mounts_path(h, ROOT "/" ID,
				 h->v2 ? "cpu.weight" : "cpu.shares", path, sizeof(path)),
		0);
	assert_int_equal(weft_read_file(path, 64, &text, NULL), 0);
	assert_string_equal(text, h->v2 ? "300\n" : "3072\n");
	assert_int_equal(call(ops->delete_(f.rt, ID, on_done, (void *)"delete", &err)), 0);
	expect_told("[delete 0]");
	expect_nothing_left();
}

static void test_stop(void **state)
{
	struct weft_runtime_stats stats;
	uint64_t t;

	(void)state;
	start(ARGV("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done"));
	expect_told("[start 0]");
	free(read_log(1));
	assert_int_equal(ops->stats(f.rt, ID, &stats), 0);
	assert_true(stats.cpu_ns > 0 && stats.memory_bytes > 0 && stats.pid > 1);
	t = weft_now_ns();
	assert_int_equal(call(ops->stop(f.rt, ID, 9000, on_done, (void *)"stop", &err)), 0);
	assert_int_equal(call(ops->stop(f.rt, ID, 9000, on_done, (void *)"again", &err)), 0);
	expect_told("[stop 0][again 0]");
	assert_true(weft_now_ns() - t < 5000000000ULL); /* by itself, not killed */
	expect_nothing_left();
	assert_int_equal(ops->stats(f.rt, ID, &stats), -ENOENT);
	/* gone already; never heard of */
	assert_int_equal(call(ops->stop(f.rt, ID, 9000, on_done, (void *)"stop", &err)), 0);
	assert_int_equal(call(ops->delete_(f.rt, "no.such.9", on_done, (void *)"delete", &err)), 0);
	expect_told("[stop 0][delete 0]");
	expect_silence();
}

/* TERM is ignored by the process and by its child in a session of its own: both are killed. */
static void test_kill_after_grace(void **state)
{
	uint64_t t;

	(void)state;
	start(ARGV("sh", "-c", "trap '' TERM; setsid sleep 600 & echo up; wait"));
	expect_told("[start 0]");
	free(read_log(1));
	t = weft_now_ns();
	assert_int_equal(call(ops->stop(f.rt, ID, 200, on_done, (void *)"stop", &err)), 0);
	expect_told("[stop 0]");
	t = weft_now_ns() - t;
	assert_true(t >= 190000000ULL && t < 5000000000ULL);
	expect_nothing_left();

	/* a later, shorter call counts */
	start(ARGV("sh", "-c", "trap '' TERM; echo up; sleep 600"));
	expect_told("[start 0]");
	free(read_log(2));
	assert_int_equal(call(ops->stop(f.rt, ID, 60000, on_done, (void *)"long", &err)), 0);
	assert_int_equal(call(ops->stop(f.rt, ID, 100, on_done, (void *)"short", &err)), 0);
	expect_told("[long 0][short 0]");

	start(ARGV("sh", "-c", "trap '' TERM; sleep 600"));
	assert_int_equal(call(ops->delete_(f.rt, ID, on_done, (void *)"delete", &err)), 0);
	expect_told("[start 0][delete 0]");
	expect_nothing_left();
}

static void test_event_when_killed(void **state)
{
	struct weft_runtime_stats stats;

	(void)state;
	start(ARGV("sleep", "600"));
	expect_told("[start 0]");
	assert_int_equal(ops->stats(f.rt, ID, &stats), 0);
	assert_int_equal(kill((pid_t)stats.pid, SIGSEGV), 0);
	wait_told("]");
	assert_non_null(strstr(f.told, "[" ID " failed: killed by SIGSEGV"));
	expect_nothing_left();
}

static void test_out_of_memory(void **state)
{
	struct weft_runtime_spec spec = spec_of(ARGV("tail", "/dev/zero"));

	(void)state;
	spec.memory_mb = 16;
	assert_int_equal(call(ops->start(f.rt, &spec, on_done, (void *)"start", &err)), 0);
	expect_told("[start 0][" ID " oom: killed for memory][" ID " failed: killed by SIGKILL]");
	expect_nothing_left();
}

static void expect_refused(struct weft_runtime_spec *spec, int code, const char *text)
{
	memset(&err, 0, sizeof(err));
	assert_int_equal(call(ops->start(f.rt, spec, on_done, (void *)"start", &err)), -code);
	assert_string_equal(err.msg, text);
	expect_silence();
	expect_nothing_left();
}

static void test_refusals(void **state)
{
	struct weft_runtime_spec spec = spec_of(NULL);

	(void)state;
	expect_refused(&spec, EINVAL, "instance " ID ": no program to run");
	assert_string_equal(err.hint, "a native variant needs `cmd` or `code`");
	spec.args = ARGV("/no/such/program");
	expect_refused(&spec, ENOENT, "exec /no/such/program: No such file or directory");
	spec.args = ARGV("sleep", "600");
	spec.net.netns = "/no/such/netns";
	expect_refused(&spec, ENOENT,
		"exec /usr/bin/sleep: network namespace /no/such/netns: No such file or directory");
	spec.net.netns = f.netns;
	spec.log_path = "/no/such/log";
	expect_refused(
		&spec, ENOENT, "instance " ID ": log /no/such/log: No such file or directory");
	spec.log_path = f.log;
	spec.id = "../x";
	expect_refused(&spec, EINVAL, "instance ../x: Invalid argument");
}

static void test_one_instance_per_id(void **state)
{
	struct weft_runtime_spec spec = spec_of(ARGV("sleep", "600"));

	(void)state;
	start(ARGV("sleep", "600"));
	expect_told("[start 0]");
	assert_int_equal(call(ops->start(f.rt, &spec, on_done, (void *)"again", &err)), -EEXIST);
	assert_non_null(strstr(err.msg, "instance " ID ": runs already, pid "));
	expect_silence();
}

static void test_free_cancels(void **state)
{
	struct weft_runtime_stats stats;

	(void)state;
	start(ARGV("sleep", "600"));
	assert_int_equal(ops->stats(f.rt, ID, &stats), 0);
	assert_int_equal(call(ops->probe(f.rt, on_probed, NULL)), 0);
	assert_int_equal(call(ops->stop(f.rt, ID, 60000, on_done, (void *)"stop", &err)), 0);
	ops->free_(f.rt);
	f.rt = NULL;
	expect_silence();
	f.event = sd_event_unref(f.event);
	assert_int_equal(kill((pid_t)stats.pid, SIGKILL), 0);
	daemon_up();
}

/* --- restarts of the daemon ----------------------------------------------------------------------
 */

static void adopt(void)
{
	struct weft_runtime_spec spec = spec_of(NULL);

	assert_int_equal(call(ops->adopt(f.rt, &spec, on_done, (void *)"adopt", &err)), 0);
}

/* A daemon in a process of its own starts the instance and is killed with -9. Its instance belongs
 * to nobody then: init or a subreaper gets it, whether that reaps it or not. */
static void start_under_killed_daemon(const char *const *args)
{
	int pipefd[2], status;
	pid_t pid;
	char c = 0;

	daemon_down();
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		daemon_up();
		start(args);
		wait_told("[start 0]");
		(void)!write(pipefd[1], "x", 1);
		for (;;)
			pause();
	}
	close(pipefd[1]);
	assert_int_equal(read(pipefd[0], &c, 1), 1);
	close(pipefd[0]);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	daemon_up();
}

static void test_adopt_and_stop(void **state)
{
	struct weft_runtime_spec spec = spec_of(ARGV("sleep", "600"));
	struct weft_runtime_stats stats;

	(void)state;
	start_under_killed_daemon(ARGV("sh", "-c", "echo up; sleep 600"));
	free(read_log(1)); /* it lives on, with its log */
	assert_int_equal(ops->stats(f.rt, ID, &stats), -ENOENT);
	assert_int_equal(call(ops->start(f.rt, &spec, on_done, (void *)"start", &err)), -EEXIST);
	adopt();
	adopt(); /* twice is no harm */
	expect_told("[adopt 0][adopt 0]");
	assert_int_equal(ops->stats(f.rt, ID, &stats), 0);
	assert_true(stats.cpu_ns > 0 && stats.pid > 1);
	assert_int_equal(call(ops->stop(f.rt, ID, 5000, on_done, (void *)"stop", &err)), 0);
	expect_told("[stop 0]");
	expect_nothing_left();
	adopt();
	expect_told("[adopt -2 instance " ID ": its process is gone]");
}

/* --- its log -------------------------------------------------------------------------------------
 */

#define LINES 3000
#define COUNT(then)                                                       \
	"i=0; while [ $i -lt 3000 ]; do echo \"a line of some length, \"" \
	"\"number $i\"; i=$((i+1)); done; " then

/* All of the lines, none twice, with what was rotated. */
static void expect_lines(void)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", f.log), *a = NULL, *b = NULL, *all = NULL;
	unsigned n = 0;
	char *save = NULL;
	size_t size;

	assert_int_equal(weft_read_file(old, 1 << 20, &a, &size), 0);
	assert_in_range(size, 90000, 100000);
	assert_int_equal(weft_read_file(f.log, 1 << 20, &b, &size), 0);
	assert_in_range(size, 1, 100000);
	all = weft_strf("%s%s", a, b);
	for (char *l = strtok_r(all, "\n", &save); l; l = strtok_r(NULL, "\n", &save), n++) {
		char want[64];

		snprintf(want, sizeof(want), "a line of some length, number %u", n);
		assert_string_equal(l, want);
	}
	assert_int_equal(n, LINES);
}

/* No daemon is there while it writes, nor when its log is full. */
static void test_log_goes_on(void **state)
{
	struct weft_runtime_stats stats;
	uint64_t deadline;

	(void)state;
	log_max = 100000;
	start_under_killed_daemon(
		ARGV("sh", "-c", COUNT("echo it is said > done; exec sleep 600")));
	deadline = weft_now_ns() + 30000000000ULL;
	for (_cleanup_(freep) char *done = weft_strf("%s/done", f.dir); access(done, F_OK) < 0;) {
		assert_true(weft_now_ns() < deadline);
		usleep(1000);
	}
	adopt();
	expect_told("[adopt 0]");
	assert_int_equal(ops->stats(f.rt, ID, &stats), 0);
	assert_true(stats.helper_memory_bytes > 0 && stats.helper_cpu_ns > 0);
	assert_int_equal(call(ops->stop(f.rt, ID, 5000, on_done, (void *)"stop", &err)), 0);
	expect_told("[stop 0]");
	expect_lines();
	expect_nothing_left();
}

/* Whoever is told of the end can read the last words. */
static void test_last_words(void **state)
{
	(void)state;
	log_max = 100000;
	start(ARGV("sh", "-c", COUNT("exit 3")));
	expect_told("[start 0][" ID " failed: exit status 3]");
	expect_lines();
	expect_nothing_left();
}

/* Its writer is killed: the instance is not, and its end is told all the same. */
static void test_log_writer_dies(void **state)
{
	(void)state;
	start(ARGV("sh", "-c",
		"trap '' PIPE; echo up; while ! [ -e go ]; do sleep 0.01; done; exit 4"));
	expect_told("[start 0]");
	free(read_log(1));
	assert_int_equal(weft_cgroup_destroy(ROOT "/" ID ".log"), 0);
	expect_silence();
	{
		_cleanup_(freep) char *go = weft_strf("%s/go", f.dir);

		assert_int_equal(weft_write_file(go, "", 0, 0600), 0);
	}
	expect_told("[" ID " failed: exit status 4]");
	expect_nothing_left();
}

static void test_without_a_writer(void **state)
{
	char path[PATH_MAX];

	(void)state;
	strcpy(path, libexec);
	daemon_down();
	libexec[0] = '\0';
	daemon_up();
	strcpy(libexec, path);
	start(ARGV("sh", "-c", "echo straight into the file; exit 5"));
	expect_told("[start 0][" ID " failed: exit status 5]");
	free(read_log(1));
	expect_nothing_left();
}

static void test_adopted_one_ends(void **state)
{
	struct weft_runtime_stats stats;

	(void)state;
	start_under_killed_daemon(ARGV("sleep", "600"));
	adopt();
	expect_told("[adopt 0]");
	assert_int_equal(ops->stats(f.rt, ID, &stats), 0);
	assert_int_equal(kill((pid_t)stats.pid, SIGKILL), 0);
	wait_told("]");
	print_message("# %s\n", f.told);
	/* Whether a stranger's status is known depends on the kernel and on who reaps it. */
	assert_true(strcmp(f.told, "[" ID " failed: killed by SIGKILL]") == 0 ||
		    strcmp(f.told, "[" ID " failed: ended]") == 0);
	expect_nothing_left();
}

static void test_delete_without_adopting(void **state)
{
	(void)state;
	start_under_killed_daemon(ARGV("sh", "-c", "trap '' TERM; sleep 600"));
	assert_int_equal(call(ops->delete_(f.rt, ID, on_done, (void *)"delete", &err)), 0);
	expect_told("[delete 0]");
	expect_nothing_left();
}

/* Killed between fork and record: only the cgroup knows of the process. */
static void test_orphan_is_swept_before_start(void **state)
{
	struct weft_runtime_stats stats;
	int pidfd;
	struct weft_process_spec p = {.argv = ARGV("sleep", "600"),
		.cgroup = ROOT "/" ID,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1};
	pid_t pid;
	int status;

	(void)state;
	assert_int_equal(weft_cgroup_create(ROOT "/" ID, NULL, &err), 0);
	assert_int_equal(weft_process_spawn(&p, &pid, &pidfd, &err), 0);
	close(pidfd);
	adopt();
	expect_told("[adopt -2 instance " ID ": its process is gone]");
	start(ARGV("sleep", "600"));
	expect_told("[start 0]");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(ops->stats(f.rt, ID, &stats), 0);
	assert_int_not_equal(stats.pid, pid);
}

/* A record that tells of another process of the same pid, of another boot, or of nothing. */
static void test_false_records(void **state)
{
	static const char *const texts[] = {
		"{\"pid\":%d,\"start_time\":1,\"boot_id\":\"%s\",\"cgroup\":\"" ROOT "/x\"}",
		"{\"pid\":%d,\"start_time\":1,\"boot_id\":\"another%.0s\",\"cgroup\":\"" ROOT
		"/x\"}",
		"{\"pid\":-1,\"start_time\":1}",
		"{\"pid\":1",
		"",
	};
	_cleanup_(freep) char *boot_id = NULL;
	char text[256];

	(void)state;
	assert_int_equal(weft_read_file("/proc/sys/kernel/random/boot_id", 128, &boot_id, NULL), 0);
	boot_id[strcspn(boot_id, "\n")] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
		int n = snprintf(text, sizeof(text), texts[i], (int)getpid(), boot_id);
#pragma GCC diagnostic pop

		assert_int_equal(weft_write_file(f.record, text, (size_t)n, 0600), 0);
		adopt();
		expect_told("[adopt -2 instance " ID ": its process is gone]");
		assert_int_equal(call(ops->delete_(f.rt, ID, on_done, (void *)"delete", &err)), 0);
		expect_told("[delete 0]");
		expect_nothing_left();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_prepare, setup, teardown),
		cmocka_unit_test_setup_teardown(test_runs_where_it_should, setup, teardown),
		cmocka_unit_test_setup_teardown(test_image_is_the_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_weight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kill_after_grace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_event_when_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_instance_per_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_free_cancels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt_and_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log_writer_dies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_a_writer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopted_one_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(test_delete_without_adopting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_orphan_is_swept_before_start, setup, teardown),
		cmocka_unit_test_setup_teardown(test_false_records, setup, teardown),
	};
	_cleanup_(freep) char *build = NULL;
	int r;

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root for namespaces and cgroups\n");
		return 0;
	}
	build = weft_strf("%s/libexec", getenv("B") ? getenv("B") : "build");
	if (!build || !realpath(build, libexec)) {
		printf("1..0 # SKIP no libexec directory was built\n");
		return 0;
	}
	r = weft_cgroup_create(ROOT,
		&(struct weft_cgroup_limits){.memory_bytes = 1 << 30, .cpu_milli = 1000}, &err);
	if (r < 0) {
		printf("1..0 # SKIP %s\n", err.msg);
		return 0;
	}
	weft_cgroup_destroy(ROOT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
