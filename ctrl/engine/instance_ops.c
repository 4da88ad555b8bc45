/* SPDX-License-Identifier: Apache-2.0 */
/* What people have done to an instance and wait for: pause, resume, exec. The runtime answers
 * later; whoever asked may be gone by then, and the instance too. */
#include <errno.h>
#include <string.h>

#include "ctrl/engine/internal.h"

#define MAX_CALLS 128 /* as many as both listeners of the API have */

static void free_call(struct weft_engine_call *call)
{
	for (struct weft_engine_call **p = &call->engine->calls; *p; p = &(*p)->next)
		if (*p == call) {
			*p = call->next;
			break;
		}
	free(call->instance);
	free(call);
}

void engine_calls_free(struct weft_engine *e)
{
	while (e->calls)
		free_call(e->calls);
}

void weft_engine_call_forget(struct weft_engine_call *call)
{
	if (call)
		call->done = NULL;
}

void weft_engine_call_end(struct weft_engine_call *call)
{
	struct runtime_slot *slot;

	if (!call)
		return;
	call->done = NULL;
	slot = call->kind == WEFT_ENGINE_EXEC ? engine_runtime(call->engine, call->virt) : NULL;
	if (slot && slot->ops->exec_end)
		slot->ops->exec_end(slot->rt, call);
}

void engine_call_finish(
	struct weft_engine_call *call, int r, const struct weft_err *err, json_t *doc)
{
	weft_engine_done_t done = call->done;
	void *userdata = call->userdata;

	free_call(call);
	if (done)
		done(userdata, r, err, doc);
	else
		json_decref(doc);
}

/* --- pause and resume ----------------------------------------------------------------------------
 */

void instance_set_paused(struct instance *inst, bool paused)
{
	if (inst->paused == paused)
		return;
	inst->paused = paused;
	weft_events_add(
		inst->engine->events, "instance", paused ? "paused" : "resumed", inst->name, NULL);
	if (inst->service)
		service_weigh(inst->service); /* nobody is sent to what does not answer */
}

static void on_changed(void *userdata, int r, const struct weft_err *err)
{
	struct weft_engine_call *call = userdata;
	struct instance *inst = instance_find(call->engine, call->instance);
	struct weft_err why = *err;

	if (r == 0 && !inst)
		r = weft_err_set(&why, ENOENT, "instance %s is gone", call->instance);
	if (r == 0)
		instance_set_paused(inst, call->kind == WEFT_ENGINE_PAUSE);
	engine_call_finish(call, r, &why, r == 0 ? view_instance(inst) : NULL);
}

/* --- exec ----------------------------------------------------------------------------------------
 */

static void on_executed(void *userdata, int r, const struct weft_err *err, int status,
	const char *output, size_t size)
{
	struct weft_engine_call *call = userdata;
	_cleanup_(freep) char *text = malloc(size + 1);
	struct weft_err why = *err;
	json_t *doc = NULL;

	if (r == 0 && !text)
		r = weft_err_set(&why, ENOMEM, "instance %s: exec: out of memory", call->instance);
	if (r == 0) {
		for (size_t i = 0; i < size; i++)
			text[i] = output[i] ? output[i] : '?';
		text[size] = '\0';
		doc = json_pack("{s:i, s:s}", "status", status, "output", weft_text_clean(text));
	}
	engine_call_finish(call, r, &why, doc);
}

/* --- begin ---------------------------------------------------------------------------------------
 */

static int cannot(const struct instance *inst, const char *what, struct weft_err *err)
{
	weft_err_set(err, ENOTSUP, "instance %s: %s is nothing that a %s can do", inst->name, what,
		instance_kind(inst));
	return weft_err_hint(err, "weft instance logs %s shows what it wrote", inst->name);
}

static int check(const struct instance *inst, enum weft_engine_op_kind kind, struct weft_err *err)
{
	static const char *const names[] = {
		[WEFT_ENGINE_PAUSE] = "pause",
		[WEFT_ENGINE_RESUME] = "resume",
		[WEFT_ENGINE_EXEC] = "exec",
	};
	const struct weft_runtime_ops *ops;

	if (inst->borrowed)
		return cannot(inst, names[kind], err);
	ops = engine_runtime(inst->engine, inst->virt)->ops;
	if ((kind == WEFT_ENGINE_PAUSE && !ops->pause) ||
		(kind == WEFT_ENGINE_RESUME && !ops->resume) ||
		(kind == WEFT_ENGINE_EXEC && !ops->exec))
		return cannot(inst, names[kind], err);
	if (inst->phase >= PHASE_WARMING && inst->phase <= PHASE_DRAINING)
		return 0;
	weft_err_set(err, EBUSY, "instance %s is %s: %s wants one that runs", inst->name,
		phase_name(inst->phase), names[kind]);
	return weft_err_hint(err, "weft instance show %s", inst->name);
}

static int begin(struct weft_engine_call *call, const struct instance *inst,
	const struct weft_engine_op *op, struct weft_err *err)
{
	struct runtime_slot *slot = engine_runtime(inst->engine, inst->virt);

	call->virt = inst->virt;
	switch (op->kind) {
	case WEFT_ENGINE_PAUSE:
		return slot->ops->pause(slot->rt, inst->name, on_changed, call, err);
	case WEFT_ENGINE_RESUME:
		return slot->ops->resume(slot->rt, inst->name, on_changed, call, err);
	case WEFT_ENGINE_EXEC:
		return slot->ops->exec(slot->rt, inst->name, (const char *const *)op->argv,
			op->timeout_ms, on_executed, call, err);
	default:
		return -EINVAL;
	}
}

static int count_calls(const struct weft_engine *e)
{
	int n = 0;

	for (const struct weft_engine_call *c = e->calls; c; c = c->next)
		n++;
	return n;
}

static int find_instance(struct weft_engine *e, const struct weft_engine_op *op,
	struct instance **ret, struct weft_err *err)
{
	*ret = instance_find(e, op->instance);
	if (*ret)
		return check(*ret, op->kind, err);
	weft_err_set(err, ENOENT, "instance %s: no such instance", op->instance);
	return weft_err_hint(err, "weft instance list");
}

int weft_engine_do(struct weft_engine *e, const struct weft_engine_op *op, weft_engine_done_t done,
	void *userdata, struct weft_engine_call **ret, struct weft_err *err)
{
	bool image = op->kind >= WEFT_ENGINE_IMAGE_LIST;
	const char *what = image ? "image" : "instance";
	struct instance *inst = NULL;
	struct weft_engine_call *call;
	int r = image ? 0 : find_instance(e, op, &inst, err);

	if (r < 0)
		return r;
	if (count_calls(e) >= MAX_CALLS)
		return weft_err_set(err, EBUSY, "%d such calls are under way already", MAX_CALLS);
	call = calloc(1, sizeof(*call));
	if (call)
		call->instance = strdup(op->instance ? op->instance : "");
	if (!call || !call->instance) {
		free(call);
		return weft_err_set(err, ENOMEM, "%s %s: out of memory", what, op->instance);
	}
	call->engine = e;
	call->kind = op->kind;
	call->done = done;
	call->userdata = userdata;
	call->next = e->calls;
	e->calls = call;
	r = image ? image_op(call, op, err) : begin(call, inst, op, err);
	if (r < 0) {
		free_call(call);
		return err->code ? r
				 : weft_err_set(err, r, "%s %s: %s", what,
					   op->instance ? op->instance : "", strerror(-r));
	}
	*ret = call;
	return 0;
}
