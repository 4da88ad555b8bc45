/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "ctrl/dataplane/link.h"
#include "tests/conformance/lab.h"

/* --- a daemon: a loop, a runtime, and what it was told -------------------------------------------
 */

struct conf conf;
struct conf_lab lab;

static void on_event(
	void *userdata, const char *id, enum weft_runtime_event event, const char *detail)
{
	assert_ptr_equal(userdata, &lab);
	assert_false(lab.in_call);
	assert_true(id[0] && detail);
	lab.events++;
	lab.oom += event == WEFT_RUNTIME_OOM;
	if (event == WEFT_RUNTIME_EXITED || event == WEFT_RUNTIME_FAILED) {
		lab.ended++;
		lab.end = event;
		snprintf(lab.detail, sizeof(lab.detail), "%s", detail);
	}
}

/* Every answer comes from the loop, and an error has its text. */
void conf_on_done(void *userdata, int r, const struct weft_err *err)
{
	assert_ptr_equal(userdata, &lab);
	assert_false(lab.in_call);
	assert_true(r <= 0);
	if (r < 0)
		assert_true(err->code == -r && err->msg[0]);
	lab.answers++;
	lab.r = r;
	lab.err = *err;
}

static void on_prepared(
	void *userdata, int r, const struct weft_err *err, const char *ref, uint64_t size)
{
	conf_on_done(userdata, r, err);
	snprintf(lab.ref, sizeof(lab.ref), "%s", ref ? ref : "");
	lab.size = size;
}

void conf_on_probed(void *userdata, const struct weft_runtime_cap *caps, unsigned n)
{
	assert_ptr_equal(userdata, &lab);
	assert_false(lab.in_call);
	assert_in_range(n, 1, WEFT_RUNTIME_MAX_CAPS);
	memcpy(lab.caps, caps, n * sizeof(*caps));
	lab.n_caps = n;
	lab.answers++;
}

void conf_on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	conf_on_done(userdata, r, err);
	lab.status = status;
	snprintf(lab.output, sizeof(lab.output), "%.*s", (int)size, output ? output : "");
}

void conf_daemon_up(void)
{
	struct weft_runtime_config config = {
		.state_dir = conf.dir,
		.libexec_dir = conf.libexec,
		.containerd = conf.socket,
		.cgroup_root = conf.cgroup,
		.on_event = on_event,
		.userdata = &lab,
	};

	assert_true(sd_event_new(&lab.loop) >= 0);
	config.event = lab.loop;
	if (OPS->new_(&config, &lab.rt, &lab.err) < 0)
		fail_msg("%s", lab.err.msg);
}

void conf_daemon_down(void)
{
	OPS->free_(lab.rt);
	lab.rt = NULL;
	lab.loop = sd_event_unref(lab.loop);
}

void conf_turn(uint64_t usec)
{
	assert_true(sd_event_run(lab.loop, usec) >= 0);
}

void conf_wait_count(const unsigned *count, unsigned n, const char *what)
{
	uint64_t end = weft_now_ns() + WAIT_NS;

	while (*count < n) {
		if (weft_now_ns() > end)
			fail_msg(
				"waited for %s (%u of %u); last: %s", what, *count, n, lab.err.msg);
		conf_turn(50000);
	}
	assert_int_equal(*count, n);
}

/* What the call just made answers, which was r when it returned. */
int conf_answer(int r)
{
	lab.in_call = false;
	if (r < 0) {
		assert_true(lab.err.code == -r && lab.err.msg[0]);
		assert_int_equal(lab.answers, 0);
		return r;
	}
	conf_wait_count(&lab.answers, 1, "an answer");
	return lab.r;
}

int conf_prepare(const char *image)
{
	return CALL(OPS->prepare(
		lab.rt, image[0] ? image : NULL, weft_arch_host(), on_prepared, &lab, &lab.err));
}

/* --- instances -----------------------------------------------------------------------------------
 */

