/* SPDX-License-Identifier: Apache-2.0 */
/* Removing an instance, whatever there is of it: a task in any state, a container record, a
 * snapshot, runc's state, a cgroup. Every step takes "not found" for done, so the same steps serve
 * delete(), a start() that failed half way, and cleaning up after a crash. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/containerd/ctrd.h"
#include "runtimes/containerd/runsc_id.h"

static void failed(struct ctrd_op *op, const struct weft_grpc_result *res, const char *what)
{
	op->removed(op, ctrd_op_fail(op, res, "instance %s: %s", op->id, what));
}

/* runsc keeps two files where runc has a directory. */
static int remove_runsc_files(const char *root, const char *sandbox)
{
	static const char *const suffixes[] = {"state", "lock"};

	for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
		_cleanup_(freep) char *path =
			weft_strf("%s/%s_sandbox:%s.%s", root, sandbox, sandbox, suffixes[i]);

		if (!path)
			return -ENOMEM;
		if (unlink(path) < 0 && errno != ENOENT && errno != ENOTDIR)
			return -errno;
	}
	return 0;
}

/* Under its own name, and under the container's, which it had with earlier versions. */
static int remove_runsc_state(const struct weft_runtime *rt, const char *id)
{
	_cleanup_(freep) char *root = weft_strf("%s/%s", rt->runc_dir, rt->namespace_);
	_cleanup_(freep) char *sandbox = root ? weft_runsc_id(root, id) : NULL;
	int r = sandbox ? remove_runsc_files(root, sandbox) : -ENOMEM;

	return r < 0 ? r : remove_runsc_files(root, id);
}

/* containerd does not look at these when the task is not its own any more: after a reboot, or when
 * its state directory was lost. */
static void remove_rest(struct ctrd_op *op)
{
	struct weft_runtime *rt = op->rt;
	_cleanup_(freep) char *runc = weft_strf("%s/%s/%s", rt->runc_dir, rt->namespace_, op->id);
	_cleanup_(freep) char *cgroup = weft_strf("%s/%s", rt->cgroup_root, op->id);
	int r = runc && cgroup ? weft_remove_tree(runc) : -ENOMEM;

	if (r == 0)
		r = remove_runsc_state(rt, op->id);

	if (r == 0)
		r = weft_cgroup_destroy(cgroup);
	if (r < 0)
		weft_err_set(&op->err, r, "instance %s: clean up: %s", op->id, strerror(-r));
	op->removed(op, r);
}

static void remove_snapshot(struct ctrd_op *op);

static void snapshot_removed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	/* A snapshotter that containerd has not loaded is an invalid argument. */
	if (res->status != WEFT_GRPC_OK && res->status != WEFT_GRPC_NOT_FOUND &&
		res->status != WEFT_GRPC_INVALID_ARGUMENT) {
		failed(op, res, "remove its snapshot");
		return;
	}
	op->snapshotter++;
	remove_snapshot(op);
}

static void remove_snapshot(struct ctrd_op *op)
{
	Ctrd__SnapshotRequest q = CTRD__SNAPSHOT_REQUEST__INIT;

	if (!ctrd_snapshotters[op->snapshotter]) {
		remove_rest(op);
		return;
	}
	q.snapshotter = (char *)(uintptr_t)ctrd_snapshotters[op->snapshotter];
	q.key = op->id;
	ctrd_op_call(op, CTRD_SNAPSHOT_REMOVE, &q.base, CTRD_TASK_MS, snapshot_removed);
}

static void container_deleted(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	if (res->status != WEFT_GRPC_OK && res->status != WEFT_GRPC_NOT_FOUND) {
		failed(op, res, "delete its container");
		return;
	}
	op->snapshotter = 0;
	remove_snapshot(op);
}

static void task_deleted(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__ContainerIdRequest q = CTRD__CONTAINER_ID_REQUEST__INIT;

	if (res->status != WEFT_GRPC_OK && res->status != WEFT_GRPC_NOT_FOUND) {
		failed(op, res, "delete its task");
		return;
	}
	q.id = op->id;
	ctrd_op_call(op, CTRD_CONTAINER_DELETE, &q.base, CTRD_QUICK_MS, container_deleted);
}

static void task_ended(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__DeleteTaskRequest q = CTRD__DELETE_TASK_REQUEST__INIT;

	if (res->status == WEFT_GRPC_UNAVAILABLE) {
		failed(op, res, "wait for its end");
		return;
	}
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_DELETE, &q.base, CTRD_TASK_MS, task_deleted);
}

static void wait_task(struct ctrd_op *op)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_WAIT, &q.base, CTRD_QUICK_MS, task_ended);
}

