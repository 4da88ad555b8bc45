/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/conformance/suite.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "runtimes/cgroup.h"

#define WAIT_NS 60000000000ULL
#define ID      "conf.case.1"
#define OTHER   "conf.case.2"
#define ROUNDS  100

#define OPS (c.target->ops)

/* --- a daemon: a loop, a runtime, and what it was told -------------------------------------------
 */

static struct conf c;
static struct {
	sd_event *loop;
	struct weft_runtime *rt;
	bool in_call;
	unsigned answers, events, ended, oom;
	int r;
	struct weft_err err;
	enum weft_runtime_event end; /* the last EXITED or FAILED */
	char detail[256], ref[PATH_MAX], output[1024];
	int status;
	uint64_t size;
	struct weft_runtime_cap caps[WEFT_RUNTIME_MAX_CAPS];
	unsigned n_caps;
} d;

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	assert_ptr_equal(userdata, &d);
	assert_false(d.in_call);
	assert_true(id[0] && detail);
	d.events++;
	d.oom += event == WEFT_RUNTIME_OOM;
	if (event == WEFT_RUNTIME_EXITED || event == WEFT_RUNTIME_FAILED) {
		d.ended++;
		d.end = event;
		snprintf(d.detail, sizeof(d.detail), "%s", detail);
	}
}

/* Every answer comes from the loop, and an error has its text. */
static void on_done(void *userdata, int r, const struct weft_err *err)
{
	assert_ptr_equal(userdata, &d);
	assert_false(d.in_call);
	assert_true(r <= 0);
	if (r < 0)
		assert_true(err->code == -r && err->msg[0]);
	d.answers++;
	d.r = r;
	d.err = *err;
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	on_done(userdata, r, err);
	snprintf(d.ref, sizeof(d.ref), "%s", ref ? ref : "");
	d.size = size;
}

static void on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n)
{
	assert_ptr_equal(userdata, &d);
	assert_false(d.in_call);
	assert_in_range(n, 1, WEFT_RUNTIME_MAX_CAPS);
	memcpy(d.caps, caps, n * sizeof(*caps));
	d.n_caps = n;
	d.answers++;
}

static void on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	on_done(userdata, r, err);
	d.status = status;
	snprintf(d.output, sizeof(d.output), "%.*s", (int)size, output ? output : "");
}

static void daemon_up(void)
{
	struct weft_runtime_config config = {
		.state_dir = c.dir,
		.libexec_dir = c.libexec,
		.containerd = c.socket,
		.cgroup_root = c.cgroup,
		.on_event = on_event,
		.userdata = &d,
	};

	assert_true(sd_event_new(&d.loop) >= 0);
	config.event = d.loop;
	if (OPS->new_(&config, &d.rt, &d.err) < 0)
		fail_msg("%s", d.err.msg);
}

static void daemon_down(void)
{
	OPS->free_(d.rt);
	d.rt = NULL;
	d.loop = sd_event_unref(d.loop);
}

static void turn(uint64_t usec)
{
	assert_true(sd_event_run(d.loop, usec) >= 0);
}

static void wait_count(const unsigned *count, unsigned n, const char *what)
{
	uint64_t end = weft_now_ns() + WAIT_NS;

	while (*count < n) {
		if (weft_now_ns() > end)
			fail_msg("waited for %s (%u of %u); last: %s", what, *count, n, d.err.msg);
		turn(50000);
	}
	assert_int_equal(*count, n);
}

/* What the call just made answers, which was r when it returned. */
static int answer(int r)
{
	d.in_call = false;
	if (r < 0) {
		assert_true(d.err.code == -r && d.err.msg[0]);
		assert_int_equal(d.answers, 0);
		return r;
	}
	wait_count(&d.answers, 1, "an answer");
	return d.r;
}

#define CALL(...) \
	(d.in_call = true, d.answers = 0, memset(&d.err, 0, sizeof(d.err)), answer(__VA_ARGS__))

static int prepare(const char *image)
{
	return CALL(OPS->prepare(
		d.rt, image[0] ? image : NULL, weft_arch_host(), on_prepared, &d, &d.err));
}

/* --- instances -----------------------------------------------------------------------------------
 */

static char netns[128], log_path[128], inst_dir[128];

