/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever dies at whatever call: connection, daemon, containerd, shim, init, log writer.
 * Afterwards an instance is there once or not at all, and nothing else is left of it. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"
#include "tests/lib/ctrd_lab.h"
#include "tests/lib/ctrd_proxy.h"
#include "tests/lib/image.h"
#include "tests/lib/registry.h"

#define MOST_CALLS 80
#define ID         "test.fault"

static struct ctrd_proxy proxy;
static struct test_registry reg;
static char proxy_socket[96], settings[96];
static bool listed; /* is clab.prepared among the images? */

/* --- set-up --------------------------------------------------------------------------------------
 */

static void renew(const char *socket)
{
	CLAB_OPS->free_(clab.rt);
	clab.socket = socket;
	clab.rt = clab_runtime();
	clab.answered = false;
}

static int setup(void **state)
{
	_cleanup_(freep) char *dir = NULL, *tag = NULL, *text = NULL;

	(void)state;
	if (clab_setup("ctrfaults", 0) < 0)
		return -1;
	snprintf(proxy_socket, sizeof(proxy_socket), "%s/proxy.sock", clab.ctrd.dir);
	ctrd_proxy_start(&proxy, proxy_socket, clab.ctrd.socket);
	dir = weft_strf("%s/registry", clab.ctrd.dir);
	tag = weft_strf("%s/1.0", dir);
	if (weft_mkdir_p(tag, 0755) < 0)
		return -1;
	test_image_write_dir(tag, &(struct test_image){.layers = 3, .filler = 100000});
	test_registry_start(&reg, dir, NULL);
	snprintf(settings, sizeof(settings), "%s/registries.json", clab.ctrd.dir);
	text = weft_strf("{\"registries\": {\"localhost:%u\": {\"insecure\": true}}}", reg.port);
	if (weft_write_file(settings, text, strlen(text), 0600) < 0)
		return -1;
	clab.registries = settings;
	clab.virt = WEFT_VIRT_CONTAINER;
	renew(NULL);
	clab_import();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ctrd_proxy_stop(&proxy);
	test_registry_stop(&reg);
	return clab_teardown();
}

static int begin(void **state)
{
	(void)state;
	clab.n_events = 0;
	ctrd_proxy_set(&proxy, PROXY_PASS, 0, 0);
	return 0;
}

static int nothing_left(void **state)
{
	(void)state;
	renew(NULL);
	clab_assert_clean(1);
	return 0;
}

static bool is_clean(void)
{
	return test_ctrd_lines(&clab.ctrd, "containers ls -q") == 0 &&
	       test_ctrd_lines(&clab.ctrd, "snapshots ls") == 2;
}

/* Had it come to that call? From now on nothing happens any more. */
static unsigned disarm(void)
{
	unsigned acted = proxy.c->acted;

	ctrd_proxy_set(&proxy, PROXY_PASS, 0, 0);
	return acted;
}

/* --- calls ---------------------------------------------------------------------------------------
 */

/* The answer of the call just made, whatever it is. */
static int answer(int r)
{
	uint64_t end = weft_now_ns() + 2 * CLAB_WAIT_NS;

	if (r < 0)
		return r;
	while (!clab.answered && weft_now_ns() < end)
		clab_turn(100000);
	assert_true(clab.answered);
	clab.answered = false;
	return clab.result;
}

/* Until containerd is reached again. */
static void delete_(void)
{
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;
	int r;

	do {
		r = answer(CLAB_OPS->delete_(clab.rt, ID, clab_on_done, NULL, &clab.err));
		if (r < 0)
			clab_turn(50000);
	} while (r < 0 && weft_now_ns() < end);
	if (r < 0)
		fail_msg("%s", clab.err.msg);
}

static int start(void)
{
	return answer(
		CLAB_OPS->start(clab.rt, clab_spec(ID, "serve"), clab_on_done, NULL, &clab.err));
}

static int adopt(void)
{
	uint64_t end = weft_now_ns() + CLAB_WAIT_NS;
	int r;

	do
		r = answer(clab_adopt(ID));
	while (r < 0 && r != -ENOENT && weft_now_ns() < end);
	return r;
}

