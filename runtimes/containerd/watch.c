/* SPDX-License-Identifier: Apache-2.0 */
/* Watching instances. A Tasks.Wait that ends because containerd is away says nothing about the
 * instance: it runs on under its shim. When containerd is back its list of tasks tells who is
 * really gone. Events missed meanwhile are lost, but Wait answers for a task that ended long ago.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/containerd/ctrd.h"

#define RETRY_US (1000 * 1000ULL)
/* The out-of-memory event takes another way than the exit and may come after it. */
#define OOM_US   (250 * 1000ULL)
#define KILLED   (128 + SIGKILL)

/* --- instances -----------------------------------------------------------------------------------
 */

static int on_report(sd_event_source *source, uint64_t usec, void *userdata);

struct ctrd_instance *ctrd_instance_find(struct weft_runtime *rt, const char *id)
{
	struct ctrd_instance *inst;

	TAILQ_FOREACH(inst, &rt->instances, link)
	if (strcmp(inst->id, id) == 0)
		return inst;
	return NULL;
}

struct ctrd_instance *ctrd_instance_add(struct weft_runtime *rt, const char *id, uint32_t pid)
{
	struct ctrd_instance *inst = calloc(1, sizeof(*inst));

	if (!inst)
		return NULL;
	inst->rt = rt;
	inst->pid = pid;
	inst->held = true;
	inst->id = strdup(id);
	if (!inst->id ||
		sd_event_add_time(
			rt->event, &inst->report, CLOCK_MONOTONIC, 0, 1000, on_report, inst) < 0 ||
		sd_event_source_set_enabled(inst->report, SD_EVENT_OFF) < 0) {
		sd_event_source_disable_unref(inst->report);
		free(inst->id);
		free(inst);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&rt->instances, inst, link);
	return inst;
}

void ctrd_instance_free(struct ctrd_instance *inst)
{
	if (!inst)
		return;
	TAILQ_REMOVE(&inst->rt->instances, inst, link);
	weft_grpc_cancel(inst->wait);
	sd_event_source_disable_unref(inst->report);
	free(inst->cgroup);
	free(inst->id);
	free(inst);
}

static void describe(const struct ctrd_instance *inst, char *buf, size_t size)
{
	const char *name = inst->status > 128 && inst->status < 128U + (unsigned)SIGRTMIN
				   ? sigabbrev_np((int)inst->status - 128)
				   : NULL;

	if (inst->text)
		snprintf(buf, size, "%s", inst->text);
	else if (name)
		snprintf(buf, size, "killed by SIG%s (exit status %u)", name, inst->status);
	else
		snprintf(buf, size, "exit status %u", inst->status);
}

/* containerd's out-of-memory event takes another way than the exit and may come after it, or never
 * when containerd was away. The cgroup, which is there until the task is deleted, knows as well. */
static bool out_of_memory(const struct ctrd_instance *inst)
{
	_cleanup_(freep) char *cgroup = weft_strf("%s/%s", inst->rt->cgroup_root, inst->id);
	uint64_t kills;

	return !inst->oom && inst->status == KILLED && cgroup &&
	       weft_cgroup_oom_kills(cgroup, &kills) == 0 && kills > 0;
}

static int on_report(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct ctrd_instance *inst = userdata;
	struct weft_runtime *rt = inst->rt;
	bool failed = inst->text || inst->status != 0, oom = out_of_memory(inst);
	_cleanup_(freep) char *id = TAKE_PTR(inst->id);
	weft_runtime_event_t tell = inst->quiet ? NULL : rt->on_event;
	char detail[128];

	(void)source;
	(void)usec;
	describe(inst, detail, sizeof(detail));
	ctrd_instance_free(inst);
	if (tell && oom)
		tell(rt->userdata, id, WEFT_RUNTIME_OOM, "out of memory");
	if (tell)
		tell(rt->userdata, id, failed ? WEFT_RUNTIME_FAILED : WEFT_RUNTIME_EXITED, detail);
	return 0;
}