static struct weft_runtime_spec spec_of(enum conf_program p)
{
	return (struct weft_runtime_spec){
		.id = ID,
		.image = d.ref[0] ? d.ref : NULL,
		.dir = inst_dir,
		.log_path = log_path,
		.virt = c.target->virt,
		.arch = weft_arch_host(),
		.args = c.args[p][0] ? c.args[p] : NULL,
		.memory_mb = 64,
		.net = {.netns = c.target->netns ? netns : NULL, .tap_fd = -1},
	};
}

static int start_spec(const struct weft_runtime_spec *spec)
{
	return CALL(OPS->start(d.rt, spec, on_done, &d, &d.err));
}

static void start(enum conf_program p)
{
	struct weft_runtime_spec spec;

	if (prepare(c.image[p]) != 0)
		fail_msg("prepare %s: %s", c.image[p], d.err.msg);
	spec = spec_of(p);
	if (start_spec(&spec) != 0)
		fail_msg("start: %s", d.err.msg);
}

static int stop(unsigned grace_ms)
{
	return CALL(OPS->stop(d.rt, ID, grace_ms, on_done, &d, &d.err));
}

static int delete_(const char *id)
{
	return CALL(OPS->delete_(d.rt, id, on_done, &d, &d.err));
}

static int adopt(void)
{
	struct weft_runtime_spec spec = spec_of(CONF_SERVE);

	return CALL(OPS->adopt(d.rt, &spec, on_done, &d, &d.err));
}

static struct weft_runtime_stats stats(void)
{
	struct weft_runtime_stats s = {0};

	assert_int_equal(OPS->stats(d.rt, ID, &s), 0);
	return s;
}

/* CPU time that is used up within some time by what is said to be busy, or not. */
static uint64_t cpu_used_in(uint64_t ns)
{
	uint64_t end = weft_now_ns() + ns, before = stats().cpu_ns;

	while (weft_now_ns() < end)
		turn(10000);
	return stats().cpu_ns - before;
}

static void wait_log(void)
{
	uint64_t end = weft_now_ns() + WAIT_NS;
	bool said = false;

	while (!said) {
		_cleanup_(freep) char *text = NULL;

		said = weft_read_file(log_path, 1 << 20, &text, NULL) == 0 && text[0];
		if (weft_now_ns() > end)
			fail_msg("nothing was written to %s", log_path);
		turn(10000);
	}
}

static unsigned count_fds(void)
{
	_cleanup_(closedirp) DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	return n;
}

static unsigned count_mounts(void)
{
	_cleanup_(freep) char *text = NULL;
	unsigned n = 0;

	assert_int_equal(weft_read_file("/proc/self/mountinfo", 1 << 20, &text, NULL), 0);
	for (const char *at = text; (at = strstr(at, c.dir)); at++)
		n++;
	return n;
}

static void assert_gone(void)
{
	struct weft_runtime_stats s;

	assert_int_equal(OPS->stats(d.rt, ID, &s), -ENOENT);
}

/* --- fixtures ------------------------------------------------------------------------------------
 */

static int case_setup(void **state)
{
	struct weft_err err = {0};

	(void)state;
	memset(&d, 0, sizeof(d));
	snprintf(netns, sizeof(netns), "%s/netns", c.dir);
	snprintf(inst_dir, sizeof(inst_dir), "%s/an,instance's directory", c.dir);
	snprintf(log_path, sizeof(log_path), "%s/its log.txt", c.dir);
	if (weft_mkdir_p(inst_dir, 0700) < 0 ||
		(c.target->netns && weft_netns_add(netns, &err) < 0)) {
		print_message("# %s\n", err.msg);
		return -1;
	}
	daemon_up();
	return 0;
}

static int case_teardown(void **state)
{
	(void)state;
	if (d.rt) {
		delete_(ID);
		delete_(OTHER);
		daemon_down();
	}
	weft_netns_del(netns);
	weft_remove_tree(inst_dir);
	unlink(log_path);
	assert_false(c.target->left && c.target->left(&c));
	return 0;
}

/* --- cases ---------------------------------------------------------------------------------------
 */

