/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/ctrd_lab.h"

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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/cgroup_mounts.h"
#include "tests/lib/image.h"

#define MAX_ARGS 16

struct ctrd_lab clab;

/* --- set-up --------------------------------------------------------------------------------------
 */

/* Beside us in the build directory: B/tests/unit/test_X, B/libexec. */
static int find_libexec(void)
{
	char self[PATH_MAX - 32] = "", *slash;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return -errno;
	slash = strrchr(self, '/');
	snprintf(clab.libexec, sizeof(clab.libexec), "%.*s/../../libexec", (int)(slash - self),
		self);
	return access(clab.libexec, X_OK) < 0 ? -errno : 0;
}

const char *clab_missing(void)
{
	const char *missing = test_ctrd_missing();

	return missing ? missing : find_libexec() < 0 ? "build/libexec is not there" : NULL;
}

const char *clab_runsc_missing(void)
{
	_cleanup_(freep) char *cmd = weft_strf("%s/weft-runsc --version >/dev/null", clab.libexec);

	return cmd && system(cmd) == 0 ? NULL : "runsc does not work here";
}

static int build_program(const char *path)
{
	_cleanup_(freep) char *cmd =
		weft_strf("cc -Os -static -o %s tests/lib/inside/inside.c", path);

	return cmd && system(cmd) == 0 ? 0 : -1;
}

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	struct clab_event *e = &clab.events[clab.n_events++ % CLAB_EVENTS];

	(void)userdata;
	e->event = event;
	snprintf(e->id, sizeof(e->id), "%s", id);
	snprintf(e->detail, sizeof(e->detail), "%s", detail);
}

static void on_progress(void *userdata, const char *image, uint64_t bytes, uint64_t total)
{
	(void)userdata;
	(void)image;
	assert_true(total == 0 || bytes <= total);
	clab.n_progress++;
	clab.bytes = bytes;
	clab.total = total;
}

struct weft_runtime *clab_runtime(void)
{
	const struct weft_runtime_config config = {
		.event = clab.loop,
		.state_dir = clab.ctrd.dir,
		.libexec_dir = clab.libexec,
		.containerd = clab.socket ? clab.socket : clab.ctrd.socket,
		.cgroup_root = clab.cgroup,
		.registries = clab.registries,
		.on_event = on_event,
		.on_progress = on_progress,
	};
	struct weft_err err = {};
	struct weft_runtime *rt = NULL;

	if (CLAB_OPS->new_(&config, &rt, &err) < 0)
		fail_msg("%s", err.msg);
	return rt;
}

int clab_setup(const char *name, unsigned disk_mb)
{
	char path[128];

	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	clab.n_events = 0;
	clab.answered = false;
	if (test_ctrd_setup_on(&clab.ctrd, name, disk_mb) < 0 || sd_event_new(&clab.loop) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/init", clab.ctrd.dir);
	snprintf(clab.image, sizeof(clab.image), "%s/image.tar", clab.ctrd.dir);
	snprintf(clab.cgroup, sizeof(clab.cgroup), "weft-test-%s-%d", name, getpid());
	if (build_program(path) < 0)
		return -1;
	test_image_write(clab.image,
		&(struct test_image){
			.program = path,
			.config = "{\"Entrypoint\":[\"/init\"],\"User\":\"tester\","
				  "\"Env\":[\"KEY=image\",\"OTHER=1\"],\"WorkingDir\":\"/tmp\"}",
			.passwd = "root:x:0:0::/:/bin/sh\ntester:x:1234:5678::/:/bin/sh\n",
			.group = "root:x:0:\nstaff:x:50:tester\nextra:x:60:tester,root\n",
		});
	clab.rt = clab_runtime();
	return 0;
}

int clab_teardown(void)
{
	CLAB_OPS->free_(clab.rt);
	sd_event_unref(clab.loop);
	test_ctrd_teardown(&clab.ctrd);
	return weft_cgroup_destroy(clab.cgroup);
}

/* --- the loop and its answers --------------------------------------------------------------------
 */

void clab_turn(uint64_t usec)
{
	assert_true(sd_event_run(clab.loop, usec) >= 0);
}

void clab_on_done(void *userdata, int r, const struct weft_err *err)
{
	(void)userdata;
	assert_false(clab.answered);
	clab.answered = true;
	clab.result = r;
	clab.err = *err;
}

void clab_on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	clab_on_done(userdata, r, err);
	snprintf(clab.prepared, sizeof(clab.prepared), "%s", ref ? ref : "");
	clab.size = size;
}

