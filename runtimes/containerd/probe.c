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

#define RUNC_MS  5000
#define RUNC_OUT 4096

struct probe {
	struct ctrd_op op;
	weft_runtime_probed_t probed;
	struct weft_runtime_cap cap;
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
	struct weft_runtime_cap cap = p->cap;
	void *userdata = p->op.userdata;

	ctrd_op_free(&p->op);
	probed(userdata, &cap, 1);
}

static void unusable(struct probe *p, const char *why, const char *hint)
{
	snprintf(p->cap.detail, sizeof(p->cap.detail), "%.150s%s%s", why, *hint ? "; " : "", hint);
	answer(p);
}

/* "runc version 1.1.5+ds1\n..." */
static void ran_runc(void *userdata, const struct weft_job_result *result)
{
	static const char prefix[] = "runc version ";
	struct probe *p = userdata;
	const char *v = result->output;
	size_t n;

	if (result->timed_out || !WIFEXITED(result->status) || WEXITSTATUS(result->status) != 0 ||
		strncmp(v, prefix, strlen(prefix)) != 0) {
		unusable(p, "runc --version failed", "reinstall runc");
		return;
	}
	v += strlen(prefix);
	n = strcspn(v, " \n");
	snprintf(p->cap.version, sizeof(p->cap.version), "containerd %s, runc %.*s", p->containerd,
		n > 20 ? 20 : (int)n, v);
	p->cap.usable = true;
	answer(p);
}

static void got_snapshotter(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	static const char *const argv[] = {"runc", "--version", NULL};
	struct weft_process_spec spec = {
		.argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
	struct probe *p = (struct probe *)op;
	struct weft_err err = {};

	if (res->status != WEFT_GRPC_OK)
		unusable(p, res->message, "see containerd's log");
	else if (weft_job_run(op->rt->event, &spec, RUNC_OUT, RUNC_MS, ran_runc, p, &p->job, &err) <
		 0)
		unusable(p, err.msg, "install runc");
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
	p->cap.virt = WEFT_VIRT_CONTAINER;
	p->cap.arch = weft_arch_host();
	op->userdata = userdata;
	op->release = release;
	ctrd_op_call(op, CTRD_VERSION, &q.base, CTRD_QUICK_MS, got_version);
	return 0;
}