static void probing_says_what_can_run(void **state)
{
	bool found = false;

	(void)state;
	d.in_call = true;
	assert_int_equal(OPS->probe(d.rt, on_probed, &d), 0);
	d.in_call = false;
	wait_count(&d.answers, 1, "the probe");
	for (unsigned i = 0; i < d.n_caps; i++) {
		const struct weft_runtime_cap *cap = &d.caps[i];

		assert_true(cap->usable || cap->detail[0]); /* why not, and what to do */
		found |= cap->virt == c.target->virt && cap->arch == weft_arch_host() &&
			 cap->usable && cap->version[0];
	}
	assert_true(found);
}

static void images_are_checked(void **state)
{
	_cleanup_(freep) char *junk = weft_strf("%s/junk.tar", c.dir);

	(void)state;
	assert_int_equal(prepare("/nonexistent/image.tar"), -ENOENT);
	assert_non_null(strstr(d.err.msg, "/nonexistent/image.tar"));
	assert_int_equal(weft_write_file(junk, "this is no image\n", 17, 0644), 0);
	assert_int_equal(prepare(junk), -EBADMSG);
	assert_non_null(strstr(d.err.msg, junk));
	unlink(junk);
}

static void preparing_again_answers_the_same(void **state)
{
	char ref[PATH_MAX];
	uint64_t size;

	(void)state;
	assert_int_equal(prepare(c.image[CONF_SERVE]), 0);
	assert_true(d.ref[0] && d.size > 0);
	strcpy(ref, d.ref);
	size = d.size;
	assert_int_equal(prepare(c.image[CONF_SERVE]), 0);
	assert_string_equal(d.ref, ref);
	assert_int_equal(d.size, size);
}

static void a_life(void **state)
{
	struct weft_runtime_stats s;

	(void)state;
	start(CONF_SERVE);
	wait_log();
	s = stats();
	assert_true(s.pid > 1);
	assert_int_equal(kill((pid_t)s.pid, 0), 0);
	assert_true(s.memory_bytes > 0);
	assert_int_equal(stop(5000), 0);
	assert_gone();
	assert_int_equal(kill((pid_t)s.pid, 0), -1);
	assert_int_equal(delete_(ID), 0);
	/* An end that was asked for is no event. */
	assert_int_equal(d.events, 0);
}

static void an_id_runs_once(void **state)
{
	struct weft_runtime_spec spec;
	uint32_t pid;

	(void)state;
	start(CONF_SERVE);
	pid = stats().pid;
	spec = spec_of(CONF_SERVE);
	assert_int_equal(start_spec(&spec), -EEXIST);
	assert_non_null(strstr(d.err.msg, ID));
	assert_int_equal(stats().pid, pid);
}

static void strangers_are_no_error(void **state)
{
	struct weft_runtime_stats s;

	(void)state;
	assert_int_equal(stop(100), 0);
	assert_int_equal(delete_(ID), 0);
	assert_int_equal(delete_("never.heard.of"), 0);
	assert_int_equal(OPS->stats(d.rt, ID, &s), -ENOENT);
	assert_int_equal(adopt(), -ENOENT);
	assert_non_null(strstr(d.err.msg, ID));
}

static void who_does_not_listen_is_killed(void **state)
{
	uint64_t before;

	(void)state;
	start(CONF_STUBBORN);
	if (c.args[CONF_STUBBORN][0])
		wait_log(); /* until then it has not said that it does not listen */
	before = weft_now_ns();
	assert_int_equal(stop(300), 0);
	/* Not at once; but a last request before the end may already be heard. */
	assert_true(weft_now_ns() - before >= 100000000ULL);
	assert_gone();
	assert_int_equal(d.ended, 0);
}

static void ends_by_itself(enum conf_program p, enum weft_runtime_event how)
{
	struct weft_runtime_spec spec;
	int r;

	assert_int_equal(prepare(c.image[p]), 0);
	spec = spec_of(p);
	/* It may be over before start() has answered: that is an event, or a failed start that
	 * says that it ended. */
	r = start_spec(&spec);
	if (r < 0) {
		assert_int_equal(r, -EIO);
		if (!c.target->early[how == WEFT_RUNTIME_FAILED] ||
			!strstr(d.err.msg, c.target->early[how == WEFT_RUNTIME_FAILED]))
			fail_msg("start: %s", d.err.msg);
	} else {
		wait_count(&d.ended, 1, "its end");
		assert_int_equal(d.end, how);
		assert_true(d.detail[0]);
		if (c.target->status && how == WEFT_RUNTIME_FAILED)
			assert_non_null(strstr(d.detail, "7"));
	}
	assert_gone();
	assert_int_equal(delete_(ID), 0);
	assert_in_range(d.ended, 0, 1);
}

