/* SPDX-License-Identifier: Apache-2.0 */
/* The containerd runtime against a real containerd of the test's own, with runc and with runsc. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/runtime.h"
#include "tests/lib/ctrd.h"
#include "tests/lib/image.h"

#define OPS     (&weft_runtime_containerd)
#define WAIT_NS 30000000000ULL

/* What runs in the test's containers. */
static const char program[] =
	"#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"#include <unistd.h>\n"
	"static void bye(int s) { printf(\"bye %d\\n\", s); fflush(stdout); _exit(0); }\n"
	"int main(int c, char **v) {\n"
	"	const char *do_ = c > 1 ? v[1] : \"serve\", *e = getenv(\"KEY\");\n"
	"	char host[80] = \"\", cwd[80] = \"\"; gethostname(host, sizeof(host) - 1);\n"
	"	printf(\"%s uid=%d gid=%d cwd=%s host=%s KEY=%s pid=%d\\n\", do_, (int)getuid(),\n"
	"		(int)getgid(), getcwd(cwd, sizeof(cwd)), host, e ? e : \"\", (int)getpid());\n"
	"	fflush(stdout); fprintf(stderr, \"on stderr\\n\");\n"
	"	if (!strcmp(do_, \"serve\")) { signal(SIGTERM, bye); signal(SIGQUIT, bye); for (;;) pause(); }\n"
	"	if (!strcmp(do_, \"stubborn\")) for (signal(SIGTERM, SIG_IGN);;) pause();\n"
	"	if (!strcmp(do_, \"exit\")) { usleep(200000); return atoi(v[2]); }\n"
	"	if (!strcmp(do_, \"hog\")) for (;;) { char *p = malloc(1 << 20);\n"
	"		for (int i = 0; p && i < 1 << 20; i += 512) ((volatile char *)p)[i] = 1; }\n"
	"	return 3;\n}\n";

struct event {
	char id[80], detail[128];
	enum weft_runtime_event event;
};

struct fixture {
	struct test_ctrd ctrd;
	sd_event *loop;
	struct weft_runtime *rt;
	enum weft_virt virt;
	char libexec[PATH_MAX], image[128], ref[160], cgroup[48];
	struct event events[16];
	unsigned n_events;
	/* the last answer */
	bool answered;
	int result;
	struct weft_err err;
	char prepared[160];
	uint64_t size;
	struct weft_runtime_cap caps[2];
};

static struct fixture f;

/* --- talking to the runtime ----------------------------------------------------------------------
 */

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	struct event *e = &f.events[f.n_events++ % 16];

	(void)userdata;
	e->event = event;
	snprintf(e->id, sizeof(e->id), "%s", id);
	snprintf(e->detail, sizeof(e->detail), "%s", detail);
}

static void on_done(void *userdata, int r, const struct weft_err *err)
{
	(void)userdata;
	assert_false(f.answered);
	f.answered = true;
	f.result = r;
	f.err = *err;
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	on_done(userdata, r, err);
	snprintf(f.prepared, sizeof(f.prepared), "%s", ref ? ref : "");
	f.size = size;
}

static void on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n)
{
	(void)userdata;
	assert_int_equal(n, 2);
	memcpy(f.caps, caps, sizeof(f.caps));
	f.answered = true;
}

static void turn(uint64_t usec)
{
	assert_true(sd_event_run(f.loop, usec) >= 0);
}

/* The answer of the call just made; its text is shown when it is not what was expected. */
static void expect(int r, int want)
{
	uint64_t end = weft_now_ns() + WAIT_NS;

	assert_int_equal(r, 0);
	while (!f.answered && weft_now_ns() < end)
		turn(100000);
	assert_true(f.answered);
	f.answered = false;
	if (f.result != want)
		print_message("# %d: %s (%s)\n", f.result, f.err.msg, f.err.hint);
	assert_int_equal(f.result, want);
	if (want < 0)
		assert_true(f.err.msg[0] && f.err.code == -want);
}