struct weft_runtime_spec conf_spec(enum conf_program p)
{
	return (struct weft_runtime_spec){
		.id = ID,
		.image = lab.ref[0] ? lab.ref : NULL,
		.dir = lab.inst_dir,
		.log_path = lab.log_path,
		.virt = conf.target->virt,
		.arch = weft_arch_host(),
		.args = conf.args[p][0] ? conf.args[p] : NULL,
		.memory_mb = 64,
		.net = {.netns = conf.target->netns ? lab.netns : NULL, .tap_fd = -1},
	};
}

int conf_start_spec(const struct weft_runtime_spec *spec)
{
	return CALL(OPS->start(lab.rt, spec, conf_on_done, &lab, &lab.err));
}

void conf_start(enum conf_program p)
{
	struct weft_runtime_spec spec;

	if (conf_prepare(conf.image[p]) != 0)
		fail_msg("prepare %s: %s", conf.image[p], lab.err.msg);
	spec = conf_spec(p);
	if (conf_start_spec(&spec) != 0)
		fail_msg("start: %s", lab.err.msg);
}

int conf_stop(unsigned grace_ms)
{
	return CALL(OPS->stop(lab.rt, ID, grace_ms, conf_on_done, &lab, &lab.err));
}

int conf_delete(const char *id)
{
	return CALL(OPS->delete_(lab.rt, id, conf_on_done, &lab, &lab.err));
}

int conf_adopt(void)
{
	struct weft_runtime_spec spec = conf_spec(CONF_SERVE);

	return CALL(OPS->adopt(lab.rt, &spec, conf_on_done, &lab, &lab.err));
}

struct weft_runtime_stats conf_stats(void)
{
	struct weft_runtime_stats s = {0};

	assert_int_equal(OPS->stats(lab.rt, ID, &s), 0);
	return s;
}

uint64_t conf_cpu_used_in(uint64_t ns)
{
	uint64_t end = weft_now_ns() + ns, before = conf_stats().cpu_ns;

	while (weft_now_ns() < end)
		conf_turn(10000);
	return conf_stats().cpu_ns - before;
}

void conf_wait_log(void)
{
	uint64_t end = weft_now_ns() + WAIT_NS;
	bool said = false;

	while (!said) {
		_cleanup_(freep) char *text = NULL;

		said = weft_read_file(lab.log_path, 1 << 20, &text, NULL) == 0 && text[0];
		if (weft_now_ns() > end)
			fail_msg("nothing was written to %s", lab.log_path);
		conf_turn(10000);
	}
}

void conf_assert_gone(void)
{
	struct weft_runtime_stats s;

	assert_int_equal(OPS->stats(lab.rt, ID, &s), -ENOENT);
}

/* --- fixtures ------------------------------------------------------------------------------------
 */

int conf_setup(void **state)
{
	struct weft_err err = {0};

	(void)state;
	memset(&lab, 0, sizeof(lab));
	snprintf(lab.netns, sizeof(lab.netns), "%s/netns", conf.dir);
	snprintf(lab.inst_dir, sizeof(lab.inst_dir), "%s/an,instance's directory", conf.dir);
	snprintf(lab.log_path, sizeof(lab.log_path), "%s/its log.txt", conf.dir);
	if (weft_mkdir_p(lab.inst_dir, 0700) < 0 ||
		(conf.target->netns && weft_netns_add(lab.netns, &err) < 0)) {
		print_message("# %s\n", err.msg);
		return -1;
	}
	conf_daemon_up();
	return 0;
}

int conf_teardown(void **state)
{
	(void)state;
	if (lab.rt) {
		conf_delete(ID);
		conf_delete(OTHER);
		conf_daemon_down();
	}
	weft_netns_del(lab.netns);
	weft_remove_tree(lab.inst_dir);
	unlink(lab.log_path);
	assert_false(conf.target->left && conf.target->left(&conf));
	return 0;
}