static void a_good_end_is_told(void **state)
{
	(void)state;
	ends_by_itself(CONF_EXIT, WEFT_RUNTIME_EXITED);
}

static void a_bad_end_is_told(void **state)
{
	(void)state;
	ends_by_itself(CONF_FAIL, WEFT_RUNTIME_FAILED);
}

static void a_killed_process_is_told(void **state)
{
	(void)state;
	start(CONF_SERVE);
	wait_log();
	assert_int_equal(kill((pid_t)stats().pid, SIGKILL), 0);
	wait_count(&d.ended, 1, "its end");
	assert_int_equal(d.end, WEFT_RUNTIME_FAILED);
	assert_gone();
}

static void killing_is_an_event(void **state)
{
	(void)state;
	start(CONF_SERVE);
	wait_log();
	assert_int_equal(CALL(OPS->kill(d.rt, ID, SIGKILL, on_done, &d, &d.err)), 0);
	wait_count(&d.ended, 1, "its end");
	assert_int_equal(d.end, WEFT_RUNTIME_FAILED);
	assert_gone();
	assert_int_equal(CALL(OPS->kill(d.rt, ID, SIGKILL, on_done, &d, &d.err)), -ENOENT);
}

static void too_much_memory_is_told(void **state)
{
	(void)state;
	start(CONF_HOG);
	wait_count(&d.ended, 1, "its end");
	assert_true(d.oom >= 1);
	assert_int_equal(d.end, WEFT_RUNTIME_FAILED);
}

static void cpu_time_is_counted(void **state)
{
	uint64_t end = weft_now_ns() + WAIT_NS, used = 0;

	(void)state;
	start(CONF_BUSY);
	while (used < 200000000ULL && weft_now_ns() < end)
		used += cpu_used_in(100000000ULL);
	assert_true(used >= 200000000ULL);
}

static void pausing_stands_still(void **state)
{
	uint64_t end;
	uint32_t pid;

	(void)state;
	start(CONF_BUSY);
	pid = stats().pid;
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(CALL(OPS->pause(d.rt, ID, on_done, &d, &d.err)), 0);
	cpu_used_in(100000000ULL); /* what was under way */
	assert_true(cpu_used_in(500000000ULL) < 100000000ULL);
	for (int twice = 0; twice < 2; twice++)
		assert_int_equal(CALL(OPS->resume(d.rt, ID, on_done, &d, &d.err)), 0);
	end = weft_now_ns() + WAIT_NS;
	while (cpu_used_in(100000000ULL) < 1000000ULL)
		assert_true(weft_now_ns() < end);
	assert_int_equal(stats().pid, pid);
	assert_int_equal(d.ended, 0);
	/* One that stands still is stopped like any other. */
	assert_int_equal(CALL(OPS->pause(d.rt, ID, on_done, &d, &d.err)), 0);
	assert_int_equal(stop(300), 0);
	assert_gone();
	assert_int_equal(CALL(OPS->pause(d.rt, ID, on_done, &d, &d.err)), -ENOENT);
	assert_int_equal(CALL(OPS->resume(d.rt, ID, on_done, &d, &d.err)), -ENOENT);
}

static int run_in(const char *const *argv, unsigned timeout_ms)
{
	return CALL(OPS->exec(d.rt, ID, argv, timeout_ms, on_executed, &d, &d.err));
}

static void programs_run_inside(void **state)
{
	const char *const fine[] = {c.args[CONF_SERVE][0], "say", "hello", NULL};
	const char *const bad[] = {c.args[CONF_SERVE][0], "fail", NULL};
	const char *const slow[] = {c.args[CONF_SERVE][0], "stubborn", NULL};
	const char *const none[] = {"/no/such/program", NULL};

	(void)state;
	start(CONF_SERVE);
	wait_log();
	assert_int_equal(run_in(fine, 20000), 0);
	assert_int_equal(d.status, 0);
	assert_string_equal(d.output, "hello\n");
	assert_int_equal(run_in(bad, 20000), 0);
	assert_int_equal(d.status, 7);
	assert_int_equal(run_in(slow, 300), -ETIMEDOUT);
	assert_true(run_in(none, 20000) < 0 || d.status == 126 || d.status == 127);
	/* None of that was an end of the instance's. */
	assert_int_equal(d.ended, 0);
	assert_int_equal(kill((pid_t)stats().pid, 0), 0);
}