static void expect_event(const char *id, enum weft_runtime_event event)
{
	uint64_t end = weft_now_ns() + WAIT_NS;

	for (unsigned seen = 0; weft_now_ns() < end; turn(100000))
		for (; seen < f.n_events; seen++)
			if (f.events[seen].event == event && strcmp(f.events[seen].id, id) == 0)
				return;
	fail_msg("no event %d of %s", (int)event, id);
}

static struct weft_runtime *new_runtime(void)
{
	const struct weft_runtime_config config = {
		.event = f.loop,
		.state_dir = f.ctrd.dir,
		.libexec_dir = f.libexec,
		.containerd = f.ctrd.socket,
		.cgroup_root = f.cgroup,
		.on_event = on_event,
	};
	struct weft_err err = {};
	struct weft_runtime *rt = NULL;

	if (OPS->new_(&config, &rt, &err) < 0)
		fail_msg("%s", err.msg);
	return rt;
}

/* args: after /init, separated by spaces; NULL: the image's own. */
static int start(const char *id, const char *args, uint32_t memory_mb)
{
	char log[128], copy[128], *argv[8] = {(char[]){"/init"}};
	const char *env[] = {"KEY=value with spaces", NULL};
	struct weft_runtime_spec spec = {
		.id = id,
		.image = f.ref,
		.dir = f.ctrd.dir,
		.log_path = log,
		.virt = f.virt,
		.arch = weft_arch_host(),
		.env = env,
		.memory_mb = memory_mb,
		.net.tap_fd = -1,
	};
	char *save = NULL;
	int n = 1, r;

	snprintf(log, sizeof(log), "%s/%s log.txt", f.ctrd.dir, id);
	snprintf(copy, sizeof(copy), "%s", args ? args : "");
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	if (args)
		spec.args = (const char *const *)argv;
	r = OPS->start(f.rt, &spec, on_done, NULL, &f.err);
	if (r < 0)
		print_message("# %s\n", f.err.msg);
	return r;
}

static int adopt(const char *id)
{
	const struct weft_runtime_spec spec = {.id = id, .image = f.ref};

	return OPS->adopt(f.rt, &spec, on_done, NULL, &f.err);
}

static int stop(const char *id, unsigned grace_ms)
{
	return OPS->stop(f.rt, id, grace_ms, on_done, NULL, &f.err);
}

static void delete_(const char *id)
{
	expect(OPS->delete_(f.rt, id, on_done, NULL, &f.err), 0);
}

static char *log_of(const char *id)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s log.txt", f.ctrd.dir, id);
	char *text = NULL;

	assert_non_null(path);
	assert_int_equal(weft_read_file(path, 65536, &text, NULL), 0);
	return text;
}

static void assert_log(const char *id, const char *part)
{
	_cleanup_(freep) char *text = log_of(id);

	if (!strstr(text, part))
		fail_msg("log of %s lacks '%s': %s", id, part, text);
}

/* Wait until the program itself runs: a signal that comes earlier meets runc. */
static void wait_log(const char *id, const char *part)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s log.txt", f.ctrd.dir, id);
	uint64_t end = weft_now_ns() + WAIT_NS;
	bool found = false;

	while (!found && weft_now_ns() < end) {
		_cleanup_(freep) char *text = NULL;

		turn(10000);
		found = weft_read_file(path, 65536, &text, NULL) == 0 && strstr(text, part);
	}
	assert_true(found);
}

/* Nothing but images is left. */
static void assert_clean(void)
{
	assert_int_equal(test_ctrd_lines(&f.ctrd, "containers ls -q"), 0);
	assert_int_equal(test_ctrd_lines(&f.ctrd, "tasks ls -q"), 0);
	assert_int_equal(test_ctrd_lines(&f.ctrd, "leases ls -q"), 0);
	/* the image's own layer, and the title */
	assert_int_equal(test_ctrd_lines(&f.ctrd, "snapshots ls"), 2);
	assert_int_equal(test_ctrd_lines(&f.ctrd, "content active"), 1);
}

