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
#include "tests/lib/ctrd_lab.h"
#include "tests/lib/image.h"

/* --- fixture -------------------------------------------------------------------------------------
 */

static int setup(void **state)
{
	(void)state;
	return clab_setup("containerd", 0);
}

static int teardown(void **state)
{
	(void)state;
	return clab_teardown();
}

/* Each test begins with the image imported. */
static int imported(void **state)
{
	(void)state;
	clab.n_events = 0;
	clab.virt = WEFT_VIRT_CONTAINER;
	clab_import();
	return 0;
}

static int imported_for_gvisor(void **state)
{
	int r = imported(state);

	clab.virt = WEFT_VIRT_GVISOR;
	return r;
}

static int nothing_left(void **state)
{
	(void)state;
	clab_assert_clean(1);
	return 0;
}

static int start(const char *id, const char *args, uint32_t memory_mb)
{
	struct weft_runtime_spec *spec = clab_spec(id, args);

	spec->memory_mb = memory_mb;
	return clab_begin(spec);
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void test_probe(void **state)
{
	const struct weft_runtime_config config = {
		.event = clab.loop,
		.state_dir = clab.ctrd.dir,
		.containerd = "/tmp/weft-test-nobody-here.sock",
	};
	struct weft_runtime *rt = NULL;
	struct weft_err err = {};

	(void)state;
	clab.result = 0;
	clab_expect(CLAB_OPS->probe(clab.rt, clab_on_probed, NULL), 0);
	print_message("# %s\n", clab.caps[0].version);
	assert_true(clab.caps[0].usable);
	assert_int_equal(clab.caps[0].virt, WEFT_VIRT_CONTAINER);
	assert_non_null(strstr(clab.caps[0].version, "containerd 1."));
	assert_non_null(strstr(clab.caps[0].version, "runc 1."));
	print_message("# %s%s\n", clab.caps[1].version, clab.caps[1].detail);
	assert_int_equal(clab.caps[1].virt, WEFT_VIRT_GVISOR);
	assert_true(clab.caps[1].usable ? strstr(clab.caps[1].version, "runsc ") != NULL
					: clab.caps[1].detail[0] != '\0');

	assert_int_equal(CLAB_OPS->new_(&config, &rt, &err), 0);
	clab_expect(CLAB_OPS->probe(rt, clab_on_probed, NULL), 0);
	CLAB_OPS->free_(rt);
	assert_false(clab.caps[0].usable || clab.caps[1].usable);
	assert_non_null(strstr(clab.caps[0].detail, config.containerd));
	assert_non_null(strstr(clab.caps[0].detail, "No such file"));
}

static void test_import(void **state)
{
	_cleanup_(freep) char *images = NULL, *url = weft_strf("file://%s", clab.image);
	uint64_t first, second;

	(void)state;
	first = weft_now_ns();
	clab_expect(CLAB_OPS->prepare(clab.rt, clab.image, weft_arch_host(), clab_on_prepared, NULL,
			    &clab.err),
		0);
	first = weft_now_ns() - first;
	assert_true(clab.size > 10000);
	snprintf(clab.ref, sizeof(clab.ref), "%s", clab.prepared);

	second = weft_now_ns();
	clab_expect(CLAB_OPS->prepare(
			    clab.rt, url, weft_arch_host(), clab_on_prepared, NULL, &clab.err),
		0);
	second = weft_now_ns() - second;
	assert_string_equal(clab.prepared, clab.ref);
	print_message(
		"# import %.1f ms, again %.1f ms\n", (double)first / 1e6, (double)second / 1e6);

	images = test_ctrd_run(&clab.ctrd, "images check");
	assert_non_null(images);
	print_message("# %s\n", strchr(images, '\n') + 1);
	assert_non_null(strstr(images, clab.ref));
	assert_non_null(strstr(images, "complete (2/2)"));
	assert_non_null(strstr(images, "true")); /* unpacked */
	clab_assert_clean(1);
}

/* The garbage collector runs when leases go and must not take what an image needs. */
static void test_import_survives_collection(void **state)
{
	_cleanup_(freep) char *images = NULL;

	(void)state;
	assert_true(test_ctrd_lines(&clab.ctrd, "leases create --id weft-test-gc") >= 0);
	assert_true(test_ctrd_lines(&clab.ctrd, "leases rm --sync weft-test-gc") >= 0);
	images = test_ctrd_run(&clab.ctrd, "images check");
	assert_non_null(images);
	assert_non_null(strstr(images, "complete (2/2)"));
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots ls"), 2);
}

static void test_import_layers(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/layers.tar.gz", clab.ctrd.dir);
	_cleanup_(freep) char *rm = NULL, *check = NULL;

	(void)state;
	test_image_write(path, &(struct test_image){.layers = 5,
				       .compress = true,
				       .nested = true,
				       .other_first = true,
				       .blobs_first = true});
	clab_expect(CLAB_OPS->prepare(
			    clab.rt, path, weft_arch_host(), clab_on_prepared, NULL, &clab.err),
		0);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots ls"), 2 + 5);
	check = test_ctrd_run(&clab.ctrd, "images check");
	assert_non_null(check);
	assert_non_null(strstr(check, "complete (6/6)"));
	rm = weft_strf("images rm --sync %s", clab.prepared);
	free(test_ctrd_run(&clab.ctrd, rm));
	clab_assert_clean(1);
}

static void bad_image(const char *path, int code, const char *says)
{
	clab_expect(CLAB_OPS->prepare(
			    clab.rt, path, weft_arch_host(), clab_on_prepared, NULL, &clab.err),
		code);
	print_message("# %s (%s)\n", clab.err.msg, clab.err.hint);
	assert_non_null(strstr(clab.err.msg, path));
	assert_non_null(strstr(clab.err.msg, says));
	assert_true(clab.err.hint[0]);
	assert_string_equal(clab.prepared, "");
}

static void test_bad_images(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/bad.tar", clab.ctrd.dir);
	struct stat st;

	(void)state;
	bad_image("/nonexistent/image.tar", -ENOENT, "No such file");
	assert_int_equal(CLAB_OPS->prepare(clab.rt, "docker://x/y", weft_arch_host(),
				 clab_on_prepared, NULL, &clab.err),
		-EINVAL);
	assert_int_equal(CLAB_OPS->prepare(clab.rt, "image.tar", weft_arch_host(), clab_on_prepared,
				 NULL, &clab.err),
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
	clab_assert_clean(1);
}

static void test_run(void **state)
{
	struct weft_runtime_stats stats;
	char path[64];

	(void)state;
	clab_expect(start("test.run.1", "serve", 96), 0);
	assert_int_equal(start("test.run.1", "serve", 64), -EEXIST);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.run.1", &stats), 0);
	print_message("# cpu %.1f ms, memory %.1f MiB\n", (double)stats.cpu_ns / 1e6,
		(double)stats.memory_bytes / 1048576);
	assert_true(stats.pid > 0 && stats.memory_bytes > 0);
	snprintf(path, sizeof(path), "/proc/%u", stats.pid);
	assert_int_equal(access(path, F_OK), 0);
	clab_wait_log("test.run.1", "on stderr");

	clab_expect(clab_stop("test.run.1", 5000), 0);
	assert_true(access(path, F_OK) < 0);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.run.1", &stats), -ENOENT);
	clab_assert_log("test.run.1", "serve uid=1234 gid=5678 cwd=/tmp host=test.run.1 "
				      "KEY=value with spaces pid=1\n");
	clab_assert_log("test.run.1", "on stderr\n");
	clab_assert_log("test.run.1", "bye 15\n");
	clab_expect(clab_stop("test.run.1", 5000), 0); /* gone already */
	clab_delete("test.run.1");
	clab_delete("test.run.1");
	clab_delete("never.heard.of");
	clab_expect(clab_stop("never.heard.of", 10), 0);
	assert_int_equal(clab.n_events, 0);
}

static void test_image_arguments(void **state)
{
	(void)state;
	clab_expect(start("test.own", NULL, 0), 0);
	clab_wait_log("test.own", "serve uid=1234");
	clab_expect(clab_stop("test.own", 5000), 0);
	clab_delete("test.own");
}

static void test_kill_after_grace(void **state)
{
	uint64_t begin;

	(void)state;
	clab_expect(start("test.stubborn", "stubborn", 0), 0);
	clab_wait_log("test.stubborn", "on stderr");
	begin = weft_now_ns();
	clab_expect(clab_stop("test.stubborn", 300), 0);
	assert_true(weft_now_ns() - begin >= 300000000ULL);
	clab_delete("test.stubborn");
	/* delete without stop */
	clab_expect(start("test.stubborn", "stubborn", 0), 0);
	clab_delete("test.stubborn");
	assert_int_equal(clab.n_events, 0);
}

static void test_events(void **state)
{
	(void)state;
	clab_expect(start("test.exit.0", "exit 0", 0), 0);
	clab_expect_event("test.exit.0", WEFT_RUNTIME_EXITED);
	clab_expect(start("test.exit.7", "exit 7", 0), 0);
	clab_expect_event("test.exit.7", WEFT_RUNTIME_FAILED);
	assert_string_equal(clab.events[clab.n_events - 1].detail, "exit status 7");
	clab_delete("test.exit.0");
	clab_delete("test.exit.7");
	assert_int_equal(clab.n_events, 2);
}

static void test_out_of_memory(void **state)
{
	(void)state;
	clab_expect(start("test.hog", "hog", 24), 0);
	clab_expect_event("test.hog", WEFT_RUNTIME_FAILED);
	assert_int_equal(clab.events[0].event, WEFT_RUNTIME_OOM);
	assert_non_null(strstr(clab.events[clab.n_events - 1].detail, "SIGKILL"));
	clab_delete("test.hog");
}

static void test_failed_start(void **state)
{
	const char *args[] = {"/no/such/program", NULL};
	struct weft_runtime_spec spec = {
		.id = "test.bad",
		.image = clab.ref,
		.args = args,
		.virt = clab.virt,
		.arch = weft_arch_host(),
	};

	(void)state;
	clab_expect(CLAB_OPS->start(clab.rt, &spec, clab_on_done, NULL, &clab.err), -EIO);
	print_message("# %s\n", clab.err.msg);
	assert_non_null(strstr(clab.err.msg, "test.bad"));
	assert_non_null(strstr(clab.err.msg, "/no/such/program"));
	clab_assert_clean(1);
	spec.args = NULL;
	spec.net.netns = "/no/such/netns";
	clab_expect(CLAB_OPS->start(clab.rt, &spec, clab_on_done, NULL, &clab.err), -EIO);
	clab_assert_clean(1);
	spec.net.netns = NULL;
	spec.image = "weft.local/image@sha256:0";
	clab_expect(CLAB_OPS->start(clab.rt, &spec, clab_on_done, NULL, &clab.err), -ENOENT);
	assert_int_equal(clab.n_events, 0);
}

static void test_adopt(void **state)
{
	struct weft_runtime_stats stats;

	(void)state;
	clab_expect(start("test.adopt", "serve", 0), 0);
	CLAB_OPS->free_(clab.rt);
	clab.rt = clab_runtime();
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.adopt", &stats), -ENOENT);
	clab_expect(clab_adopt("test.adopt"), 0);
	clab_expect(clab_adopt("test.not.there"), -ENOENT);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.adopt", &stats), 0);
	kill((pid_t)stats.pid, SIGKILL);
	clab_expect_event("test.adopt", WEFT_RUNTIME_FAILED);
	clab_expect(clab_adopt("test.adopt"), -ENOENT);
	clab_delete("test.adopt");
	assert_int_equal(clab.n_events, 1);
}

/* Running instances go on while containerd is away; what ends meanwhile is told afterwards. */
static void test_containerd_restarts(void **state)
{
	struct weft_runtime_stats a, b;

	(void)state;
	clab_expect(start("test.restart.1", "serve", 0), 0);
	clab_expect(start("test.restart.2", "serve", 0), 0);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.restart.1", &a), 0);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.restart.2", &b), 0);

	test_ctrd_kill(&clab.ctrd);
	for (unsigned i = 0; i < 5; i++)
		clab_turn(50000);
	clab_expect(clab_adopt("test.restart.1"), -ECONNREFUSED);
	print_message("# %s (%s)\n", clab.err.msg, clab.err.hint);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.restart.1", &a), 0);
	kill((pid_t)b.pid, SIGKILL);
	assert_int_equal(clab.n_events, 0);

	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	clab_expect_event("test.restart.2", WEFT_RUNTIME_FAILED);
	assert_int_equal(clab.n_events, 1);
	clab_expect(clab_adopt("test.restart.1"), 0);
	clab_wait_log("test.restart.1", "on stderr");
	kill((pid_t)a.pid, SIGTERM);
	clab_expect_event("test.restart.1", WEFT_RUNTIME_EXITED);
	assert_int_equal(clab.n_events, 2);
	clab_delete("test.restart.1");
	clab_delete("test.restart.2");
}