static int stop(void)
{
	return answer(clab_stop(ID, 5000));
}

static int pause_it(void)
{
	return answer(CLAB_OPS->pause(clab.rt, ID, clab_on_done, NULL, &clab.err));
}

static void on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	(void)status, (void)output, (void)size;
	clab_on_done(userdata, r, err);
}

static int exec_it(void)
{
	static const char *const argv[] = {"/init", "groups", NULL};

	return answer(CLAB_OPS->exec(clab.rt, ID, argv, 20000, on_executed, NULL, &clab.err));
}

/* --- the connection breaks -----------------------------------------------------------------------
 */

/* For each call there is, before and after it: what was begun fails and undoes itself, or works. */
static void test_cut_start(void **state)
{
	unsigned failed = 0, worked = 0, n = 1;

	(void)state;
	for (unsigned acted = 1; acted && n < MOST_CALLS; n++) {
		for (int after = 0; after < 2; after++) {
			renew(proxy_socket);
			ctrd_proxy_set(&proxy, after ? PROXY_CUT_AFTER : PROXY_CUT_BEFORE, n, 0);
			if (start() == 0) {
				worked++;
				acted = disarm();
				delete_();
			} else {
				failed++;
				assert_int_equal(clab.result, -ECONNREFUSED);
				clab_wait_for(is_clean());
			}
		}
	}
	print_message("# %u calls: failed %u, worked %u\n", n - 2, failed, worked);
	assert_true(n < MOST_CALLS && failed >= 8);
}

static void cut_during(const char *what, int (*op)(void))
{
	unsigned failed = 0, n = 1;

	for (unsigned acted = 1; acted && n < MOST_CALLS; n++) {
		for (int after = 0; after < 2; after++) {
			renew(proxy_socket);
			ctrd_proxy_set(&proxy, PROXY_PASS, 0, 0);
			assert_int_equal(start(), 0);
			ctrd_proxy_set(&proxy, after ? PROXY_CUT_AFTER : PROXY_CUT_BEFORE, n, 0);
			failed += op() < 0;
			acted = disarm();
			delete_();
		}
	}
	print_message("# %s: %u calls, failed %u\n", what, n - 2, failed);
	assert_true(n < MOST_CALLS && failed > 0);
}

static void test_cut_others(void **state)
{
	(void)state;
	cut_during("stop", stop);
	cut_during("pause", pause_it);
	cut_during("exec", exec_it);
	clab_wait_for(is_clean());
}

/* --- the daemon is killed ------------------------------------------------------------------------
 */

enum task { START, STOP, DELETE, PREPARE, REMOVE };

static void child_answer(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	(void)userdata, (void)err, (void)ref, (void)size;
	_exit(r < 0 ? 1 : 0);
}

static void child_done(void *userdata, int r, const struct weft_err *err)
{
	child_answer(userdata, r, err, NULL, 0);
}

/* A daemon that does one thing, and is over. */
static void __attribute__((noreturn)) daemon_main(enum task task, const char *image)
{
	struct weft_err err = {};
	int r = -EINVAL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(60);
	if (sd_event_new(&clab.loop) < 0)
		_exit(2);
	clab.socket = proxy_socket;
	clab.rt = clab_runtime();
	switch (task) {
	case START:
		r = CLAB_OPS->start(clab.rt, clab_spec(ID, "serve"), child_done, NULL, &err);
		break;
	case STOP:
		r = CLAB_OPS->stop(clab.rt, ID, 5000, child_done, NULL, &err);
		break;
	case DELETE:
		r = CLAB_OPS->delete_(clab.rt, ID, child_done, NULL, &err);
		break;
	case PREPARE:
		r = CLAB_OPS->prepare(clab.rt, image, weft_arch_host(), child_answer, NULL, &err);
		break;
	case REMOVE:
		r = CLAB_OPS->image_remove(clab.rt, image, child_done, NULL, &err);
		break;
	}
	while (r >= 0)
		r = sd_event_run(clab.loop, UINT64_MAX);
	_exit(3);
}