static void programs_inside_can_be_ended(void **state)
{
	const char *const slow[] = {c.args[CONF_SERVE][0], "stubborn", NULL};

	(void)state;
	start(CONF_SERVE);
	wait_log();
	/* At once, and so before it may have begun; and what has ended is no more to be ended. */
	d.answers = 0;
	assert_int_equal(OPS->exec(d.rt, ID, slow, 10 * 60 * 1000, on_executed, &d, &d.err), 0);
	d.in_call = true;
	OPS->exec_end(d.rt, &d);
	d.in_call = false;
	wait_count(&d.answers, 1, "the end of a program");
	assert_int_equal(d.r, -ECANCELED);
	OPS->exec_end(d.rt, &d);
	assert_int_equal(d.answers, 1);
	assert_int_equal(kill((pid_t)stats().pid, 0), 0);
	assert_int_equal(
		run_in((const char *const[]){c.args[CONF_SERVE][0], "say", "on", NULL}, 20000), 0);
}

static void the_next_daemon_adopts(void **state)
{
	uint32_t pid;

	(void)state;
	start(CONF_SERVE);
	wait_log();
	pid = stats().pid;
	daemon_down();
	assert_int_equal(kill((pid_t)pid, 0), 0);
	daemon_up();
	assert_int_equal(adopt(), 0);
	assert_int_equal(stats().pid, pid);
	assert_int_equal(adopt(), 0); /* again: no harm */
	/* It is watched again. */
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
	wait_count(&d.ended, 1, "its end");
	assert_gone();
}

static void who_ended_meanwhile_is_not_adopted(void **state)
{
	uint64_t end = weft_now_ns() + WAIT_NS;
	uint32_t pid;

	(void)state;
	start(CONF_SERVE);
	wait_log();
	pid = stats().pid;
	daemon_down();
	assert_int_equal(kill((pid_t)pid, SIGKILL), 0);
	daemon_up();
	/* Whoever watches it in the daemon's absence may need a moment to see it. */
	while (adopt() == 0 && weft_now_ns() < end) {
		if (d.ended)
			break;
		turn(10000);
	}
	assert_true(d.r == -ENOENT || d.ended == 1);
	assert_int_equal(delete_(ID), 0);
	assert_gone();
}

static void a_restarted_daemon_can_clean_up(void **state)
{
	uint32_t pid;

	(void)state;
	start(CONF_SERVE);
	pid = stats().pid;
	daemon_down();
	daemon_up();
	assert_int_equal(delete_(ID), 0); /* without having adopted it */
	assert_int_equal(kill((pid_t)pid, 0), -1);
	assert_gone();
	start(CONF_SERVE); /* the name is free again */
}

/* After free() nobody is told anything: asserted by the callbacks' use of a runtime that is gone.
 */
static void nothing_is_told_after_the_end(void **state)
{
	struct weft_runtime_spec spec;

	(void)state;
	assert_int_equal(prepare(c.image[CONF_SERVE]), 0);
	spec = spec_of(CONF_SERVE);
	d.answers = 0;
	assert_int_equal(OPS->start(d.rt, &spec, on_done, &d, &d.err), 0);
	daemon_down();
	assert_int_equal(d.answers, 0);
	daemon_up();
	for (int i = 0; i < 20; i++)
		turn(10000);
	assert_int_equal(d.answers, 0);
	assert_int_equal(d.events, 0);
	assert_int_equal(delete_(ID), 0);
}

static void deleting_kills(void **state)
{
	uint32_t pid;

	(void)state;
	start(CONF_STUBBORN);
	pid = stats().pid;
	assert_int_equal(delete_(ID), 0);
	assert_int_equal(kill((pid_t)pid, 0), -1);
	assert_gone();
	assert_int_equal(d.ended, 0);
}

