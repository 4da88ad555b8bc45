/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

#define SVC(path)   "/containerd.services." path
#define REPLY(name) &ctrd__##name##__descriptor

static const struct {
	const char *path;
	const ProtobufCMessageDescriptor *reply;
} methods[] = {
	[CTRD_VERSION] = {SVC("version.v1.Version/Version"), REPLY(version_response)},
	[CTRD_PLUGINS] = {SVC("introspection.v1.Introspection/Plugins"), REPLY(plugins_response)},
	[CTRD_LEASE_CREATE] = {SVC("leases.v1.Leases/Create"), REPLY(empty)},
	[CTRD_LEASE_LIST] = {SVC("leases.v1.Leases/List"), REPLY(list_leases_response)},
	[CTRD_LEASE_DELETE] = {SVC("leases.v1.Leases/Delete"), REPLY(empty)},
	[CTRD_CONTENT_READ] = {SVC("content.v1.Content/Read"), REPLY(read_content_response)},
	[CTRD_CONTENT_WRITE] = {SVC("content.v1.Content/Write"), REPLY(write_content_response)},
	[CTRD_CONTENT_ABORT] = {SVC("content.v1.Content/Abort"), REPLY(empty)},
	[CTRD_CONTENT_UPDATE] = {SVC("content.v1.Content/Update"), REPLY(empty)},
	[CTRD_IMAGE_GET] = {SVC("images.v1.Images/Get"), REPLY(image_response)},
	[CTRD_IMAGE_CREATE] = {SVC("images.v1.Images/Create"), REPLY(empty)},
	[CTRD_IMAGE_UPDATE] = {SVC("images.v1.Images/Update"), REPLY(empty)},
	[CTRD_IMAGE_LIST] = {SVC("images.v1.Images/List"), REPLY(list_images_response)},
	[CTRD_IMAGE_DELETE] = {SVC("images.v1.Images/Delete"), REPLY(empty)},
	[CTRD_SNAPSHOT_PREPARE] = {SVC("snapshots.v1.Snapshots/Prepare"),
		REPLY(prepare_snapshot_response)},
	[CTRD_SNAPSHOT_COMMIT] = {SVC("snapshots.v1.Snapshots/Commit"), REPLY(empty)},
	[CTRD_SNAPSHOT_STAT] = {SVC("snapshots.v1.Snapshots/Stat"), REPLY(empty)},
	[CTRD_SNAPSHOT_REMOVE] = {SVC("snapshots.v1.Snapshots/Remove"), REPLY(empty)},
	[CTRD_DIFF_APPLY] = {SVC("diff.v1.Diff/Apply"), REPLY(apply_response)},
	[CTRD_CONTAINER_GET] = {SVC("containers.v1.Containers/Get"), REPLY(container_response)},
	[CTRD_CONTAINER_CREATE] = {SVC("containers.v1.Containers/Create"), REPLY(empty)},
	[CTRD_CONTAINER_DELETE] = {SVC("containers.v1.Containers/Delete"), REPLY(empty)},
	[CTRD_TASK_CREATE] = {SVC("tasks.v1.Tasks/Create"), REPLY(create_task_response)},
	[CTRD_TASK_START] = {SVC("tasks.v1.Tasks/Start"), REPLY(start_task_response)},
	[CTRD_TASK_DELETE] = {SVC("tasks.v1.Tasks/Delete"), REPLY(empty)},
	[CTRD_TASK_GET] = {SVC("tasks.v1.Tasks/Get"), REPLY(get_task_response)},
	[CTRD_TASK_LIST] = {SVC("tasks.v1.Tasks/List"), REPLY(list_tasks_response)},
	[CTRD_TASK_KILL] = {SVC("tasks.v1.Tasks/Kill"), REPLY(empty)},
	[CTRD_TASK_WAIT] = {SVC("tasks.v1.Tasks/Wait"), REPLY(wait_task_response)},
	[CTRD_TASK_PAUSE] = {SVC("tasks.v1.Tasks/Pause"), REPLY(empty)},
	[CTRD_TASK_RESUME] = {SVC("tasks.v1.Tasks/Resume"), REPLY(empty)},
	[CTRD_TASK_EXEC] = {SVC("tasks.v1.Tasks/Exec"), REPLY(empty)},
	[CTRD_TASK_DELETE_PROCESS] = {SVC("tasks.v1.Tasks/DeleteProcess"), REPLY(empty)},
	[CTRD_SUBSCRIBE] = {SVC("events.v1.Events/Subscribe"), REPLY(envelope)},
};
_Static_assert(ARRAY_SIZE(methods) == CTRD_METHODS, "every method has a path and a reply");