static void report(struct ctrd_instance *inst)
{
	if (inst->held || !inst->over)
		return;
	sd_event_source_set_time_relative(inst->report, 0);
	sd_event_source_set_enabled(inst->report, SD_EVENT_ONESHOT);
}

static void over(struct ctrd_instance *inst, uint32_t status, const char *text)
{
	if (inst->over)
		return;
	inst->over = true;
	inst->status = status;
	inst->text = text;
	report(inst);
}

void ctrd_instance_release(struct ctrd_instance *inst)
{
	inst->held = false;
	report(inst);
}

/* --- Tasks.Wait ----------------------------------------------------------------------------------
 */

static void schedule_resync(struct weft_runtime *rt, uint64_t usec)
{
	sd_event_source_set_time_relative(rt->resync, usec);
	sd_event_source_set_enabled(rt->resync, SD_EVENT_ONESHOT);
}

static void on_wait_end(void *userdata, const struct weft_grpc_result *res)
{
	const Ctrd__WaitTaskResponse *m = (const Ctrd__WaitTaskResponse *)res->reply;
	struct ctrd_instance *inst = userdata;

	inst->wait = NULL;
	if (m)
		over(inst, m->exit_status, NULL);
	else if (res->status == WEFT_GRPC_NOT_FOUND)
		over(inst, 0, "its task is gone from containerd");
	else if (res->status != WEFT_GRPC_UNAVAILABLE) {
		inst->shim_lost = true; /* what else: containerd is there, and knows the task */
		schedule_resync(inst->rt, RETRY_US);
	}
}

void ctrd_instance_watch(struct ctrd_instance *inst)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct weft_grpc_spec spec = {.on_end = on_wait_end, .userdata = inst};

	if (inst->wait || inst->over)
		return;
	if (ctrd_begin(inst->rt, CTRD_TASK_WAIT, &spec, &inst->wait) < 0) {
		inst->wait = NULL;
		schedule_resync(inst->rt, RETRY_US);
		return;
	}
	q.container_id = inst->id;
	weft_grpc_send(inst->wait, &q.base, true);
}

/* --- events --------------------------------------------------------------------------------------
 */

/* Nobody wants to know of one being stopped, nor before start() has answered. */
static void tell(struct ctrd_instance *inst, enum weft_runtime_event event, const char *detail)
{
	struct weft_runtime *rt = inst->rt;

	if (!inst->quiet && !inst->held && rt->on_event)
		rt->on_event(rt->userdata, inst->id, event, detail);
}

/* True when that is news, and none of a call of ours. */
static bool note_paused(struct ctrd_instance *inst, bool paused)
{
	if (inst->changing > 0 || inst->paused == paused)
		return false;
	inst->paused = paused;
	return true;
}

static void on_envelope(void *userdata, const ProtobufCMessage *message)
{
	static const struct {
		const char *topic;
		enum weft_runtime_event event;
		const char *detail;
	} topics[] = {
		{"/tasks/oom", WEFT_RUNTIME_OOM, "out of memory"},
		{"/tasks/paused", WEFT_RUNTIME_PAUSED, "paused"},
		{"/tasks/resumed", WEFT_RUNTIME_RESUMED, "resumed"},
	};
	const Ctrd__Envelope *e = (const Ctrd__Envelope *)message;
	struct weft_runtime *rt = userdata;
	struct ctrd_instance *inst;
	Ctrd__TaskEvent *t;

	t = e->event ? ctrd__task_event__unpack(NULL, e->event->value.len, e->event->value.data)
		     : NULL;
	inst = t ? ctrd_instance_find(rt, t->container_id) : NULL;
	for (size_t i = 0; inst && i < ARRAY_SIZE(topics); i++) {
		if (strcmp(topics[i].topic, e->topic) != 0)
			continue;
		if (topics[i].event == WEFT_RUNTIME_OOM)
			inst->oom = true;
		else if (!note_paused(inst, topics[i].event == WEFT_RUNTIME_PAUSED))
			break;
		tell(inst, topics[i].event, topics[i].detail);
		break;
	}
	if (t)
		ctrd__task_event__free_unpacked(t, NULL);
}