static void two_side_by_side(void **state)
{
	struct weft_runtime_spec spec;
	struct weft_runtime_stats a, b;

	(void)state;
	start(CONF_SERVE);
	spec = spec_of(CONF_SERVE);
	spec.id = OTHER;
	/* gVisor takes the address out of a namespace: each instance has one of its own. */
	spec.net.netns = NULL;
	assert_int_equal(start_spec(&spec), 0);
	assert_int_equal(OPS->stats(d.rt, ID, &a), 0);
	assert_int_equal(OPS->stats(d.rt, OTHER, &b), 0);
	assert_int_not_equal(a.pid, b.pid);
	assert_int_equal(delete_(OTHER), 0);
	assert_int_equal(OPS->stats(d.rt, ID, &a), 0);
}

/* A log that would grow without end is rotated: the file and one old one, each of about the size.
 */
static void logs_are_rotated(void **state)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", log_path);
	uint64_t end = weft_now_ns() + WAIT_NS;
	struct weft_runtime_spec spec;
	bool rotated = false;

	(void)state;
	assert_int_equal(prepare(c.image[CONF_TALK]), 0);
	spec = spec_of(CONF_TALK);
	spec.log_max_bytes = 256 << 10;
	assert_int_equal(start_spec(&spec), 0);
	while (!rotated && weft_now_ns() < end) {
		rotated = access(old, F_OK) == 0;
		turn(10000);
	}
	assert_true(rotated);
	assert_int_equal(delete_(ID), 0);
	for (int i = 0; i < 2; i++) {
		_cleanup_(freep) char *text = NULL;
		size_t size = 0;

		assert_int_equal(weft_read_file(i ? old : log_path, 1 << 20, &text, &size), 0);
		assert_in_range(size, i ? 1 : 0, 512 << 10);
	}
	unlink(old);
}

static void many_rounds_leak_nothing(void **state)
{
	unsigned before = 0, mounts = 0;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		start(CONF_SERVE);
		assert_int_equal(stop(i % 2 ? 0 : 1000), 0);
		assert_int_equal(delete_(ID), 0);
		if (c.target->netns) { /* each start needs a namespace made anew */
			struct weft_err err = {0};

			assert_int_equal(weft_netns_del(netns), 0);
			assert_int_equal(weft_netns_add(netns, &err), 0);
		}
		if (i == 1) {
			before = count_fds();
			mounts = count_mounts();
		}
	}
	assert_int_equal(count_fds(), before);
	assert_int_equal(count_mounts(), mounts);
	assert_int_equal(d.ended, 0);
}

/* --- main ----------------------------------------------------------------------------------------
 */

static const char source[] =
	"#include <signal.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
	"#include <unistd.h>\n"
	"static void bye(int s) { (void)s; _exit(0); }\n"
	"int main(int c, char **v) {\n"
	"	const char *w = c > 1 ? v[1] : \"serve\";\n"
	"	signal(SIGTERM, strcmp(w, \"stubborn\") ? bye : SIG_IGN); signal(SIGQUIT, bye);\n"
	"	if (!strcmp(w, \"say\")) { puts(v[2]); return 0; }\n"
	"	if (!strcmp(w, \"exit\")) { usleep(300000); return 0; }\n"
	"	if (!strcmp(w, \"fail\")) { usleep(300000); return 7; }\n"
	"	puts(\"ready\"); fflush(stdout);\n"
	"	if (!strcmp(w, \"busy\")) for (;;) __asm__ volatile(\"\");\n"
	"	if (!strcmp(w, \"talk\")) for (int i = 1;; i++) {\n"
	"		puts(\"a line of some length, again and again\");\n"
	"		if (i % 200 == 0) { fflush(stdout); usleep(40000); } }\n"
	"	if (!strcmp(w, \"hog\")) for (;;) { char *p = malloc(1 << 20);\n"
	"		for (int i = 0; p && i < 1 << 20; i += 512) ((volatile char *)p)[i] = 1; }\n"
	"	for (;;) pause();\n}\n";

int conf_build_program(const char *path)
{
	_cleanup_(freep) char *file = weft_strf("%s.c", path);
	_cleanup_(freep) char *cmd = weft_strf("cc -Os -static -o %s %s.c", path, path);

	if (!file || !cmd || weft_write_file(file, source, strlen(source), 0644) < 0)
		return -1;
	return system(cmd) == 0 ? 0 : -1;
}