int ctrd_begin(struct weft_runtime *rt, enum ctrd_method method, struct weft_grpc_spec *spec,
	struct weft_grpc_call **ret)
{
	spec->method = methods[method].path;
	spec->reply = methods[method].reply;
	return weft_grpc_begin(rt->grpc, spec, ret);
}

/* --- operations ----------------------------------------------------------------------------------
 */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_grpc_result res = {.message = ""};
	struct ctrd_op *op = userdata;

	(void)source;
	(void)usec;
	if (op->no_memory) {
		res.status = WEFT_GRPC_RESOURCE_EXHAUSTED;
		res.message = "out of memory";
		op->no_memory = false;
	}
	op->next(op, &res);
	return 0;
}

struct ctrd_op *ctrd_op_new(struct weft_runtime *rt, size_t size, const char *id)
{
	struct ctrd_op *op = calloc(1, size);

	if (!op)
		return NULL;
	op->rt = rt;
	op->list = &rt->ops;
	op->id = id ? strdup(id) : NULL;
	if ((id && !op->id) ||
		sd_event_add_time(rt->event, &op->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, op) <
			0 ||
		sd_event_source_set_enabled(op->timer, SD_EVENT_OFF) < 0) {
		sd_event_source_disable_unref(op->timer);
		free(op->id);
		free(op);
		return NULL;
	}
	TAILQ_INSERT_TAIL(op->list, op, link);
	return op;
}

void ctrd_op_free(struct ctrd_op *op)
{
	if (!op)
		return;
	if (op->release)
		op->release(op);
	TAILQ_REMOVE(op->list, op, link);
	weft_grpc_cancel(op->call);
	sd_event_source_disable_unref(op->timer);
	free(op->text);
	free(op->id);
	free(op);
}

void ctrd_op_finish(struct ctrd_op *op, int r)
{
	weft_runtime_done_t done = op->done;
	struct weft_err err = op->err;
	void *userdata = op->userdata;

	if (r < 0 && !err.code)
		weft_err_set(&err, r, "%s", strerror(-r));
	ctrd_op_free(op);
	if (done)
		done(userdata, r, &err);
}

void ctrd_op_move(struct ctrd_op *op, struct ctrd_ops *list)
{
	TAILQ_REMOVE(op->list, op, link);
	op->list = list;
	TAILQ_INSERT_TAIL(list, op, link);
}

static void on_end(void *userdata, const struct weft_grpc_result *res)
{
	struct ctrd_op *op = userdata;

	op->call = NULL;
	op->next(op, res);
}

static void begin(struct ctrd_op *op, enum ctrd_method method, struct weft_grpc_spec *spec,
	const ProtobufCMessage *request, ctrd_step_t next)
{
	const char *lease[] = {"containerd-lease", op->lease, NULL};
	int r;

	op->next = next;
	spec->metadata = op->lease ? lease : NULL;
	spec->on_end = on_end;
	spec->userdata = op;
	r = ctrd_begin(op->rt, method, spec, &op->call);
	if (r == 0) {
		weft_grpc_send(op->call, request, true);
		return;
	}
	op->call = NULL;
	op->no_memory = true;
	ctrd_op_after(op, 0, next);
}

void ctrd_op_call(struct ctrd_op *op, enum ctrd_method method, const ProtobufCMessage *request,
	unsigned timeout_ms, ctrd_step_t next)
{
	struct weft_grpc_spec spec = {.timeout_ms = timeout_ms};

	begin(op, method, &spec, request, next);
}

void ctrd_op_after(struct ctrd_op *op, unsigned ms, ctrd_step_t next)
{
	op->next = next;
	sd_event_source_set_time_relative(op->timer, ms * 1000ULL);
	sd_event_source_set_enabled(op->timer, SD_EVENT_ONESHOT);
}