/* --- fixture -------------------------------------------------------------------------------------
 */

static int build_program(const char *path)
{
	_cleanup_(freep) char *source = weft_strf("%s.c", path);
	_cleanup_(freep) char *cmd = weft_strf("cc -Os -static -o %s %s.c", path, path);

	if (!source || !cmd || weft_write_file(source, program, strlen(program), 0644) < 0)
		return -1;
	return system(cmd) == 0 ? 0 : -1;
}

static int setup(void **state)
{
	char path[128];

	(void)state;
	if (test_ctrd_setup(&f.ctrd, "containerd") < 0 || sd_event_new(&f.loop) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/init", f.ctrd.dir);
	snprintf(f.image, sizeof(f.image), "%s/image.tar", f.ctrd.dir);
	snprintf(f.cgroup, sizeof(f.cgroup), "weft-test-containerd-%d", getpid());
	if (build_program(path) < 0)
		return -1;
	test_image_write(f.image,
		&(struct test_image){
			.program = path,
			.config = "{\"Entrypoint\":[\"/init\"],\"User\":\"tester\","
				  "\"Env\":[\"KEY=image\",\"OTHER=1\"],\"WorkingDir\":\"/tmp\"}",
			.passwd = "root:x:0:0::/:/bin/sh\ntester:x:1234:5678::/:/bin/sh\n",
		});
	f.rt = new_runtime();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	OPS->free_(f.rt);
	sd_event_unref(f.loop);
	test_ctrd_teardown(&f.ctrd);
	return weft_cgroup_destroy(f.cgroup);
}

/* Each test begins with the image imported. */
static int imported(void **state)
{
	(void)state;
	f.n_events = 0;
	f.virt = WEFT_VIRT_CONTAINER;
	expect(OPS->prepare(f.rt, f.image, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	snprintf(f.ref, sizeof(f.ref), "%s", f.prepared);
	return 0;
}

static int imported_for_gvisor(void **state)
{
	int r = imported(state);

	f.virt = WEFT_VIRT_GVISOR;
	return r;
}

static int nothing_left(void **state)
{
	(void)state;
	assert_clean();
	return 0;
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void test_probe(void **state)
{
	const struct weft_runtime_config config = {
		.event = f.loop,
		.state_dir = f.ctrd.dir,
		.containerd = "/tmp/weft-test-nobody-here.sock",
	};
	struct weft_runtime *rt = NULL;
	struct weft_err err = {};

	(void)state;
	f.result = 0;
	expect(OPS->probe(f.rt, on_probed, NULL), 0);
	print_message("# %s\n", f.caps[0].version);
	assert_true(f.caps[0].usable);
	assert_int_equal(f.caps[0].virt, WEFT_VIRT_CONTAINER);
	assert_non_null(strstr(f.caps[0].version, "containerd 1."));
	assert_non_null(strstr(f.caps[0].version, "runc 1."));
	print_message("# %s%s\n", f.caps[1].version, f.caps[1].detail);
	assert_int_equal(f.caps[1].virt, WEFT_VIRT_GVISOR);
	assert_true(f.caps[1].usable ? strstr(f.caps[1].version, "runsc ") != NULL
				     : f.caps[1].detail[0] != '\0');

	assert_int_equal(OPS->new_(&config, &rt, &err), 0);
	expect(OPS->probe(rt, on_probed, NULL), 0);
	OPS->free_(rt);
	assert_false(f.caps[0].usable || f.caps[1].usable);
	assert_non_null(strstr(f.caps[0].detail, config.containerd));
	assert_non_null(strstr(f.caps[0].detail, "No such file"));
}

static void test_import(void **state)
{
	_cleanup_(freep) char *images = NULL, *url = weft_strf("file://%s", f.image);
	uint64_t first, second;

	(void)state;
	first = weft_now_ns();
	expect(OPS->prepare(f.rt, f.image, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	first = weft_now_ns() - first;
	assert_true(f.size > 10000);
	snprintf(f.ref, sizeof(f.ref), "%s", f.prepared);

	second = weft_now_ns();
	expect(OPS->prepare(f.rt, url, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	second = weft_now_ns() - second;
	assert_string_equal(f.prepared, f.ref);
	print_message(
		"# import %.1f ms, again %.1f ms\n", (double)first / 1e6, (double)second / 1e6);

	images = test_ctrd_run(&f.ctrd, "images check");
	assert_non_null(images);
	print_message("# %s\n", strchr(images, '\n') + 1);
	assert_non_null(strstr(images, f.ref));
	assert_non_null(strstr(images, "complete (2/2)"));
	assert_non_null(strstr(images, "true")); /* unpacked */
	assert_clean();
}

/* The garbage collector runs when leases go and must not take what an image needs. */
static void test_import_survives_collection(void **state)
{
	_cleanup_(freep) char *images = NULL;

	(void)state;
	assert_true(test_ctrd_lines(&f.ctrd, "leases create --id weft-test-gc") >= 0);
	assert_true(test_ctrd_lines(&f.ctrd, "leases rm --sync weft-test-gc") >= 0);
	images = test_ctrd_run(&f.ctrd, "images check");
	assert_non_null(images);
	assert_non_null(strstr(images, "complete (2/2)"));
	assert_int_equal(test_ctrd_lines(&f.ctrd, "snapshots ls"), 2);
}

static void test_import_layers(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/layers.tar.gz", f.ctrd.dir);
	_cleanup_(freep) char *rm = NULL, *check = NULL;

	(void)state;
	test_image_write(path, &(struct test_image){.layers = 5,
				       .compress = true,
				       .nested = true,
				       .other_first = true,
				       .blobs_first = true});
	expect(OPS->prepare(f.rt, path, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	assert_int_equal(test_ctrd_lines(&f.ctrd, "snapshots ls"), 2 + 5);
	check = test_ctrd_run(&f.ctrd, "images check");
	assert_non_null(check);
	assert_non_null(strstr(check, "complete (6/6)"));
	rm = weft_strf("images rm --sync %s", f.prepared);
	free(test_ctrd_run(&f.ctrd, rm));
	assert_clean();
}

static void bad_image(const char *path, int code, const char *says)
{
	expect(OPS->prepare(f.rt, path, weft_arch_host(), on_prepared, NULL, &f.err), code);
	print_message("# %s (%s)\n", f.err.msg, f.err.hint);
	assert_non_null(strstr(f.err.msg, path));
	assert_non_null(strstr(f.err.msg, says));
	assert_true(f.err.hint[0]);
	assert_string_equal(f.prepared, "");
}

static void test_bad_images(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/bad.tar", f.ctrd.dir);
	struct stat st;

	(void)state;
	bad_image("/nonexistent/image.tar", -ENOENT, "No such file");
	assert_int_equal(
		OPS->prepare(f.rt, "docker://x/y", weft_arch_host(), on_prepared, NULL, &f.err),
		-ENOTSUP);
	assert_int_equal(
		OPS->prepare(f.rt, "image.tar", weft_arch_host(), on_prepared, NULL, &f.err),
		-EINVAL);
	test_image_write(path, &(struct test_image){.layers = 2, .arch = "riscv64"});
	bad_image(path, -ENOTSUP, "riscv64");
	test_image_write(path, &(struct test_image){.layers = 2, .wrong_layer = true});
	bad_image(path, -EBADMSG, "damaged");
	test_image_write(path, &(struct test_image){.layers = 2, .missing_layer = true});
	bad_image(path, -EBADMSG, "missing");
	test_image_write(path, &(struct test_image){.layers = 2, .compress = true});
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size / 2), 0);
	bad_image(path, -EBADMSG, "truncated");
	bad_image("/etc/passwd", -EBADMSG, "not an OCI image");
	assert_clean();
}

static void test_run(void **state)
{
	struct weft_runtime_stats stats;
	char path[64];

	(void)state;
	expect(start("test.run.1", "serve", 96), 0);
	assert_int_equal(start("test.run.1", "serve", 64), -EEXIST);
	assert_int_equal(OPS->stats(f.rt, "test.run.1", &stats), 0);
	print_message("# cpu %.1f ms, memory %.1f MiB\n", (double)stats.cpu_ns / 1e6,
		(double)stats.memory_bytes / 1048576);
	assert_true(stats.pid > 0 && stats.memory_bytes > 0);
	snprintf(path, sizeof(path), "/proc/%u", stats.pid);
	assert_int_equal(access(path, F_OK), 0);
	wait_log("test.run.1", "on stderr");

	expect(stop("test.run.1", 5000), 0);
	assert_true(access(path, F_OK) < 0);
	assert_int_equal(OPS->stats(f.rt, "test.run.1", &stats), -ENOENT);
	assert_log("test.run.1", "serve uid=1234 gid=5678 cwd=/tmp host=test.run.1 "
				 "KEY=value with spaces pid=1\n");
	assert_log("test.run.1", "on stderr\n");
	assert_log("test.run.1", "bye 15\n");
	expect(stop("test.run.1", 5000), 0); /* gone already */
	delete_("test.run.1");
	delete_("test.run.1");
	delete_("never.heard.of");
	expect(stop("never.heard.of", 10), 0);
	assert_int_equal(f.n_events, 0);
}

static void test_image_arguments(void **state)
{
	(void)state;
	expect(start("test.own", NULL, 0), 0);
	wait_log("test.own", "serve uid=1234");
	expect(stop("test.own", 5000), 0);
	delete_("test.own");
}

static void test_kill_after_grace(void **state)
{
	uint64_t begin;

	(void)state;
	expect(start("test.stubborn", "stubborn", 0), 0);
	wait_log("test.stubborn", "on stderr");
	begin = weft_now_ns();
	expect(stop("test.stubborn", 300), 0);
	assert_true(weft_now_ns() - begin >= 300000000ULL);
	delete_("test.stubborn");
	/* delete without stop */
	expect(start("test.stubborn", "stubborn", 0), 0);
	delete_("test.stubborn");
	assert_int_equal(f.n_events, 0);
}

static void test_events(void **state)
{
	(void)state;
	expect(start("test.exit.0", "exit 0", 0), 0);
	expect_event("test.exit.0", WEFT_RUNTIME_EXITED);
	expect(start("test.exit.7", "exit 7", 0), 0);
	expect_event("test.exit.7", WEFT_RUNTIME_FAILED);
	assert_string_equal(f.events[f.n_events - 1].detail, "exit status 7");
	delete_("test.exit.0");
	delete_("test.exit.7");
	assert_int_equal(f.n_events, 2);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	expect(start("test.hog", "hog", 24), 0);
	expect_event("test.hog", WEFT_RUNTIME_FAILED);
	assert_int_equal(f.events[0].event, WEFT_RUNTIME_OOM);
	assert_non_null(strstr(f.events[f.n_events - 1].detail, "SIGKILL"));
	delete_("test.hog");
}

static void test_failed_start(void **state)
{
	const char *args[] = {"/no/such/program", NULL};
	struct weft_runtime_spec spec = {
		.id = "test.bad",
		.image = f.ref,
		.args = args,
		.virt = f.virt,
		.arch = weft_arch_host(),
	};

	(void)state;
	expect(OPS->start(f.rt, &spec, on_done, NULL, &f.err), -EIO);
	print_message("# %s\n", f.err.msg);
	assert_non_null(strstr(f.err.msg, "test.bad"));
	assert_non_null(strstr(f.err.msg, "/no/such/program"));
	assert_clean();
	spec.args = NULL;
	spec.net.netns = "/no/such/netns";
	expect(OPS->start(f.rt, &spec, on_done, NULL, &f.err), -EIO);
	assert_clean();
	spec.net.netns = NULL;
	spec.image = "weft.local/image@sha256:0";
	expect(OPS->start(f.rt, &spec, on_done, NULL, &f.err), -ENOENT);
	assert_int_equal(f.n_events, 0);
}

static void test_adopt(void **state)
{
	struct weft_runtime_stats stats;

	(void)state;
	expect(start("test.adopt", "serve", 0), 0);
	OPS->free_(f.rt);
	f.rt = new_runtime();
	assert_int_equal(OPS->stats(f.rt, "test.adopt", &stats), -ENOENT);
	expect(adopt("test.adopt"), 0);
	expect(adopt("test.not.there"), -ENOENT);
	assert_int_equal(OPS->stats(f.rt, "test.adopt", &stats), 0);
	kill((pid_t)stats.pid, SIGKILL);
	expect_event("test.adopt", WEFT_RUNTIME_FAILED);
	expect(adopt("test.adopt"), -ENOENT);
	delete_("test.adopt");
	assert_int_equal(f.n_events, 1);
}

/* Running instances go on while containerd is away; what ends meanwhile is told afterwards. */
static void test_containerd_restarts(void **state)
{
	struct weft_runtime_stats a, b;

	(void)state;
	expect(start("test.restart.1", "serve", 0), 0);
	expect(start("test.restart.2", "serve", 0), 0);
	assert_int_equal(OPS->stats(f.rt, "test.restart.1", &a), 0);
	assert_int_equal(OPS->stats(f.rt, "test.restart.2", &b), 0);

	test_ctrd_kill(&f.ctrd);
	for (unsigned i = 0; i < 5; i++)
		turn(50000);
	expect(adopt("test.restart.1"), -ECONNREFUSED);
	print_message("# %s (%s)\n", f.err.msg, f.err.hint);
	assert_int_equal(OPS->stats(f.rt, "test.restart.1", &a), 0);
	kill((pid_t)b.pid, SIGKILL);
	assert_int_equal(f.n_events, 0);

	assert_int_equal(test_ctrd_start(&f.ctrd), 0);
	expect_event("test.restart.2", WEFT_RUNTIME_FAILED);
	assert_int_equal(f.n_events, 1);
	expect(adopt("test.restart.1"), 0);
	wait_log("test.restart.1", "on stderr");
	kill((pid_t)a.pid, SIGTERM);
	expect_event("test.restart.1", WEFT_RUNTIME_EXITED);
	assert_int_equal(f.n_events, 2);
	delete_("test.restart.1");
	delete_("test.restart.2");
}

/* A start that containerd does not survive fails, and is cleaned up when containerd is back. */
static void test_start_while_away(void **state)
{
	uint64_t end = weft_now_ns() + WAIT_NS;

	(void)state;
	assert_int_equal(start("test.away", "serve", 0), 0);
	while (test_ctrd_lines(&f.ctrd, "snapshots info test.away") < 1 && weft_now_ns() < end)
		turn(0); /* one event at a time: its answer may not have been read yet */
	test_ctrd_kill(&f.ctrd);
	expect(0, -ECONNREFUSED);
	assert_int_equal(test_ctrd_start(&f.ctrd), 0);
	while (test_ctrd_lines(&f.ctrd, "snapshots ls") != 2 && weft_now_ns() < end)
		turn(100000);
	assert_clean();
}

static void test_free_with_work_under_way(void **state)
{
	struct weft_runtime *rt = new_runtime();

	(void)state;
	assert_int_equal(OPS->prepare(rt, f.image, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	assert_int_equal(OPS->probe(rt, on_probed, NULL), 0);
	assert_int_equal(OPS->delete_(rt, "test.none", on_done, NULL, &f.err), 0);
	turn(0);
	turn(0);
	OPS->free_(rt);
	turn(1000);
	assert_false(f.answered);
}

static void test_netns(void **state)
{
	struct weft_runtime_spec spec = {
		.id = "test.netns", .image = f.ref, .arch = weft_arch_host()};
	struct weft_runtime_stats stats;
	char ours[64], path[64], want[64], has[64];
	int ready[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], ours, 1), 1);
	close(ready[0]);
	snprintf(ours, sizeof(ours), "/proc/%d/ns/net", pid);
	spec.net.netns = ours;
	expect(OPS->start(f.rt, &spec, on_done, NULL, &f.err), 0);
	assert_int_equal(OPS->stats(f.rt, "test.netns", &stats), 0);
	snprintf(path, sizeof(path), "/proc/%u/ns/net", stats.pid);
	memset(want, 0, sizeof(want));
	memset(has, 0, sizeof(has));
	assert_true(readlink(ours, want, sizeof(want) - 1) > 0);
	assert_true(readlink(path, has, sizeof(has) - 1) > 0);
	assert_string_equal(has, want);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	delete_("test.netns");
}

static void count_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	(void)err;
	(void)size;
	assert_int_equal(r, 0);
	assert_true(strncmp(ref, "weft.local/image@sha256:", 24) == 0);
	(*(unsigned *)userdata)++;
}

static void test_imports_at_once(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/two.tar", f.ctrd.dir), *rm = NULL;
	uint64_t end = weft_now_ns() + WAIT_NS;
	unsigned n = 0;

	(void)state;
	test_image_write(path, &(struct test_image){.layers = 2});
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			OPS->prepare(f.rt, path, weft_arch_host(), count_prepared, &n, &f.err), 0);
	while (n < 3 && weft_now_ns() < end)
		turn(100000);
	assert_int_equal(n, 3);
	expect(OPS->prepare(f.rt, path, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	rm = weft_strf("images rm --sync %s", f.prepared);
	free(test_ctrd_run(&f.ctrd, rm));
}

/* --- nginx ---------------------------------------------------------------------------------------
 */

/* In the instance's network namespace; 0 when the page comes whole. */
static int fetch(uint32_t pid)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(80)};
	static const char request[] = "GET / HTTP/1.0\r\n\r\n";
	char path[64], buf[4096];
	ssize_t n, have = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return 1;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return 2;
	if (write(fd, request, strlen(request)) < 0)
		return 3;
	while ((n = read(fd, buf + have, sizeof(buf) - 1 - (size_t)have)) > 0)
		have += n;
	buf[have] = '\0';
	return strstr(buf, " 200 OK\r\n") && strstr(buf, "hello from a container") &&
			       strstr(buf, "Content-Length: 612\r\n")
		       ? 0
		       : 4;
}

static void test_nginx(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/nginx.tar", f.ctrd.dir);
	_cleanup_(freep) char *cmd = weft_strf("scripts/mkimage-nginx.sh %s", path);
	_cleanup_(freep) char *rm = NULL;
	struct weft_runtime_spec spec = {.id = "test.nginx", .arch = weft_arch_host(), .vcpus = 1};
	uint64_t end = weft_now_ns() + WAIT_NS, begin;
	struct weft_runtime_stats stats;
	int status = -1;

	(void)state;
	if (access("scripts/mkimage-nginx.sh", X_OK) < 0 || access("/usr/sbin/nginx", X_OK) < 0) {
		print_message("# nginx is not here\n");
		return;
	}
	assert_int_equal(system(cmd), 0);
	begin = weft_now_ns();
	expect(OPS->prepare(f.rt, path, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	print_message("# import of %.1f MB %.0f ms\n", (double)f.size / 1e6,
		(double)(weft_now_ns() - begin) / 1e6);
	spec.image = f.prepared;
	begin = weft_now_ns();
	expect(OPS->start(f.rt, &spec, on_done, NULL, &f.err), 0);
	print_message("# start %.0f ms\n", (double)(weft_now_ns() - begin) / 1e6);
	assert_int_equal(OPS->stats(f.rt, "test.nginx", &stats), 0);
	while (status != 0 && weft_now_ns() < end) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(fetch(stats.pid));
		waitpid(pid, &status, 0);
		turn(1000);
	}
	assert_int_equal(status, 0);
	begin = weft_now_ns();
	expect(stop("test.nginx", 5000), 0);
	print_message("# stop %.0f ms\n", (double)(weft_now_ns() - begin) / 1e6);
	delete_("test.nginx");
	assert_int_equal(f.n_events, 0);
	rm = weft_strf("images rm --sync %s", f.prepared);
	free(test_ctrd_run(&f.ctrd, rm));
}

/* Where overlayfs does not work. Last, as containerd forgets its other snapshotter. */
static void test_native_snapshotter(void **state)
{
	(void)state;
	f.n_events = 0;
	test_ctrd_kill(&f.ctrd);
	f.ctrd.native = true;
	assert_int_equal(test_ctrd_start(&f.ctrd), 0);
	expect(OPS->prepare(f.rt, f.image, weft_arch_host(), on_prepared, NULL, &f.err), 0);
	snprintf(f.ref, sizeof(f.ref), "%s", f.prepared);
	expect(start("test.native", "serve", 0), 0);
	assert_int_equal(test_ctrd_lines(&f.ctrd, "snapshots --snapshotter native ls"), 3);
	wait_log("test.native", "serve uid=1234 gid=5678");
	expect(stop("test.native", 5000), 0);
	delete_("test.native");
	assert_int_equal(test_ctrd_lines(&f.ctrd, "snapshots --snapshotter native ls"), 2);
}

/* NULL, or why runsc cannot run. */
static const char *runsc_missing(void)
{
	_cleanup_(freep) char *cmd = weft_strf("%s/weft-runsc --version >/dev/null", f.libexec);

	return cmd && system(cmd) == 0 ? NULL : "runsc does not work here";
}

/* Beside us in the build directory: B/tests/unit/test_containerd, B/libexec. */
static int find_libexec(void)
{
	char self[PATH_MAX - 32] = "", *slash;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return -errno;
	slash = strrchr(self, '/');
	snprintf(f.libexec, sizeof(f.libexec), "%.*s/../../libexec", (int)(slash - self), self);
	return 0;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, imported, nothing_left)
#define GVISOR(name)                                                             \
	{                                                                        \
#name " (gvisor)", name, imported_for_gvisor, nothing_left, NULL \
	}
	const struct CMUnitTest with_runc[] = {
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_import),
		T(test_import_survives_collection),
		T(test_import_layers),
		T(test_bad_images),
		T(test_run),
		T(test_image_arguments),
		T(test_kill_after_grace),
		T(test_events),
		T(test_out_of_memory),
		T(test_failed_start),
		T(test_adopt),
		T(test_containerd_restarts),
		T(test_start_while_away),
		T(test_free_with_work_under_way),
		T(test_netns),
		T(test_imports_at_once),
		T(test_nginx),
		cmocka_unit_test(test_native_snapshotter),
	};
	const struct CMUnitTest with_runsc[] = {
		GVISOR(test_run),
		GVISOR(test_image_arguments),
		GVISOR(test_kill_after_grace),
		GVISOR(test_events),
		GVISOR(test_out_of_memory),
		GVISOR(test_failed_start),
		GVISOR(test_adopt),
		GVISOR(test_containerd_restarts),
		GVISOR(test_start_while_away),
	};
	const char *missing = test_ctrd_missing();
	int failed;

	if (!missing && find_libexec() < 0)
		missing = "our own path is not known";
	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	failed = cmocka_run_group_tests(with_runc, setup, teardown);
	missing = runsc_missing();
	if (missing)
		printf("1..1\nok 1 - gVisor # SKIP %s\n", missing);
	else
		failed += cmocka_run_group_tests(with_runsc, setup, teardown);
	return failed;
}