/* False when there are not so many calls. At one whose answer never comes it is killed after none,
 * and that is no harm. */
static bool run_daemon(enum task task, const char *image, unsigned n, bool after)
{
	pid_t pid;
	int status;

	ctrd_proxy_set(&proxy, PROXY_PASS, 0, 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		raise(SIGSTOP); /* until the proxy knows whom to kill */
		daemon_main(task, image);
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	ctrd_proxy_set(&proxy, after ? PROXY_KILL_AFTER : PROXY_KILL_BEFORE, n, pid);
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		assert_int_equal(WEXITSTATUS(status), 0);
	return disarm() > 0;
}

/* The next daemon takes over what is there, or finds nothing and cleans up; there is never a second
 * one. */
static void take_over(enum task task, unsigned *adopted)
{
	renew(NULL);
	if (adopt() == 0) {
		(*adopted)++;
		if (task == START) { /* else it may be about to end */
			assert_int_equal(test_ctrd_lines(&clab.ctrd, "tasks ls -q"), 1);
			assert_true(clab_stats(ID).pid > 0);
		}
		assert_int_equal(stop(), 0);
	}
	delete_();
}

static void kill_during(const char *what, enum task task)
{
	unsigned adopted = 0, n = 1;

	for (bool killed = true; killed && n < MOST_CALLS; n++) {
		for (int after = 0; after < 2; after++) {
			renew(NULL);
			if (task != START)
				assert_int_equal(start(), 0);
			killed = run_daemon(task, NULL, n, after);
			take_over(task, &adopted);
			/* and the name is free again */
			assert_int_equal(start(), 0);
			delete_();
		}
	}
	print_message("# %s: %u calls, adopted %u times\n", what, n - 2, adopted);
	assert_true(n > 3 && n < MOST_CALLS);
}

static void test_daemon_killed(void **state)
{
	(void)state;
	kill_during("start", START);
	kill_during("stop", STOP);
	kill_during("delete", DELETE);
}

static void remove_image(const char *ref)
{
	_cleanup_(freep) char *rm = weft_strf("images rm --sync %s", ref);

	free(test_ctrd_run(&clab.ctrd, rm));
}

static void prepare_again(const char *image, unsigned blobs)
{
	_cleanup_(freep) char *want = weft_strf("complete (%u/%u)", blobs, blobs);
	_cleanup_(freep) char *staging = weft_strf("%s/containerd/import", clab.ctrd.dir);
	_cleanup_(freep) char *checked = NULL;

	renew(NULL);
	assert_true(access(staging, F_OK) < 0);
	assert_int_equal(answer(CLAB_OPS->prepare(clab.rt, image, weft_arch_host(),
				 clab_on_prepared, NULL, &clab.err)),
		0);
	checked = test_ctrd_run(&clab.ctrd, "images check");
	assert_non_null(strstr(checked, want));
	assert_null(strstr(checked, "incomplete"));
	clab_wait_for(test_ctrd_lines(&clab.ctrd, "leases ls -q") == 0);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "content active"), 1);
	remove_image(clab.prepared);
	if (image[0] != '/')
		remove_image(image);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots ls"), 2);
}

static void kill_during_import(const char *image, unsigned blobs)
{
	unsigned n = 1;

	for (bool killed = true; killed && n < MOST_CALLS; n++) {
		for (int after = 0; after < 2; after++) {
			killed = run_daemon(PREPARE, image, n, after);
			prepare_again(image, blobs);
		}
	}
	print_message("# %u calls\n", n - 2);
	assert_true(n > 10 && n < MOST_CALLS);
}

static void test_daemon_killed_importing(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/two.tar", clab.ctrd.dir);

	(void)state;
	test_image_write(path, &(struct test_image){.layers = 2, .filler = 5000, .seed = 3});
	kill_during_import(path, 3);
}

static void test_daemon_killed_pulling(void **state)
{
	_cleanup_(freep) char *name = weft_strf("localhost:%u/test/image:1.0", reg.port);

	(void)state;
	kill_during_import(name, 4);
}