void clab_on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n)
{
	(void)userdata;
	assert_true(n <= WEFT_RUNTIME_MAX_CAPS);
	memcpy(clab.caps, caps, n * sizeof(*caps));
	clab.n_caps = n;
	clab.result = 0;
	clab.answered = true;
}

static void on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	clab_on_done(userdata, r, err);
	assert_true(size < sizeof(clab.output));
	clab.status = status;
	memcpy(clab.output, output, size);
	clab.output[size] = '\0';
	clab.output_size = size;
}

void clab_expect(int r, int want)
{
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;

	assert_int_equal(r, 0);
	while (!clab.answered && weft_now_ns() < end)
		clab_turn(100000);
	assert_true(clab.answered);
	clab.answered = false;
	if (clab.result != want)
		print_message("# %d: %s (%s)\n", clab.result, clab.err.msg, clab.err.hint);
	assert_int_equal(clab.result, want);
	if (want < 0)
		assert_true(clab.err.msg[0] && clab.err.code == -want);
}

void clab_expect_event(const char *id, enum weft_runtime_event event)
{
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;

	for (unsigned seen = 0; weft_now_ns() < end; clab_turn(100000))
		for (; seen < clab.n_events; seen++)
			if (clab.events[seen % CLAB_EVENTS].event == event &&
				strcmp(clab.events[seen % CLAB_EVENTS].id, id) == 0)
				return;
	fail_msg("no event %d of %s", (int)event, id);
}

/* --- calls ---------------------------------------------------------------------------------------
 */

static char *const *split(const char *args, char *copy, size_t size, char **argv)
{
	static char init[] = "/init";
	char *save = NULL;
	int n = 1;

	argv[0] = init;
	snprintf(copy, size, "%s", args);
	for (char *w = strtok_r(copy, " ", &save); w && n < MAX_ARGS - 1;
		w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	return argv;
}

struct weft_runtime_spec *clab_spec(const char *id, const char *args)
{
	static char log[160], copy[512], *argv[MAX_ARGS];
	static const char *env[] = {"KEY=value with spaces", NULL};
	static struct weft_runtime_spec spec;

	snprintf(log, sizeof(log), "%s/%s log.txt", clab.ctrd.dir, id);
	spec = (struct weft_runtime_spec){
		.id = id,
		.image = clab.ref,
		.dir = clab.ctrd.dir,
		.log_path = log,
		.virt = clab.virt,
		.arch = weft_arch_host(),
		.env = env,
		.net.tap_fd = -1,
	};
	if (args)
		spec.args = (const char *const *)split(args, copy, sizeof(copy), argv);
	return &spec;
}

int clab_begin(const struct weft_runtime_spec *spec)
{
	int r = CLAB_OPS->start(clab.rt, spec, clab_on_done, NULL, &clab.err);

	if (r < 0)
		print_message("# %s\n", clab.err.msg);
	return r;
}

void clab_run(const struct weft_runtime_spec *spec)
{
	clab_expect(clab_begin(spec), 0);
}

/* Until the program that writes the log has written all of it. */
static void wait_logger(const char *id)
{
	_cleanup_(freep) char *cmd = weft_strf("pgrep -f 'weft-lo[g] .*%s log' >/dev/null", id);
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;

	assert_non_null(cmd);
	while (system(cmd) == 0 && weft_now_ns() < end)
		clab_turn(10000);
}

char *clab_output(const struct weft_runtime_spec *spec)
{
	_cleanup_(freep) char *id = strdup(spec->id);
	unsigned before = clab.n_events;

	clab_run(spec);
	clab_wait_for(clab.n_events > before);
	clab_expect_event(id, WEFT_RUNTIME_EXITED);
	clab_delete(id);
	clab.n_events = before;
	wait_logger(id);
	return clab_log(id);
}

int clab_adopt(const char *id)
{
	const struct weft_runtime_spec spec = {.id = id, .image = clab.ref};

	return CLAB_OPS->adopt(clab.rt, &spec, clab_on_done, NULL, &clab.err);
}

int clab_stop(const char *id, unsigned grace_ms)
{
	return CLAB_OPS->stop(clab.rt, id, grace_ms, clab_on_done, NULL, &clab.err);
}

void clab_delete(const char *id)
{
	clab_expect(CLAB_OPS->delete_(clab.rt, id, clab_on_done, NULL, &clab.err), 0);
}

void clab_import(void)
{
	clab_expect(CLAB_OPS->prepare(clab.rt, clab.image, weft_arch_host(), clab_on_prepared, NULL,
			    &clab.err),
		0);
	snprintf(clab.ref, sizeof(clab.ref), "%s", clab.prepared);
}

void clab_exec(const char *id, const char *args, unsigned timeout_ms, int want)
{
	char copy[512], *argv[MAX_ARGS];

	clab_expect(CLAB_OPS->exec(clab.rt, id,
			    (const char *const *)split(args, copy, sizeof(copy), argv), timeout_ms,
			    on_executed, NULL, &clab.err),
		want);
}

struct weft_runtime_stats clab_stats(const char *id)
{
	struct weft_runtime_stats stats;

	assert_int_equal(CLAB_OPS->stats(clab.rt, id, &stats), 0);
	return stats;
}

/* --- looking -------------------------------------------------------------------------------------
 */

char *clab_log(const char *id)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s log.txt", clab.ctrd.dir, id);
	char *text = NULL;

	assert_non_null(path);
	assert_int_equal(weft_read_file(path, 64 << 20, &text, NULL), 0);
	return text;
}