static void on_events_end(void *userdata, const struct weft_grpc_result *res)
{
	struct weft_runtime *rt = userdata;

	rt->events = NULL;
	if (res->status != WEFT_GRPC_UNAVAILABLE)
		schedule_resync(rt, RETRY_US);
}

static void subscribe(struct weft_runtime *rt)
{
	static const char *const topics[] = {"oom", "paused", "resumed"};
	struct weft_grpc_spec spec = {
		.on_message = on_envelope,
		.on_end = on_events_end,
		.userdata = rt,
	};
	Ctrd__SubscribeRequest q = CTRD__SUBSCRIBE_REQUEST__INIT;
	char text[ARRAY_SIZE(topics)][160], *filters[ARRAY_SIZE(topics)];

	if (rt->events)
		return;
	if (ctrd_begin(rt, CTRD_SUBSCRIBE, &spec, &rt->events) < 0) {
		rt->events = NULL;
		schedule_resync(rt, RETRY_US);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
		snprintf(text[i], sizeof(text[i]), "namespace==%s,topic==\"/tasks/%s\"",
			rt->namespace_, topics[i]);
		filters[i] = text[i];
	}
	q.filters = filters;
	q.n_filters = ARRAY_SIZE(topics);
	weft_grpc_send(rt->events, &q.base, true);
}

/* --- containerd comes and goes -------------------------------------------------------------------
 */

static const Ctrd__Process *find_listed(const Ctrd__ListTasksResponse *m, const char *id)
{
	for (size_t i = 0; i < m->n_tasks; i++)
		if (strcmp(m->tasks[i]->container_id, id) == 0 || strcmp(m->tasks[i]->id, id) == 0)
			return m->tasks[i];
	return NULL;
}

/* While nobody listened. True when its owner was told, who may have removed anything since. */
static bool catch_up(struct ctrd_instance *inst, const Ctrd__Process *task)
{
	bool paused = task->status == CTRD__TASK_STATUS__PAUSED;

	if ((!paused && task->status != CTRD__TASK_STATUS__RUNNING) || !note_paused(inst, paused))
		return false;
	tell(inst, paused ? WEFT_RUNTIME_PAUSED : WEFT_RUNTIME_RESUMED,
		paused ? "paused" : "resumed");
	return true;
}

static void got_tasks(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ListTasksResponse *m = (const Ctrd__ListTasksResponse *)res->reply;
	struct weft_runtime *rt = op->rt;
	struct ctrd_instance *inst, *next;

	ctrd_op_free(op);
	if (!m) {
		if (res->status != WEFT_GRPC_UNAVAILABLE)
			schedule_resync(rt, RETRY_US);
		return;
	}
	for (inst = TAILQ_FIRST(&rt->instances); inst; inst = next) {
		const Ctrd__Process *task = find_listed(m, inst->id);

		next = TAILQ_NEXT(inst, link);
		if (inst->over || inst->held)
			continue;
		if (!task && !inst->wait) {
			over(inst, 0,
				inst->shim_lost ? "its shim has ended, and took it along"
						: "its task was lost while containerd was away");
			continue;
		}
		ctrd_instance_watch(inst);
		if (task && catch_up(inst, task))
			next = TAILQ_FIRST(&rt->instances);
	}
}

static void resync(struct weft_runtime *rt)
{
	Ctrd__ListTasksRequest q = CTRD__LIST_TASKS_REQUEST__INIT;
	struct ctrd_op *op;

	subscribe(rt);
	op = ctrd_op_new(rt, sizeof(*op), NULL);
	if (!op) {
		schedule_resync(rt, RETRY_US);
		return;
	}
	ctrd_op_call(op, CTRD_TASK_LIST, &q.base, CTRD_QUICK_MS, got_tasks);
}

static int on_resync(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_runtime *rt = userdata;

	(void)source;
	(void)usec;
	if (rt->up)
		resync(rt);
	return 0;
}