const char *conf_word(enum conf_program p)
{
	static const char *const words[] = {
		[CONF_SERVE] = "serve",
		[CONF_STUBBORN] = "stubborn",
		[CONF_EXIT] = "exit",
		[CONF_FAIL] = "fail",
		[CONF_BUSY] = "busy",
		[CONF_HOG] = "hog",
		[CONF_TALK] = "talk",
	};

	return words[p];
}

static int find_libexec(void)
{
	const char *build = getenv("B");
	_cleanup_(freep) char *path = weft_strf("%s/libexec", build ? build : "build");

	return path && realpath(path, c.libexec) ? 0 : -1;
}

/* What a case takes of its target, beside a program that serves. */
#define IMAGES  (1u << 0)
#define PAUSE   (1u << 1)
#define KILL    (1u << 2)
#define EXEC    (1u << 3)
#define ROTATES (1u << 4)
#define HAS(p)  (1u << (8 + (p)))

static const struct {
	struct CMUnitTest test;
	unsigned takes;
} cases[] = {
#define T(name, takes)                                                                  \
	{                                                                               \
		cmocka_unit_test_setup_teardown(name, case_setup, case_teardown), takes \
	}
	T(probing_says_what_can_run, 0),
	T(images_are_checked, IMAGES),
	T(preparing_again_answers_the_same, IMAGES),
	T(a_life, 0),
	T(an_id_runs_once, 0),
	T(strangers_are_no_error, 0),
	T(who_does_not_listen_is_killed, HAS(CONF_STUBBORN)),
	T(a_good_end_is_told, HAS(CONF_EXIT)),
	T(a_bad_end_is_told, HAS(CONF_FAIL)),
	T(a_killed_process_is_told, 0),
	T(killing_is_an_event, KILL),
	T(too_much_memory_is_told, HAS(CONF_HOG)),
	T(cpu_time_is_counted, HAS(CONF_BUSY)),
	T(pausing_stands_still, PAUSE | HAS(CONF_BUSY)),
	T(programs_run_inside, EXEC),
	T(programs_inside_can_be_ended, EXEC),
	T(the_next_daemon_adopts, 0),
	T(who_ended_meanwhile_is_not_adopted, 0),
	T(a_restarted_daemon_can_clean_up, 0),
	T(nothing_is_told_after_the_end, 0),
	T(deleting_kills, HAS(CONF_STUBBORN)),
	T(two_side_by_side, 0),
	T(logs_are_rotated, ROTATES | HAS(CONF_TALK)),
	T(many_rounds_leak_nothing, 0),
#undef T
};

static unsigned offers(void)
{
	unsigned has = (c.target->images ? IMAGES : 0) | (OPS->pause && OPS->resume ? PAUSE : 0) |
		       (OPS->kill ? KILL : 0) | (c.target->exec ? EXEC : 0) |
		       (c.target->rotates ? ROTATES : 0);

	for (int p = 0; p < CONF_PROGRAMS; p++)
		has |= c.image[p][0] || c.args[p][0] ? HAS(p) : 0;
	return has;
}

/* Those that the target has what it takes for; the others are named. */
static int run_cases(void)
{
	struct CMUnitTest chosen[ARRAY_SIZE(cases)];
	unsigned has = offers();
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if ((cases[i].takes & ~has) == 0)
			chosen[n++] = cases[i].test;
		else
			printf("# %s: not for %s\n", cases[i].test.name, c.target->name);
	return _cmocka_run_group_tests(c.target->name, chosen, n, NULL, NULL);
}

int conf_main(const struct conf_target *target)
{
	const char *missing = NULL;
	int failed = 1;

	c.target = target;
	snprintf(c.dir, sizeof(c.dir), "/tmp/weft-conf-%s-XXXXXX", target->name);
	snprintf(c.cgroup, sizeof(c.cgroup), "weft-conf-%s-%d", target->name, (int)getpid());
	if (find_libexec() < 0)
		missing = "no libexec directory was built";
	if (!missing && geteuid() != 0)
		missing = "not root";
	if (!missing && target->missing)
		missing = target->missing(&c);
	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 0;
	}
	if (mkdtemp(c.dir) && target->open(&c) == 0)
		failed = run_cases();
	target->close(&c);
	if (weft_cgroup_destroy(c.cgroup) < 0)
		failed++;
	weft_remove_tree(c.dir);
	return failed;
}
