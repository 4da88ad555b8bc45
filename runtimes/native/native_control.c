/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to a running instance: stand still, go on, get a signal, run something beside it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/job.h"
#include "runtimes/native/native_control.h"

#define OUTPUT_MAX (64 << 10)

static int not_running(const char *id, struct weft_err *err)
{
	return weft_err_set(err, ENOENT, "instance %s: not running", id);
}

static int signal_all(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct weft_native *inst;
	struct weft_deferred *d;
	int r = weft_native_get(rt, id, &inst);

	if (r < 0)
		return not_running(id, err);
	r = weft_deferred_done(&rt->owed, rt->event, done, userdata, &d);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", id, strerror(-r));
	weft_deferred_post(d, weft_cgroup_signal(inst->rec.cgroup, signal), NULL);
	return 0;
}

int weft_native_pause(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	return signal_all(rt, id, SIGSTOP, done, userdata, err);
}

int weft_native_resume(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	return signal_all(rt, id, SIGCONT, done, userdata, err);
}

int weft_native_kill(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct weft_native *inst;
	struct weft_deferred *d;
	int r = weft_native_get(rt, id, &inst);

	if (r < 0)
		return not_running(id, err);
	r = weft_deferred_done(&rt->owed, rt->event, done, userdata, &d);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", id, strerror(-r));
	r = pidfd_send_signal(inst->pidfd, signal, NULL, 0) < 0 && errno != ESRCH ? -errno : 0;
	weft_deferred_post(d, r, NULL);
	return 0;
}

/* --- exec ----------------------------------------------------------------------------------------
 */

struct weft_native_exec {
	struct weft_native_exec *prev, *next;
	struct weft_runtime *rt;
	struct weft_job *job;
	weft_runtime_executed_t done;
	void *userdata;
	char *id;
	unsigned timeout_ms;
	bool unwanted;
};

static void exec_free(struct weft_native_exec *x)
{
	if (x->prev)
		x->prev->next = x->next;
	else if (x->rt->execs == x)
		x->rt->execs = x->next;
	if (x->next)
		x->next->prev = x->prev;
	weft_job_free(x->job);
	free(x->id);
	free(x);
}

void weft_native_exec_free_all(struct weft_runtime *rt)
{
	while (rt->execs)
		exec_free(rt->execs);
}

static void on_executed(void *userdata, const struct weft_job_result *result)
{
	struct weft_native_exec *x = userdata;
	struct weft_err err = {0};
	int r = 0, status = WIFEXITED(result->status) ? WEXITSTATUS(result->status)
						      : 128 + WTERMSIG(result->status);

	/* What a program writes beyond the limit is cut, and so is the program. */
	if (x->unwanted)
		r = weft_err_set(
			&err, ECANCELED, "instance %s: exec: killed, nobody waits for it", x->id);
	else if (result->timed_out)
		r = weft_err_set(&err, ETIMEDOUT, "instance %s: exec: not done in %u ms", x->id,
			x->timeout_ms);
	x->done(x->userdata, r, &err, status, result->output, result->size);
	exec_free(x);
}

void weft_native_exec_end(struct weft_runtime *rt, void *userdata)
{
	for (struct weft_native_exec *x = rt->execs; x; x = x->next)
		if (x->userdata == userdata) {
			x->unwanted = true;
			weft_job_kill(x->job);
		}
}

int weft_native_exec(struct weft_runtime *rt, const char *id, const char *const *argv,
	unsigned timeout_ms, weft_runtime_executed_t done, void *userdata, struct weft_err *err)
{
	struct weft_native_exec *x;
	struct weft_native *inst;
	char netns[48], cwd[48];
	struct weft_process_spec spec = {.argv = argv,
		.netns = netns,
		.cwd = cwd,
		.stdin_fd = -1,
		.stderr_fd = WEFT_JOB_STDERR_TOO};
	int r = weft_native_get(rt, id, &inst);

	if (r < 0)
		return not_running(id, err);
	if (!argv || !argv[0])
		return weft_err_set(err, EINVAL, "instance %s: exec: no program", id);
	x = calloc(1, sizeof(*x));
	if (!x || !(x->id = strdup(id))) {
		free(x);
		return weft_err_set(err, ENOMEM, "instance %s: exec: out of memory", id);
	}
	x->rt = rt;
	x->done = done;
	x->userdata = userdata;
	x->timeout_ms = timeout_ms;
	snprintf(netns, sizeof(netns), "/proc/%d/ns/net", (int)inst->rec.pid);
	snprintf(cwd, sizeof(cwd), "/proc/%d/cwd", (int)inst->rec.pid);
	spec.cgroup = inst->rec.cgroup;
	x->next = rt->execs;
	if (x->next)
		x->next->prev = x;
	rt->execs = x;
	r = weft_job_run(rt->event, &spec, OUTPUT_MAX, timeout_ms, on_executed, x, &x->job, err);
	if (r < 0)
		exec_free(x);
	return r;
}