static void on_content(void *userdata, const ProtobufCMessage *message)
{
	const Ctrd__ReadContentResponse *m = (const Ctrd__ReadContentResponse *)message;
	struct ctrd_op *op = userdata;
	char *p;

	if (op->text_size + m->data.len > WEFT_OCI_MAX_TEXT)
		return; /* too large: its digest will not match */
	p = realloc(op->text, op->text_size + m->data.len + 1);
	if (!p)
		return;
	memcpy(p + op->text_size, m->data.data, m->data.len);
	op->text = p;
	op->text_size += m->data.len;
	p[op->text_size] = '\0';
}

void ctrd_op_read(struct ctrd_op *op, const char *digest, ctrd_step_t next)
{
	struct weft_grpc_spec spec = {.timeout_ms = CTRD_QUICK_MS, .on_message = on_content};
	Ctrd__ReadContentRequest q = CTRD__READ_CONTENT_REQUEST__INIT;

	free(op->text);
	op->text = NULL;
	op->text_size = 0;
	q.digest = (char *)(uintptr_t)digest;
	begin(op, CTRD_CONTENT_READ, &spec, &q.base, next);
}

int ctrd_op_fail(struct ctrd_op *op, const struct weft_grpc_result *res, const char *fmt, ...)
{
	static const char noise[] = ": unknown";
	size_t n = strlen(res->message);
	int r = strstr(res->message, "no space left on device") ? -ENOSPC
								: -weft_grpc_errno(res->status);
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (n > strlen(noise) && strcmp(res->message + n - strlen(noise), noise) == 0)
		n -= strlen(noise);
	weft_err_set(&op->err, r, "%s: %s%.*s", what,
		res->status == WEFT_GRPC_UNAVAILABLE ? "containerd is not reachable: " : "", (int)n,
		res->message);
	if (res->status == WEFT_GRPC_UNAVAILABLE)
		weft_err_hint(&op->err, "is containerd running? Look at `systemctl status "
					"containerd`, or give its socket with --containerd");
	return r;
}

/* --- snapshotter ---------------------------------------------------------------------------------
 */

/* overlayfs does not work on top of every file system; native copies, which works everywhere. */
const char *const ctrd_snapshotters[] = {"overlayfs", "native", NULL};

static void got_plugins(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__PluginsResponse *m = (const Ctrd__PluginsResponse *)res->reply;
	struct weft_runtime *rt = op->rt;
	struct weft_grpc_result ok = {.message = ""};
	ctrd_step_t next = op->after_plugins;

	if (!m) {
		next(op, res);
		return;
	}
	for (const char *const *s = ctrd_snapshotters; *s && !*rt->snapshotter; s++)
		for (size_t i = 0; i < m->n_plugins; i++)
			if (strcmp(m->plugins[i]->id, *s) == 0 && !m->plugins[i]->init_err)
				snprintf(rt->snapshotter, sizeof(rt->snapshotter), "%s", *s);
	if (!*rt->snapshotter) {
		ok.status = WEFT_GRPC_UNIMPLEMENTED;
		ok.message = "containerd has neither a working overlayfs nor a native snapshotter";
	}
	memcpy(op->snapshots, rt->snapshotter, sizeof(op->snapshots));
	next(op, &ok);
}

void ctrd_op_snapshotter(struct ctrd_op *op, ctrd_step_t next)
{
	static char snapshotters[] = "type==io.containerd.snapshotter.v1";
	Ctrd__PluginsRequest q = CTRD__PLUGINS_REQUEST__INIT;
	const struct weft_grpc_result known = {.message = ""};
	char *filter = snapshotters;

	if (*op->rt->snapshotter) {
		memcpy(op->snapshots, op->rt->snapshotter, sizeof(op->snapshots));
		next(op, &known);
		return;
	}
	op->after_plugins = next;
	q.filters = &filter;
	q.n_filters = 1;
	ctrd_op_call(op, CTRD_PLUGINS, &q.base, CTRD_QUICK_MS, got_plugins);
}
