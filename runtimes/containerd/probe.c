/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "ctrl/base/cleanup.h"
#include "runtimes/containerd/ctrd.h"
#include "runtimes/job.h"

#define RUN_MS  20000
#define RUN_OUT 4096

enum { RUNC, RUNSC, N_CAPS };

struct probe {
	struct ctrd_op op;
	weft_runtime_probed_t probed;
	struct weft_runtime_cap caps[N_CAPS];
	struct weft_job *job;
	char containerd[28]; /* version */
};

static void release(struct ctrd_op *op)
{
	weft_job_free(((struct probe *)op)->job);
}

static void answer(struct probe *p)
{
	weft_runtime_probed_t probed = p->probed;
	struct weft_runtime_cap caps[N_CAPS];
	void *userdata = p->op.userdata;

	memcpy(caps, p->caps, sizeof(caps));
	ctrd_op_free(&p->op);
	probed(userdata, caps, N_CAPS);
}

static void explain(struct weft_runtime_cap *cap, const char *why, const char *hint)
{
	snprintf(cap->detail, sizeof(cap->detail), "%.150s%s%s", why, *hint ? "; " : "", hint);
}

/* Neither runs where containerd does not. */
static void unusable(struct probe *p, const char *why, const char *hint)
{
	for (unsigned i = 0; i < N_CAPS; i++)
		explain(&p->caps[i], why, hint);
	answer(p);
}

/* "NAME version 1.1.5+ds1\n...": true if it is that. */
static bool take_version(struct probe *p, struct weft_runtime_cap *cap, const char *name,
	const struct weft_job_result *r)
{
	size_t n = strlen(name);
	const char *v = r->output;

	if (r->timed_out || !WIFEXITED(r->status) || WEXITSTATUS(r->status) != 0 ||
		strncmp(v, name, n) != 0 || strncmp(v + n, " version ", 9) != 0)
		return false;
	v += n + 9;
	n = strcspn(v, " \n");
	snprintf(cap->version, sizeof(cap->version), "containerd %s, %s %.*s", p->containerd, name,
		n > 20 ? 20 : (int)n, v);
	cap->usable = true;
	return true;
}

static int run(struct probe *p, const char *program, weft_job_done_t done, struct weft_err *err)
{
	const char *const argv[] = {program, "--version", NULL};
	struct weft_process_spec spec = {
		.argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};

	weft_job_free(p->job);
	p->job = NULL;
	return weft_job_run(p->op.rt->event, &spec, RUN_OUT, RUN_MS, done, p, &p->job, err);
}

static void ran_runsc(void *userdata, const struct weft_job_result *result)
{
	struct probe *p = userdata;

	/* weft-runsc says 127 of a runsc that is not there, 126 of a host that cannot sandbox. */
	if (!result->timed_out && WIFEXITED(result->status) && WEXITSTATUS(result->status) == 127)
		explain(&p->caps[RUNSC], "runsc is not installed", "apt-get install runsc");
	else if (!result->timed_out && WIFEXITED(result->status) &&
		 WEXITSTATUS(result->status) == 126)
		explain(&p->caps[RUNSC], "no user namespace can be made here, as in a chroot",
			"run weftd outside of it");
	else if (!take_version(p, &p->caps[RUNSC], "runsc", result))
		explain(&p->caps[RUNSC], "runsc --version failed",
			"apt-get install --reinstall runsc");
	answer(p);
}

static void probe_runsc(struct probe *p)
{
	struct weft_err err = {};

	if (!p->op.rt->runsc)
		explain(&p->caps[RUNSC], "weft-runsc is not known", "start weftd with --libexec");
	else if (run(p, p->op.rt->runsc, ran_runsc, &err) < 0)
		explain(&p->caps[RUNSC], err.msg, "install weft's helper programs");
	else
		return;
	answer(p);
}

static void ran_runc(void *userdata, const struct weft_job_result *result)
{
	struct probe *p = userdata;

	if (!take_version(p, &p->caps[RUNC], "runc", result))
		explain(&p->caps[RUNC], "runc --version failed", "reinstall runc");
	probe_runsc(p);
}

static void got_snapshotter(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct probe *p = (struct probe *)op;
	struct weft_err err = {};

	if (res->status != WEFT_GRPC_OK) {
		unusable(p, res->message, "see containerd's log");
	} else if (run(p, "runc", ran_runc, &err) < 0) {
		explain(&p->caps[RUNC], err.msg, "install runc");
		probe_runsc(p);
	}
}

/* runc changes the propagation of "/", which only a mount point has. In a chroot into a plain
 * directory "/" is not among our mounts. */
static bool root_is_mount(void)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;
	bool found = !f;

	while (f && !found && (m = getmntent(f)))
		found = strcmp(m->mnt_dir, "/") == 0;
	if (f)
		endmntent(f);
	return found;
}

static void got_version(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__VersionResponse *m = (const Ctrd__VersionResponse *)res->reply;
	struct probe *p = (struct probe *)op;

	if (!m) {
		unusable(p, res->message,
			res->status == WEFT_GRPC_UNAVAILABLE ? "start containerd" : "");
		return;
	}
	if (!root_is_mount()) {
		unusable(p, "runc cannot work in a chroot into a plain directory",
			"bind-mount the directory on itself first");
		return;
	}
	snprintf(p->containerd, sizeof(p->containerd), "%s", m->version);
	ctrd_op_snapshotter(op, got_snapshotter);
}

int ctrd_probe(struct weft_runtime *rt, weft_runtime_probed_t done, void *userdata)
{
	struct ctrd_op *op = ctrd_op_new(rt, sizeof(struct probe), NULL);
	Ctrd__Empty q = CTRD__EMPTY__INIT;
	struct probe *p;

	if (!op)
		return -ENOMEM;
	p = (struct probe *)op;
	p->probed = done;
	p->caps[RUNC].virt = WEFT_VIRT_CONTAINER;
	p->caps[RUNSC].virt = WEFT_VIRT_GVISOR;
	p->caps[RUNC].arch = p->caps[RUNSC].arch = weft_arch_host();
	op->userdata = userdata;
	op->release = release;
	ctrd_op_call(op, CTRD_VERSION, &q.base, CTRD_QUICK_MS, got_version);
	return 0;
}