/* A start that containerd does not survive fails, and is cleaned up when containerd is back. */
static void test_start_while_away(void **state)
{
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;

	(void)state;
	assert_int_equal(start("test.away", "serve", 0), 0);
	while (test_ctrd_lines(&clab.ctrd, "snapshots info test.away") < 1 && weft_now_ns() < end)
		clab_turn(0); /* one event at a time: its answer may not have been read yet */
	test_ctrd_kill(&clab.ctrd);
	clab_expect(0, -ECONNREFUSED);
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	while (test_ctrd_lines(&clab.ctrd, "snapshots ls") != 2 && weft_now_ns() < end)
		clab_turn(100000);
	clab_assert_clean(1);
}

static void test_free_with_work_under_way(void **state)
{
	struct weft_runtime *rt = clab_runtime();

	(void)state;
	assert_int_equal(CLAB_OPS->prepare(rt, clab.image, weft_arch_host(), clab_on_prepared, NULL,
				 &clab.err),
		0);
	assert_int_equal(CLAB_OPS->probe(rt, clab_on_probed, NULL), 0);
	assert_int_equal(CLAB_OPS->delete_(rt, "test.none", clab_on_done, NULL, &clab.err), 0);
	clab_turn(0);
	clab_turn(0);
	CLAB_OPS->free_(rt);
	clab_turn(1000);
	assert_false(clab.answered);
}