/* runsc kills no sandbox whose start failed: it stays "created", and its process is ours to end. */
static void task_state(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__GetTaskResponse *m = (const Ctrd__GetTaskResponse *)res->reply;

	if (res->status == WEFT_GRPC_UNAVAILABLE) {
		failed(op, res, "kill it");
		return;
	}
	if (m && m->process && m->process->status == CTRD__TASK_STATUS__CREATED &&
		m->process->pid > 1 && m->process->pid <= INT_MAX)
		(void)kill((pid_t)m->process->pid, SIGKILL);
	wait_task(op);
}

/* Killing may fail because it is dead already: whether it is, Wait and Delete know. */
static void task_killed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	if (res->status == WEFT_GRPC_UNAVAILABLE) {
		failed(op, res, "kill it");
	} else if (res->status == WEFT_GRPC_OK || res->status == WEFT_GRPC_NOT_FOUND) {
		wait_task(op);
	} else {
		q.container_id = op->id;
		ctrd_op_call(op, CTRD_TASK_GET, &q.base, CTRD_QUICK_MS, task_state);
	}
}

static void kill_task(struct ctrd_op *op)
{
	Ctrd__KillTaskRequest q = CTRD__KILL_TASK_REQUEST__INIT;

	q.container_id = op->id;
	q.signal = SIGKILL;
	q.all = true;
	ctrd_op_call(op, CTRD_TASK_KILL, &q.base, CTRD_QUICK_MS, task_killed);
}

static void thawed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res; /* it may not have been paused, or not be there */
	kill_task(op);
}

/* A paused one does not die of signals under runc, nor is it deleted under runsc. */
void ctrd_op_remove(struct ctrd_op *op, void (*removed)(struct ctrd_op *op, int r))
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	op->removed = removed;
	if (!op->paused) {
		kill_task(op);
		return;
	}
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_RESUME, &q.base, CTRD_TASK_MS, thawed);
}

/* --- undo ----------------------------------------------------------------------------------------
 */

void ctrd_op_park(struct ctrd_op *op, void (*unpark)(struct ctrd_op *op))
{
	op->done = NULL;
	op->unpark = unpark;
	ctrd_op_move(op, &op->rt->parked);
}

void ctrd_unpark(struct weft_runtime *rt)
{
	struct ctrd_op *op;

	while ((op = TAILQ_FIRST(&rt->parked))) {
		ctrd_op_move(op, &rt->ops);
		op->unpark(op);
	}
}

static void undo(struct ctrd_op *op);

static void undone(struct ctrd_op *op, int r)
{
	weft_runtime_done_t done = op->done;
	void *userdata = op->userdata;
	struct weft_err err = op->cause;

	if (r == 0 || r != -ECONNREFUSED)
		ctrd_op_free(op);
	else
		ctrd_op_park(op, undo);
	if (done)
		done(userdata, -err.code, &err);
}

static void got_owner(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	if (res->status == WEFT_GRPC_NOT_FOUND)
		ctrd_op_remove(op, undone);
	else
		undone(op, res->status == WEFT_GRPC_UNAVAILABLE ? -ECONNREFUSED : 0);
}

static void undo(struct ctrd_op *op)
{
	Ctrd__ContainerIdRequest q = CTRD__CONTAINER_ID_REQUEST__INIT;

	if (!op->unsure) {
		ctrd_op_remove(op, undone);
		return;
	}
	q.id = op->id;
	ctrd_op_call(op, CTRD_CONTAINER_GET, &q.base, CTRD_QUICK_MS, got_owner);
}

void ctrd_op_undo(struct ctrd_op *op)
{
	if (!op->unsure)
		ctrd_instance_free(ctrd_instance_find(op->rt, op->id));
	op->cause = op->err;
	if (!op->cause.code)
		weft_err_set(&op->cause, ENOMEM, "instance %s: out of memory", op->id);
	undo(op);
}

/* --- delete --------------------------------------------------------------------------------------
 */

int ctrd_delete(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err)
{
	struct ctrd_instance *inst;
	struct ctrd_op *op;

	if (!weft_name_valid(id, CTRD_MAX_ID))
		return weft_err_set(err, EINVAL, "instance %s: not a valid name", id);
	op = ctrd_op_new(rt, sizeof(*op), id);
	if (!op)
		return weft_err_set(err, ENOMEM, "instance %s: delete: out of memory", id);
	op->done = done;
	op->userdata = userdata;
	inst = ctrd_instance_find(rt, id);
	op->paused = !inst || inst->paused;
	ctrd_instance_free(inst);
	ctrd_op_remove(op, ctrd_op_finish);
	return 0;
}
