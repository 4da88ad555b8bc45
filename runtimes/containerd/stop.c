/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

struct stop {
	struct ctrd_op op;
	unsigned grace_ms;
	bool killed, paused;
	int signal;
};

static void fail(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	ctrd_op_finish(op, ctrd_op_fail(op, res, "instance %s: stop it", op->id));
}

static void gone(struct ctrd_op *op)
{
	ctrd_instance_free(ctrd_instance_find(op->rt, op->id));
	ctrd_op_finish(op, 0);
}

static void task_deleted(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	if (res->status == WEFT_GRPC_OK || res->status == WEFT_GRPC_NOT_FOUND)
		gone(op);
	else
		fail(op, res);
}

static void signalled(struct ctrd_op *op, const struct weft_grpc_result *res);

static void kill_task(struct ctrd_op *op, int sig, bool all)
{
	Ctrd__KillTaskRequest q = CTRD__KILL_TASK_REQUEST__INIT;

	q.container_id = op->id;
	q.signal = (uint32_t)sig;
	q.all = all;
	ctrd_op_call(op, CTRD_TASK_KILL, &q.base, CTRD_QUICK_MS, signalled);
}

static void waited(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__DeleteTaskRequest q = CTRD__DELETE_TASK_REQUEST__INIT;
	struct stop *stop = (struct stop *)op;

	if (res->status == WEFT_GRPC_DEADLINE_EXCEEDED && !stop->killed) {
		stop->killed = true;
		kill_task(op, SIGKILL, true);
	} else if (res->status == WEFT_GRPC_NOT_FOUND) {
		gone(op);
	} else if (res->status != WEFT_GRPC_OK) {
		fail(op, res);
	} else {
		q.container_id = op->id;
		ctrd_op_call(op, CTRD_TASK_DELETE, &q.base, CTRD_TASK_MS, task_deleted);
	}
}

/* The signal may fail because the process has just ended by itself: Wait knows. */
static void signalled(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct stop *stop = (struct stop *)op;

	if (res->status == WEFT_GRPC_UNAVAILABLE) {
		fail(op, res);
		return;
	}
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_WAIT, &q.base,
		stop->killed || !stop->grace_ms ? CTRD_QUICK_MS : stop->grace_ms, waited);
}

static int stop_signal(const Ctrd__Container *c)
{
	uint64_t n;

	for (size_t i = 0; i < c->n_labels; i++)
		if (strcmp(c->labels[i]->key, CTRD_STOP_SIGNAL_LABEL) == 0 &&
			weft_parse_u64(c->labels[i]->value, 1, (uint64_t)SIGRTMAX, &n) == 0)
			return (int)n;
	return SIGTERM;
}

static void thawed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct stop *stop = (struct stop *)op;

	(void)res; /* it may not have been paused */
	kill_task(op, stop->signal, stop->killed);
}

static void got_container(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ContainerResponse *m = (const Ctrd__ContainerResponse *)res->reply;
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct stop *stop = (struct stop *)op;

	if (res->status == WEFT_GRPC_NOT_FOUND) {
		gone(op);
	} else if (!m) {
		fail(op, res);
	} else {
		stop->killed = stop->grace_ms == 0;
		stop->signal = stop->killed || !m->container ? SIGKILL : stop_signal(m->container);
		if (!stop->paused) {
			kill_task(op, stop->signal, stop->killed);
			return;
		}
		/* What stands still in its cgroup cannot act on a signal. */
		q.container_id = op->id;
		ctrd_op_call(op, CTRD_TASK_RESUME, &q.base, CTRD_TASK_MS, thawed);
	}
}

int ctrd_stop(struct weft_runtime *rt, const char *id, unsigned grace_ms, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	Ctrd__ContainerIdRequest q = CTRD__CONTAINER_ID_REQUEST__INIT;
	struct ctrd_instance *inst;
	struct ctrd_op *op;

	if (!weft_name_valid(id, CTRD_MAX_ID))
		return weft_err_set(err, EINVAL, "instance %s: not a valid name", id);
	op = ctrd_op_new(rt, sizeof(struct stop), id);
	if (!op)
		return weft_err_set(err, ENOMEM, "instance %s: stop: out of memory", id);
	op->done = done;
	op->userdata = userdata;
	((struct stop *)op)->grace_ms = grace_ms;
	inst = ctrd_instance_find(rt, id);
	((struct stop *)op)->paused = !inst || inst->paused;
	if (inst)
		inst->quiet = true;
	q.id = op->id;
	ctrd_op_call(op, CTRD_CONTAINER_GET, &q.base, CTRD_QUICK_MS, got_container);
	return 0;
}