/* The program that writes the log may be behind. */
void clab_assert_log(const char *id, const char *part)
{
	clab_wait_log(id, part);
}

void clab_wait_log(const char *id, const char *part)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s log.txt", clab.ctrd.dir, id);
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;
	bool found = false;

	while (!found && weft_now_ns() < end) {
		_cleanup_(freep) char *text = NULL;

		clab_turn(10000);
		found = weft_read_file(path, 64 << 20, &text, NULL) == 0 && strstr(text, part);
	}
	if (!found)
		fail_msg("log of %s never got '%s'", id, part);
}

/* Joining one's own mount namespace leads out of a chroot. */
static bool root_is_another(void)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		_cleanup_(closep) int ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
		struct stat here, root;

		if (ns < 0 || stat("/", &here) < 0 || setns(ns, CLONE_NEWNS) < 0 ||
			stat("/", &root) < 0)
			_exit(0);
		_exit(here.st_dev != root.st_dev || here.st_ino != root.st_ino);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 1;
}

bool clab_in_chroot(void)
{
	bool is = root_is_another();

	if (is)
		print_message("# SKIP runc exec does not find the container's root in a chroot\n");
	return is;
}

void clab_skip_in_chroot(void)
{
	if (clab_in_chroot())
		skip();
}

void clab_assert_clean(unsigned layers)
{
	char what[256];

	assert_int_equal(test_ctrd_lines(&clab.ctrd, "containers ls -q"), 0);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "tasks ls -q"), 0);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "leases ls -q"), 0);
	/* beside the title */
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots ls"), 1 + layers);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "content active"), 1);
	if (test_ctrd_host_leftover(&clab.ctrd, clab.cgroup, what, sizeof(what)))
		fail_msg("left over: %s", what);
}

char *clab_cgroup_file(
	const char *id, const char *controller, const char *v1_file, const char *v2_file)
{
	static const struct {
		const char *name;
		enum weft_cgroup_controller controller;
	} names[] = {{"cpu", WEFT_CGROUP_CPU}, {"memory", WEFT_CGROUP_MEMORY},
		{"pids", WEFT_CGROUP_PIDS}};
	_cleanup_(freep) char *group = weft_strf("%s/%s", clab.cgroup, id);
	const struct weft_cgroup_hierarchy *h = NULL;
	struct weft_cgroup_mounts m;
	char path[600], *text = NULL;

	assert_int_equal(weft_cgroup_mounts_read(&m), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i].name, controller) == 0)
			h = weft_cgroup_mounts_find(&m, names[i].controller);
	assert_non_null(h);
	assert_int_equal(
		weft_cgroup_mounts_path(h, group, h->v2 ? v2_file : v1_file, path, sizeof(path)),
		0);
	if (weft_read_file(path, 4096, &text, NULL) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	text[strcspn(text, "\n")] = '\0';
	return text;
}