static void on_images(void *userdata, int r, const struct weft_err *err,
	const struct weft_runtime_image *list, unsigned n)
{
	listed = false;
	for (unsigned i = 0; i < n; i++)
		listed |= strcmp(list[i].ref, clab.prepared) == 0;
	clab_on_done(userdata, r, err);
}

/* It has names before and behind its own, in containerd's order: as long as there is any of them,
 * it is among the images, and can be removed. */
static void test_daemon_killed_removing(void **state)
{
	_cleanup_(freep) char *path = weft_strf("%s/two.tar", clab.ctrd.dir);
	unsigned n = 1, seen = 0;

	(void)state;
	test_image_write(path, &(struct test_image){.layers = 2, .filler = 5000, .seed = 4});
	for (bool killed = true; killed && n < MOST_CALLS; n++) {
		for (int after = 0; after < 2; after++) {
			_cleanup_(freep) char *tag = NULL, *names = NULL;

			renew(NULL);
			assert_int_equal(answer(CLAB_OPS->prepare(clab.rt, path, weft_arch_host(),
						 clab_on_prepared, NULL, &clab.err)),
				0);
			tag = weft_strf(
				"images tag %s a.example/x:1 zot.example/x:1", clab.prepared);
			free(test_ctrd_run(&clab.ctrd, tag));
			assert_int_equal(test_ctrd_lines(&clab.ctrd, "images ls -q"), 4);
			killed = run_daemon(REMOVE, clab.prepared, n, after);
			names = test_ctrd_run(&clab.ctrd, "images ls -q");
			renew(NULL);
			if (strstr(names, ".example/x:1") || strstr(names, clab.prepared)) {
				seen++;
				assert_int_equal(answer(CLAB_OPS->images(
							 clab.rt, on_images, NULL, &clab.err)),
					0);
				assert_true(listed);
				assert_int_equal(
					answer(CLAB_OPS->image_remove(clab.rt, clab.prepared,
						clab_on_done, NULL, &clab.err)),
					0);
			}
			assert_int_equal(test_ctrd_lines(&clab.ctrd, "images ls -q"), 1);
			assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots ls"), 2);
		}
	}
	print_message("# %u calls, %u times something was left\n", n - 2, seen);
	assert_true(n > 4 && n < MOST_CALLS);
}

/* --- containerd is killed ------------------------------------------------------------------------
 */

static void restart_containerd(void)
{
	test_ctrd_kill(&clab.ctrd);
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
}

static void test_containerd_killed_at_start(void **state)
{
	unsigned failed = 0, n = 1;

	(void)state;
	for (unsigned acted = 1; acted && n < MOST_CALLS; n++) {
		renew(proxy_socket);
		ctrd_proxy_set(
			&proxy, n % 2 ? PROXY_KILL_BEFORE : PROXY_KILL_AFTER, n, clab.ctrd.pid);
		if (start() < 0) {
			failed++;
			disarm();
			restart_containerd();
			clab_wait_for(is_clean()); /* as soon as it is back */
			continue;
		}
		acted = disarm();
		if (acted)
			restart_containerd();
		delete_();
	}
	print_message("# %u calls, failed %u\n", n - 1, failed);
	assert_true(n < MOST_CALLS && failed >= 4);
}

static void test_containerd_killed_at_stop(void **state)
{
	unsigned n = 1;

	(void)state;
	for (unsigned acted = 1; acted && n < MOST_CALLS; n++) {
		for (int after = 0; after < 2; after++) {
			renew(proxy_socket);
			ctrd_proxy_set(&proxy, PROXY_PASS, 0, 0);
			assert_int_equal(start(), 0);
			ctrd_proxy_set(&proxy, after ? PROXY_KILL_AFTER : PROXY_KILL_BEFORE, n,
				clab.ctrd.pid);
			(void)stop();
			acted = disarm();
			if (acted)
				restart_containerd();
			delete_();
		}
	}
	print_message("# %u calls\n", n - 2);
	assert_true(n < MOST_CALLS);
}