int ctrd_watch_init(struct weft_runtime *rt)
{
	int r = sd_event_add_time(rt->event, &rt->resync, CLOCK_MONOTONIC, 0, 10000, on_resync, rt);

	return r < 0 ? r : sd_event_source_set_enabled(rt->resync, SD_EVENT_OFF);
}

void ctrd_on_connection(void *userdata, bool up)
{
	struct weft_runtime *rt = userdata;

	rt->up = up;
	if (!up) {
		/* The next containerd may be configured otherwise, or be another. */
		rt->snapshotter[0] = '\0';
		ctrd_image_forget(rt, NULL);
		return;
	}
	resync(rt);
	ctrd_leases_list(rt);
	ctrd_unpark(rt);
}

/* --- adopt ---------------------------------------------------------------------------------------
 */

static int not_running(struct ctrd_op *op)
{
	return weft_err_set(&op->err, ENOENT, "instance %s is not running in containerd", op->id);
}

/* That it is paused, its new owner cannot know. */
static void finish_adopt(struct ctrd_op *op, struct ctrd_instance *inst, bool paused)
{
	_cleanup_(freep) char *id = strdup(op->id);
	struct weft_runtime *rt = op->rt;
	bool news = note_paused(inst, paused);

	ctrd_op_finish(op, 0);
	inst = id && news ? ctrd_instance_find(rt, id) : NULL;
	if (inst)
		tell(inst, paused ? WEFT_RUNTIME_PAUSED : WEFT_RUNTIME_RESUMED,
			paused ? "paused" : "resumed");
}

static void adopt_task(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__GetTaskResponse *m = (const Ctrd__GetTaskResponse *)res->reply;
	struct ctrd_instance *inst;

	if (!m && res->status != WEFT_GRPC_NOT_FOUND) {
		ctrd_op_finish(op, ctrd_op_fail(op, res, "instance %s: adopt", op->id));
		return;
	}
	if (!m || !m->process ||
		(m->process->status != CTRD__TASK_STATUS__RUNNING &&
			m->process->status != CTRD__TASK_STATUS__PAUSED &&
			m->process->status != CTRD__TASK_STATUS__PAUSING)) {
		ctrd_op_finish(op, not_running(op));
		return;
	}
	inst = ctrd_instance_find(op->rt, op->id);
	if (!inst)
		inst = ctrd_instance_add(op->rt, op->id, m->process->pid);
	if (!inst) {
		ctrd_op_finish(op, -ENOMEM);
		return;
	}
	ctrd_instance_watch(inst);
	ctrd_instance_release(inst);
	finish_adopt(op, inst, m->process->status == CTRD__TASK_STATUS__PAUSED);
}

static bool is_ours(const Ctrd__Container *c)
{
	for (size_t i = 0; i < c->n_labels; i++)
		if (strcmp(c->labels[i]->key, CTRD_INSTANCE_LABEL) == 0)
			return true;
	return false;
}

static void adopt_container(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ContainerResponse *m = (const Ctrd__ContainerResponse *)res->reply;
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	if (!m && res->status != WEFT_GRPC_NOT_FOUND) {
		ctrd_op_finish(op, ctrd_op_fail(op, res, "instance %s: adopt", op->id));
		return;
	}
	if (!m || !m->container || !is_ours(m->container)) {
		ctrd_op_finish(op, not_running(op));
		return;
	}
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_GET, &q.base, CTRD_QUICK_MS, adopt_task);
}

int ctrd_adopt(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	Ctrd__ContainerIdRequest q = CTRD__CONTAINER_ID_REQUEST__INIT;
	struct ctrd_op *op = ctrd_op_new(rt, sizeof(*op), spec->id);

	if (!op)
		return weft_err_set(err, ENOMEM, "instance %s: adopt: out of memory", spec->id);
	op->done = done;
	op->userdata = userdata;
	q.id = op->id;
	ctrd_op_call(op, CTRD_CONTAINER_GET, &q.base, CTRD_QUICK_MS, adopt_container);
	return 0;
}