static void test_netns(void **state)
{
	struct weft_runtime_spec spec = {
		.id = "test.netns", .image = clab.ref, .arch = weft_arch_host()};
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
	clab_expect(CLAB_OPS->start(clab.rt, &spec, clab_on_done, NULL, &clab.err), 0);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.netns", &stats), 0);
	snprintf(path, sizeof(path), "/proc/%u/ns/net", stats.pid);
	memset(want, 0, sizeof(want));
	memset(has, 0, sizeof(has));
	assert_true(readlink(ours, want, sizeof(want) - 1) > 0);
	assert_true(readlink(path, has, sizeof(has) - 1) > 0);
	assert_string_equal(has, want);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	clab_delete("test.netns");
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
	_cleanup_(freep) char *path = weft_strf("%s/two.tar", clab.ctrd.dir), *rm = NULL;
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;
	unsigned n = 0;

	(void)state;
	test_image_write(path, &(struct test_image){.layers = 2});
	for (int i = 0; i < 3; i++)
		assert_int_equal(CLAB_OPS->prepare(clab.rt, path, weft_arch_host(), count_prepared,
					 &n, &clab.err),
			0);
	while (n < 3 && weft_now_ns() < end)
		clab_turn(100000);
	assert_int_equal(n, 3);
	clab_expect(CLAB_OPS->prepare(
			    clab.rt, path, weft_arch_host(), clab_on_prepared, NULL, &clab.err),
		0);
	rm = weft_strf("images rm --sync %s", clab.prepared);
	free(test_ctrd_run(&clab.ctrd, rm));
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
	_cleanup_(freep) char *path = weft_strf("%s/nginx.tar", clab.ctrd.dir);
	_cleanup_(freep) char *cmd = weft_strf("scripts/mkimage-nginx.sh %s", path);
	_cleanup_(freep) char *rm = NULL;
	struct weft_runtime_spec spec = {.id = "test.nginx", .arch = weft_arch_host(), .vcpus = 1};
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS, begin;
	struct weft_runtime_stats stats;
	int status = -1;

	(void)state;
	if (access("scripts/mkimage-nginx.sh", X_OK) < 0 || access("/usr/sbin/nginx", X_OK) < 0) {
		print_message("# nginx is not here\n");
		return;
	}
	assert_int_equal(system(cmd), 0);
	begin = weft_now_ns();
	clab_expect(CLAB_OPS->prepare(
			    clab.rt, path, weft_arch_host(), clab_on_prepared, NULL, &clab.err),
		0);
	print_message("# import of %.1f MB %.0f ms\n", (double)clab.size / 1e6,
		(double)(weft_now_ns() - begin) / 1e6);
	spec.image = clab.prepared;
	begin = weft_now_ns();
	clab_expect(CLAB_OPS->start(clab.rt, &spec, clab_on_done, NULL, &clab.err), 0);
	print_message("# start %.0f ms\n", (double)(weft_now_ns() - begin) / 1e6);
	assert_int_equal(CLAB_OPS->stats(clab.rt, "test.nginx", &stats), 0);
	while (status != 0 && weft_now_ns() < end) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(fetch(stats.pid));
		waitpid(pid, &status, 0);
		clab_turn(1000);
	}
	assert_int_equal(status, 0);
	begin = weft_now_ns();
	clab_expect(clab_stop("test.nginx", 5000), 0);
	print_message("# stop %.0f ms\n", (double)(weft_now_ns() - begin) / 1e6);
	clab_delete("test.nginx");
	assert_int_equal(clab.n_events, 0);
	rm = weft_strf("images rm --sync %s", clab.prepared);
	free(test_ctrd_run(&clab.ctrd, rm));
}

/* Where overlayfs does not work. Last, as containerd forgets its other snapshotter. */
static void test_native_snapshotter(void **state)
{
	(void)state;
	clab.n_events = 0;
	test_ctrd_kill(&clab.ctrd);
	clab.ctrd.native = true;
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	clab_expect(CLAB_OPS->prepare(clab.rt, clab.image, weft_arch_host(), clab_on_prepared, NULL,
			    &clab.err),
		0);
	snprintf(clab.ref, sizeof(clab.ref), "%s", clab.prepared);
	clab_expect(start("test.native", "serve", 0), 0);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots --snapshotter native ls"), 3);
	clab_wait_log("test.native", "serve uid=1234 gid=5678");
	clab_expect(clab_stop("test.native", 5000), 0);
	clab_delete("test.native");
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots --snapshotter native ls"), 2);
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
	const char *missing = clab_missing();
	int failed;

	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	failed = cmocka_run_group_tests(with_runc, setup, teardown);
	missing = clab_runsc_missing();
	if (missing)
		printf("1..1\nok 1 - gVisor # SKIP %s\n", missing);
	else
		failed += cmocka_run_group_tests(with_runsc, setup, teardown);
	return failed;
}