/* --- what runs the instance is killed ------------------------------------------------------------
 */

/* A process with these two texts in its command line; 0: none. Not what starts a shim and ends. */
static pid_t find_process(const char *a, const char *b)
{
	_cleanup_(closedirp) DIR *dir = opendir("/proc");
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		_cleanup_(freep) char *path = NULL, *text = NULL;
		size_t size;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		path = weft_strf("/proc/%s/cmdline", e->d_name);
		if (path && weft_read_file(path, 65536, &text, &size) == 0 &&
			memmem(text, size, a, strlen(a)) && memmem(text, size, b, strlen(b)) &&
			!memmem(text, size, "publish-binary", 14))
			return atoi(e->d_name);
	}
	return 0;
}

static pid_t shim(void)
{
	return find_process("containerd-shim", clab.ctrd.dir);
}

static void test_shim_killed(void **state)
{
	(void)state;
	renew(NULL);
	assert_int_equal(start(), 0);
	kill(shim(), SIGKILL);
	clab_expect_event(ID, WEFT_RUNTIME_FAILED);
	assert_non_null(strstr(clab.events[clab.n_events - 1].detail, "shim"));
	delete_();

	/* while it stands still */
	clab.n_events = 0;
	assert_int_equal(start(), 0);
	assert_int_equal(pause_it(), 0);
	kill(shim(), SIGKILL);
	clab_expect_event(ID, WEFT_RUNTIME_FAILED);
	delete_();

	/* while containerd is away */
	clab.n_events = 0;
	assert_int_equal(start(), 0);
	test_ctrd_kill(&clab.ctrd);
	kill(shim(), SIGKILL);
	assert_int_equal(test_ctrd_start(&clab.ctrd), 0);
	clab_expect_event(ID, WEFT_RUNTIME_FAILED);
	delete_();

	/* while it is stopped */
	assert_int_equal(start(), 0);
	assert_int_equal(clab_stop(ID, 5000), 0);
	kill(shim(), SIGKILL);
	(void)answer(0);
	delete_();
}

/* At some moment of a start: it fails, or works and is told of. */
static void test_shim_killed_early(void **state)
{
	unsigned failed = 0;

	(void)state;
	renew(NULL);
	for (unsigned ms = 0; ms < 80; ms += 8) {
		uint64_t end = weft_now_ns() + CLAB_WAIT_NS, at;
		pid_t pid = 0;

		clab.n_events = 0;
		assert_int_equal(CLAB_OPS->start(clab.rt, clab_spec(ID, "serve"), clab_on_done,
					 NULL, &clab.err),
			0);
		while (!(pid = shim()) && !clab.answered && weft_now_ns() < end)
			clab_turn(1000);
		at = weft_now_ns() + ms * 1000000;
		while (weft_now_ns() < at && !clab.answered)
			clab_turn(1000);
		if (pid > 0)
			kill(pid, SIGKILL);
		if (answer(0) < 0)
			failed++;
		else if (pid > 0)
			clab_expect_event(ID, WEFT_RUNTIME_FAILED);
		delete_();
	}
	print_message("# %u of 10 starts failed\n", failed);
	assert_true(failed > 0);
}

static void test_init_killed(void **state)
{
	(void)state;
	renew(NULL);
	for (int paused = 0; paused < 2; paused++) {
		pid_t pid;

		clab.n_events = 0;
		assert_int_equal(start(), 0);
		pid = (pid_t)clab_stats(ID).pid;
		if (paused)
			assert_int_equal(pause_it(), 0);
		kill(pid, SIGKILL);
		if (paused) /* what stands still dies when it goes on */
			(void)answer(CLAB_OPS->resume(clab.rt, ID, clab_on_done, NULL, &clab.err));
		clab_expect_event(ID, WEFT_RUNTIME_FAILED);
		delete_();
	}
	/* killed and deleted while it stands still */
	assert_int_equal(start(), 0);
	assert_int_equal(pause_it(), 0);
	kill((pid_t)clab_stats(ID).pid, SIGKILL);
	delete_();
}

