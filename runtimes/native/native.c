/* SPDX-License-Identifier: Apache-2.0 */
/* A service as a plain process in a network namespace and a cgroup: the baseline that every other
 * virtualization is measured against. It runs with weftd's own privileges. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/deferred.h"
#include "runtimes/native/native_control.h"
#include "runtimes/native/native_image.h"
#include "runtimes/native/native_instance.h"
#include "runtimes/native/native_log.h"
#include "runtimes/process.h"
#include "runtimes/runtime.h"

/* --- the runtime ---------------------------------------------------------------------------------
 */

static void native_free(struct weft_runtime *rt)
{
	if (!rt)
		return;
	weft_deferred_drop_all(&rt->owed);
	weft_native_exec_free_all(rt);
	weft_native_free_all(rt);
	sd_event_unref(rt->event);
	free(rt->cgroup_root);
	free(rt->dir);
	free(rt->logger);
	free(rt);
}
WEFT_DEFINE_CLEANUP(struct weft_runtime *, native_free);

static int native_new(
	const struct weft_runtime_config *config, struct weft_runtime **ret, struct weft_err *err)
{
	_cleanup_(native_freep) struct weft_runtime *rt = calloc(1, sizeof(*rt));
	int r;

	if (!rt)
		return weft_err_set(err, ENOMEM, "runtime native: out of memory");
	rt->event = sd_event_ref(config->event);
	rt->on_event = config->on_event;
	rt->userdata = config->userdata;
	rt->cgroup_root = strdup(config->cgroup_root ? config->cgroup_root : "weft");
	rt->dir = weft_strf("%s/native", config->state_dir);
	rt->logger = config->libexec_dir ? weft_strf("%s/weft-log", config->libexec_dir) : NULL;
	if (!rt->cgroup_root || !rt->dir || (config->libexec_dir && !rt->logger))
		return weft_err_set(err, ENOMEM, "runtime native: out of memory");
	r = weft_mkdir_p(rt->dir, 0700);
	if (r < 0)
		return weft_err_set(err, r, "runtime native: %s: %s", rt->dir, strerror(-r));
	weft_remove_leftovers(rt->dir);
	*ret = TAKE_PTR(rt);
	return 0;
}

/* Trying means making a cgroup; programs need nothing more that weftd does not need itself. */
static int native_probe(struct weft_runtime *rt, weft_runtime_probed_t done, void *userdata)
{
	struct weft_runtime_cap cap = {.virt = WEFT_VIRT_NATIVE, .arch = weft_arch_host()};
	_cleanup_(freep) char *group = weft_strf("%s/native-probe", rt->cgroup_root);
	struct weft_cgroup_limits limits = {.memory_bytes = 1 << 20, .cpu_milli = 1000};
	struct weft_deferred *d;
	struct weft_err err = {};
	struct utsname uts;
	int r;

	if (!group)
		return -ENOMEM;
	r = weft_deferred_probed(&rt->owed, rt->event, done, userdata, &d);
	if (r < 0)
		return r;
	r = weft_cgroup_create(group, &limits, &err);
	(void)weft_cgroup_destroy(group);
	cap.usable = r == 0;
	if (r < 0)
		snprintf(cap.detail, sizeof(cap.detail), "%.120s; %.60s", err.msg,
			err.hint[0] ? err.hint : "run weftd as root");
	if (uname(&uts) == 0)
		snprintf(cap.version, sizeof(cap.version), "%.12s %.48s", uts.sysname, uts.release);
	weft_deferred_post_probed(d, &cap, 1);
	return 0;
}

static int native_prepare(struct weft_runtime *rt, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err)
{
	struct weft_deferred *d;
	const char *path = NULL;
	uint64_t size = 0;
	int r;

	r = image ? weft_native_image_check(image, arch, &path, &size, err) : 0;
	if (r < 0)
		return r;
	r = weft_deferred_prepared(&rt->owed, rt->event, done, userdata, &d);
	if (r < 0)
		return weft_err_set(err, r, "program %s: %s", image ? image : "", strerror(-r));
	weft_deferred_post_prepared(d, 0, NULL, path, size);
	return 0;
}

/* --- start ---------------------------------------------------------------------------------------
 */

/* The instance's environment; PATH and LANG are there even if it does not say so. Only the vector
 * is the caller's to free. */
static const char **environment(const char *const *env)
{
	static const char *const defaults[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8"};
	size_t n = 0, at = 0;
	const char **all;

	while (env && env[n])
		n++;
	all = calloc(n + ARRAY_SIZE(defaults) + 1, sizeof(*all));
	if (!all)
		return NULL;
	for (size_t i = 0; i < n; i++)
		all[at++] = env[i];
	for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
		size_t name = strcspn(defaults[i], "=") + 1, k = 0;

		while (k < n && strncmp(env[k], defaults[i], name) != 0)
			k++;
		if (k == n)
			all[at++] = defaults[i];
	}
	return all;
}

