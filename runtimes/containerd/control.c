/* SPDX-License-Identifier: Apache-2.0 */
/* Pause, resume, kill. What an instance is asked for by us is no event: so it is noted before the
 * call that it is paused, and taken back when that fails. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

struct control {
	struct ctrd_op op;
	bool pause; /* wanted */
	bool counted;
	int signal;
};

static struct control *control_of(struct ctrd_op *op)
{
	return (struct control *)op;
}

static void release(struct ctrd_op *op)
{
	struct ctrd_instance *inst = ctrd_instance_find(op->rt, op->id);

	if (inst && control_of(op)->counted)
		inst->changing--;
}

static int new_op(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct control **ret, struct weft_err *err)
{
	struct ctrd_op *op;

	if (!weft_name_valid(id, CTRD_MAX_ID))
		return weft_err_set(err, EINVAL, "instance %s: not a valid name", id);
	op = ctrd_op_new(rt, sizeof(struct control), id);
	if (!op)
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", id);
	op->done = done;
	op->userdata = userdata;
	op->release = release;
	*ret = control_of(op);
	return 0;
}

static int not_running(struct ctrd_op *op)
{
	weft_err_set(&op->err, ENOENT, "instance %s is not running", op->id);
	return -ENOENT;
}

/* --- pause and resume ----------------------------------------------------------------------------
 */

static const char *verb(const struct ctrd_op *op)
{
	return ((const struct control *)op)->pause ? "pause" : "resume";
}

static void settle(struct ctrd_op *op, bool paused)
{
	struct ctrd_instance *inst = ctrd_instance_find(op->rt, op->id);

	if (inst)
		inst->paused = paused;
}

/* The call has failed: perhaps since it is so already. */
static void got_state(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__GetTaskResponse *m = (const Ctrd__GetTaskResponse *)res->reply;
	enum _Ctrd__TaskStatus status =
		m && m->process ? m->process->status : CTRD__TASK_STATUS__UNKNOWN;
	bool paused = status == CTRD__TASK_STATUS__PAUSED;

	if (m)
		settle(op, paused);
	if (m && (paused || status == CTRD__TASK_STATUS__RUNNING)) {
		if (paused == control_of(op)->pause)
			ctrd_op_finish(op, 0);
		else
			ctrd_op_finish(op, -op->err.code);
	} else if (m || res->status == WEFT_GRPC_NOT_FOUND) {
		ctrd_op_finish(op, not_running(op));
	} else {
		ctrd_op_finish(op, ctrd_op_fail(op, res, "instance %s: %s it", op->id, verb(op)));
	}
}

static void changed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	if (res->status == WEFT_GRPC_OK) {
		ctrd_op_finish(op, 0);
		return;
	}
	settle(op, !control_of(op)->pause);
	ctrd_op_fail(op, res, "instance %s: %s it", op->id, verb(op));
	if (res->status == WEFT_GRPC_UNAVAILABLE) {
		ctrd_op_finish(op, -op->err.code);
		return;
	}
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_GET, &q.base, CTRD_QUICK_MS, got_state);
}

static int change(struct weft_runtime *rt, const char *id, bool pause, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct ctrd_instance *inst;
	struct control *c;
	int r = new_op(rt, id, done, userdata, &c, err);

	if (r < 0)
		return r;
	c->pause = pause;
	inst = ctrd_instance_find(rt, id);
	if (inst) {
		inst->paused = pause;
		inst->changing++;
		c->counted = true;
	}
	q.container_id = c->op.id;
	ctrd_op_call(
		&c->op, pause ? CTRD_TASK_PAUSE : CTRD_TASK_RESUME, &q.base, CTRD_TASK_MS, changed);
	return 0;
}

int ctrd_pause(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err)
{
	return change(rt, id, true, done, userdata, err);
}

int ctrd_resume(struct weft_runtime *rt, const char *id, weft_runtime_done_t done, void *userdata,
	struct weft_err *err)
{
	return change(rt, id, false, done, userdata, err);
}

/* --- kill ----------------------------------------------------------------------------------------
 */

/* runsc fails to signal what has ended, runc does not find it. */
static void got_end(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__GetTaskResponse *m = (const Ctrd__GetTaskResponse *)res->reply;

	if (res->status == WEFT_GRPC_NOT_FOUND ||
		(m && m->process && m->process->status == CTRD__TASK_STATUS__STOPPED))
		ctrd_op_finish(op, not_running(op));
	else
		ctrd_op_finish(op, -op->err.code);
}

static void killed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	if (res->status == WEFT_GRPC_OK) {
		ctrd_op_finish(op, 0);
		return;
	}
	if (res->status == WEFT_GRPC_NOT_FOUND) {
		ctrd_op_finish(op, not_running(op));
		return;
	}
	ctrd_op_fail(op, res, "instance %s: kill it", op->id);
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_GET, &q.base, CTRD_QUICK_MS, got_end);
}

static void send_signal(struct ctrd_op *op)
{
	Ctrd__KillTaskRequest q = CTRD__KILL_TASK_REQUEST__INIT;

	q.container_id = op->id;
	q.signal = (uint32_t)control_of(op)->signal;
	ctrd_op_call(op, CTRD_TASK_KILL, &q.base, CTRD_QUICK_MS, killed);
}

static void thawed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res; /* whatever it says, the signal is tried */
	send_signal(op);
}

int ctrd_kill(struct weft_runtime *rt, const char *id, int signal, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct ctrd_instance *inst;
	struct control *c;
	int r;

	if (signal < 1 || signal > SIGRTMAX)
		return weft_err_set(err, EINVAL, "instance %s: %d is no signal", id, signal);
	r = new_op(rt, id, done, userdata, &c, err);
	if (r < 0)
		return r;
	c->signal = signal;
	inst = ctrd_instance_find(rt, id);
	if (signal != SIGKILL || !inst || !inst->paused) {
		send_signal(&c->op);
		return 0;
	}
	/* What stands still in its cgroup does not even die. */
	inst->paused = false;
	q.container_id = c->op.id;
	ctrd_op_call(&c->op, CTRD_TASK_RESUME, &q.base, CTRD_TASK_MS, thawed);
	return 0;
}