/* The instance goes on without its log. */
static void test_logger_killed(void **state)
{
	(void)state;
	renew(NULL);
	assert_int_equal(start(), 0);
	clab_wait_log(ID, "on stderr");
	kill(find_process("weft-log", clab.ctrd.dir), SIGKILL);
	if (!clab_in_chroot())
		assert_int_equal(exec_it(), 0);
	assert_int_equal(clab.n_events, 0);
	assert_int_equal(stop(), 0);
	delete_();
}

/* --- many rounds ---------------------------------------------------------------------------------
 */

static unsigned count_entries(const char *path)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	const struct dirent *e;
	unsigned n = 0;

	while (dir && (e = readdir(dir)))
		n += e->d_name[0] != '.';
	return n;
}

/* Where the shim of an instance listens, by containerd's rule. */
static bool shim_socket_left(const char *id)
{
	_cleanup_(freep) char *key = weft_strf("%s/weft/%s", clab.ctrd.socket, id);
	_cleanup_(freep) char *path = NULL;
	char digest[WEFT_OCI_DIGEST];

	weft_oci_digest(key, strlen(key), digest);
	path = weft_strf("/run/containerd/s/%s", WEFT_OCI_HEX(digest));
	return access(path, F_OK) == 0;
}

static void test_many_rounds(void **state)
{
	bool chroot = clab_in_chroot();
	unsigned fds = 0;

	(void)state;
	renew(NULL);
	for (unsigned i = 0; i < 102; i++) {
		if (i == 2) /* what is made once is made by now */
			fds = count_entries("/proc/self/fd");
		assert_int_equal(start(), 0);
		if (i == 0)
			assert_true(shim_socket_left(ID));
		if (i % 3 == 1 && !chroot)
			assert_int_equal(exec_it(), 0);
		if (i % 3 == 2)
			assert_int_equal(pause_it(), 0);
		if (i % 4)
			assert_int_equal(stop(), 0);
		delete_();
	}
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	assert_false(shim_socket_left(ID));
	assert_int_equal(clab.n_events, 0);
}

/* --- collection ----------------------------------------------------------------------------------
 */

static void collect(void)
{
	assert_true(test_ctrd_lines(&clab.ctrd, "leases create --id weft-test-gc") >= 0);
	assert_true(test_ctrd_lines(&clab.ctrd, "leases rm --sync weft-test-gc") >= 0);
}

/* An image whose record is gone is kept for as long as something runs from it. */
static void test_image_in_use(void **state)
{
	_cleanup_(freep) char *old = strdup(clab.ref);

	(void)state;
	renew(NULL);
	assert_int_equal(start(), 0);
	remove_image(clab.ref);
	collect();
	if (!clab_in_chroot())
		assert_int_equal(exec_it(), 0); /* its files are there */
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots ls"), 3);
	assert_int_equal(stop(), 0);
	delete_();
	collect();
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "snapshots ls"), 1);
	assert_int_equal(test_ctrd_lines(&clab.ctrd, "content ls -q"), 0);

	/* Though we remember what it was, it cannot be started any more. */
	assert_int_equal(start(), -ENOENT);
	print_message("# %s (%s)\n", clab.err.msg, clab.err.hint);
	assert_non_null(strstr(clab.err.hint, "deploy again"));
	clab_import();
	assert_string_equal(clab.ref, old);
	assert_int_equal(start(), 0);
	delete_();
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, nothing_left)
	const struct CMUnitTest tests[] = {
		T(test_cut_start),
		T(test_cut_others),
		T(test_daemon_killed),
		T(test_daemon_killed_importing),
		T(test_daemon_killed_pulling),
		T(test_daemon_killed_removing),
		T(test_containerd_killed_at_start),
		T(test_containerd_killed_at_stop),
		T(test_shim_killed),
		T(test_shim_killed_early),
		T(test_init_killed),
		T(test_logger_killed),
		T(test_many_rounds),
		T(test_image_in_use),
	};
	const char *missing = clab_missing();

	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