/* Where its output goes: to the log's writer, or where there is none, into the file. */
static int open_log(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	struct weft_native_new *n, int *ret, struct weft_err *err)
{
	_cleanup_(freep) char *cgroup = weft_native_log_cgroup(n->cgroup);
	const struct weft_native_log log = {
		.id = spec->id,
		.program = rt->logger,
		.path = spec->log_path,
		.max_bytes = spec->log_max_bytes,
		.cgroup = cgroup,
	};
	int fd;

	if (!cgroup)
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", spec->id);
	if (rt->logger && spec->log_path)
		return weft_native_log_start(&log, &n->log_pid, &n->log_pidfd, ret, err);
	fd = open(spec->log_path ? spec->log_path : "/dev/null",
		O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
		return weft_err_set(
			err, errno, "instance %s: log %s: %m", spec->id, spec->log_path);
	*ret = fd;
	return 0;
}

static int spawn(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	struct weft_native_new *n, struct weft_err *err)
{
	const char *const image_only[] = {spec->image, NULL};
	_cleanup_(freep) const char **env = environment(spec->env);
	_cleanup_(closep) int log = -1;
	struct weft_process_spec p = {
		.argv = spec->args && spec->args[0] ? spec->args : image_only,
		.env = env,
		.cwd = spec->dir,
		.netns = spec->net.netns,
		.cgroup = n->cgroup,
		.stdin_fd = -1,
	};
	int r;

	if (!p.argv[0]) {
		weft_err_set(err, EINVAL, "instance %s: no program to run", spec->id);
		weft_err_hint(err, "a native variant needs `cmd` or `code`");
		return -EINVAL;
	}
	if (!env)
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", spec->id);
	r = open_log(rt, spec, n, &log, err);
	if (r < 0)
		return r;
	p.stdout_fd = p.stderr_fd = log;
	return weft_process_spawn(&p, &n->pid, &n->pidfd, err);
}

static void kill_and_reap(pid_t pid)
{
	if (pid == 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* From a fresh cgroup to a recorded and watched process. */
static int launch(struct weft_runtime *rt, const struct weft_runtime_spec *spec, const char *cgroup,
	struct weft_err *err)
{
	struct weft_native_new n = {.id = spec->id, .cgroup = cgroup, .pidfd = -1, .log_pidfd = -1};
	struct weft_cgroup_limits limits = {
		.memory_bytes = (uint64_t)spec->memory_mb << 20,
		.cpu_milli = spec->limits.cpu_milli ? spec->limits.cpu_milli : spec->vcpus * 1000,
		.cpu_weight = spec->limits.cpu_weight,
		.pids = spec->limits.pids,
	};
	int r;

	r = weft_cgroup_create(cgroup, &limits, err);
	if (r == 0)
		r = spawn(rt, spec, &n, err);
	if (r < 0) {
		closep(&n.log_pidfd);
		kill_and_reap(n.log_pid);
		return r;
	}
	r = weft_native_add(rt, &n);
	if (r < 0) {
		kill_and_reap(n.pid);
		kill_and_reap(n.log_pid);
		return weft_err_set(err, r, "instance %s: record it below %s: %s", spec->id,
			rt->dir, strerror(-r));
	}
	return 0;
}

static int native_start(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	_cleanup_(freep) char *cgroup = NULL;
	struct weft_deferred *d;
	struct weft_native *inst;
	int r;

	r = weft_native_cgroup(rt, spec->id, &cgroup);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", spec->id, strerror(-r));
	r = weft_native_get(rt, spec->id, &inst);
	if (r == 0)
		return weft_err_set(err, EEXIST, "instance %s: runs already, pid %d", spec->id,
			(int)inst->rec.pid);
	if (r != -ENOENT)
		return weft_err_set(err, r, "instance %s: %s", spec->id, strerror(-r));
	/* A daemon killed between fork and record leaves a process that only its cgroup tells of.
	 */
	r = weft_native_sweep(rt, spec->id);
	if (r < 0)
		return weft_err_set(err, r,
			"instance %s: remove what is left of an earlier one: %s", spec->id,
			strerror(-r));
	r = weft_deferred_done(&rt->owed, rt->event, done, userdata, &d);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", spec->id, strerror(-r));
	r = launch(rt, spec, cgroup, err);
	if (r < 0) {
		weft_deferred_drop(d);
		(void)weft_native_sweep(rt, spec->id);
		return r;
	}
	weft_deferred_post(d, 0, NULL);
	return 0;
}

static int native_adopt(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	struct weft_err why = {};
	struct weft_deferred *d;
	struct weft_native *inst;
	int r;

	r = weft_deferred_done(&rt->owed, rt->event, done, userdata, &d);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", spec->id, strerror(-r));
	r = weft_native_get(rt, spec->id, &inst);
	if (r < 0)
		weft_err_set(&why, r, "instance %s: %s", spec->id,
			r == -ENOENT ? "its process is gone" : strerror(-r));
	weft_deferred_post(d, r, &why);
	return 0;
}

/* --- stop ----------------------------------------------------------------------------------------
 */

static void kill_now(struct weft_native *inst)
{
	/* Whatever it forked is killed with the cgroup, once it has ended. */
	(void)pidfd_send_signal(inst->pidfd, SIGKILL, NULL, 0);
}

static int on_grace(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	kill_now(userdata);
	return 0;
}

/* SIGTERM now and SIGKILL after the grace period; a later call may only shorten it. */
static int ask_to_end(struct weft_native *inst, unsigned grace_ms)
{
	uint64_t usec = (uint64_t)grace_ms * 1000, now, at;
	int r;

	if (grace_ms == 0) {
		kill_now(inst);
		return 0;
	}
	if (!inst->grace) {
		r = sd_event_add_time_relative(
			inst->rt->event, &inst->grace, CLOCK_MONOTONIC, usec, 1000, on_grace, inst);
		if (r < 0)
			return r;
	} else if (sd_event_now(inst->rt->event, CLOCK_MONOTONIC, &now) >= 0 &&
		   sd_event_source_get_time(inst->grace, &at) >= 0 && now + usec < at) {
		r = sd_event_source_set_time(inst->grace, now + usec);
		if (r < 0)
			return r;
	}
	if (pidfd_send_signal(inst->pidfd, SIGTERM, NULL, 0) < 0 && errno != ESRCH)
		return -errno;
	(void)weft_cgroup_signal(inst->rec.cgroup, SIGCONT); /* who is paused hears nothing */
	return 0;
}

/* stop() and delete_(): end it if it runs, and answer when nothing is left. */
static int end(struct weft_runtime *rt, const char *id, unsigned grace_ms, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct weft_deferred *d = NULL;
	struct weft_native *inst;
	int r;

	r = weft_deferred_done(&rt->owed, rt->event, done, userdata, &d);
	if (r == 0) {
		r = weft_native_get(rt, id, &inst);
		if (r == -ENOENT) {
			weft_deferred_post(d, weft_native_sweep(rt, id), NULL);
			return 0;
		}
	}
	if (r == 0)
		r = weft_native_wait(inst, d);
	if (r < 0) {
		weft_deferred_drop(d);
		return weft_err_set(err, r, "instance %s: %s", id, strerror(-r));
	}
	r = ask_to_end(inst, grace_ms);
	if (r < 0)
		kill_now(inst); /* no grace is better than no end */
	return 0;
}

static int native_stop(struct weft_runtime *rt, const char *id, unsigned grace_ms,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	return end(rt, id, grace_ms, done, userdata, err);
}

static int native_delete(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	return end(rt, id, 0, done, userdata, err);
}

static int native_stats(struct weft_runtime *rt, const char *id, struct weft_runtime_stats *ret)
{
	struct weft_runtime_stats stats = {};
	struct weft_native *inst = weft_native_find(rt, id);
	_cleanup_(freep) char *log = NULL;
	int r;

	if (!inst || inst->over)
		return -ENOENT;
	r = weft_cgroup_read(inst->rec.cgroup, &stats.cpu_ns, &stats.memory_bytes);
	if (r < 0)
		return r;
	stats.pid = (uint32_t)inst->rec.pid;
	log = weft_native_log_cgroup(inst->rec.cgroup);
	if (log && inst->log_watch)
		(void)weft_cgroup_read(log, &stats.helper_cpu_ns, &stats.helper_memory_bytes);
	*ret = stats;
	return 0;
}

const struct weft_runtime_ops weft_runtime_native = {
	.name = "native",
	.new_ = native_new,
	.free_ = native_free,
	.probe = native_probe,
	.prepare = native_prepare,
	.start = native_start,
	.adopt = native_adopt,
	.stop = native_stop,
	.delete_ = native_delete,
	.stats = native_stats,
	.pause = weft_native_pause,
	.resume = weft_native_resume,
	.kill = weft_native_kill,
	.exec = weft_native_exec,
	.exec_end = weft_native_exec_end,
};
