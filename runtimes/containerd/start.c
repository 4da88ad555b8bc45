/* SPDX-License-Identifier: Apache-2.0 */
/* Starting an instance: image, snapshot, container, task. What an image says is kept from last time
 * (images.c), so that the usual start is four calls one after the other, the last beside Wait. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

struct start {
	struct ctrd_op op;
	struct ctrd_wish wish;
	bool cached; /* the image was not read anew */
	struct ctrd_image *image;

	char *manifest;
	size_t manifest_size;
	Ctrd__PrepareSnapshotResponse *rootfs;
};

static struct start *start_of(struct ctrd_op *op)
{
	return (struct start *)op;
}

static void release(struct ctrd_op *op)
{
	struct start *s = start_of(op);

	ctrd_wish_free(&s->wish);
	ctrd_image_put(s->image);
	free(s->manifest);
	if (s->rootfs)
		ctrd__prepare_snapshot_response__free_unpacked(s->rootfs, NULL);
}

/* --- task ----------------------------------------------------------------------------------------
 */

static void started(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct ctrd_instance *inst = ctrd_instance_find(op->rt, op->id);

	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_fail(op, res, "instance %s: start", op->id);
		ctrd_op_undo(op);
		return;
	}
	if (inst)
		ctrd_instance_release(inst); /* its end, if that came already, is told later */
	ctrd_op_finish(op, 0);
}

/* Wait is asked for before Start, so that no end is missed. */
static void task_created(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__CreateTaskResponse *m = (const Ctrd__CreateTaskResponse *)res->reply;
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct ctrd_instance *inst;

	if (!m) {
		ctrd_op_fail(op, res, "instance %s: create its task", op->id);
		ctrd_op_undo(op);
		return;
	}
	inst = ctrd_instance_add(op->rt, op->id, m->pid);
	if (!inst) {
		ctrd_op_undo(op);
		return;
	}
	ctrd_instance_watch(inst);
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_START, &q.base, CTRD_TASK_MS, started);
}

static void exists(struct ctrd_op *op)
{
	weft_err_set(&op->err, EEXIST, "instance %s exists in containerd already", op->id);
	weft_err_hint(&op->err, "delete it first, or give the new one another name");
	ctrd_op_finish(op, -EEXIST);
}

static void surplus_removed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res; /* a snapshot that stays is found by the next delete() */
	exists(op);
}

static void container_created(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__CreateTaskRequest q = CTRD__CREATE_TASK_REQUEST__INIT;
	Ctrd__SnapshotRequest surplus = CTRD__SNAPSHOT_REQUEST__INIT;
	_cleanup_(freep) char *log = NULL;
	struct start *s = start_of(op);

	if (res->status == WEFT_GRPC_ALREADY_EXISTS) { /* only the snapshot is ours */
		surplus.snapshotter = op->snapshots;
		surplus.key = op->id;
		ctrd_op_call(
			op, CTRD_SNAPSHOT_REMOVE, &surplus.base, CTRD_TASK_MS, surplus_removed);
		return;
	}
	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_fail(op, res, "instance %s: create its container", op->id);
		ctrd_op_undo(op);
		return;
	}
	log = ctrd_log_url(op->rt, &s->wish);
	if (!log) {
		ctrd_op_undo(op);
		return;
	}
	q.container_id = op->id;
	q.rootfs = s->rootfs->mounts;
	q.n_rootfs = s->rootfs->n_mounts;
	q.out = log;
	q.err = log;
	ctrd_op_call(op, CTRD_TASK_CREATE, &q.base, CTRD_TASK_MS, task_created);
}

/* --- snapshot ------------------------------------------------------------------------------------
 */

static void read_image(struct start *s);

static Ctrd__PrepareSnapshotResponse *copy_rootfs(const ProtobufCMessage *m)
{
	size_t size = protobuf_c_message_get_packed_size(m);
	_cleanup_(freep) uint8_t *data = malloc(size + 1);

	if (!data)
		return NULL;
	protobuf_c_message_pack(m, data);
	return ctrd__prepare_snapshot_response__unpack(NULL, size, data);
}

static void got_snapshot(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct start *s = start_of(op);

	if (res->status == WEFT_GRPC_ALREADY_EXISTS) {
		exists(op);
		return;
	}
	if (res->status == WEFT_GRPC_NOT_FOUND && s->cached) {
		s->cached = false;
		ctrd_image_put(TAKE_PTR(s->image));
		ctrd_image_forget(op->rt, s->wish.image);
		read_image(s);
		return;
	}
	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_fail(op, res, "instance %s: make its root file system", op->id);
		ctrd_op_undo(op);
		return;
	}
	op->unsure = false;
	s->rootfs = copy_rootfs(res->reply);
	if (!s->rootfs || ctrd_container_create(op, &s->wish, s->image->oci, s->rootfs->mounts,
				  s->rootfs->n_mounts, container_created) < 0)
		ctrd_op_undo(op);
}

/* Once it is made all there is of that id is ours, and may be undone. Until the container refers to
 * it, only the label keeps it from the garbage collector. */
static void prepare_snapshot(struct start *s)
{
	static char key[] = "containerd.io/gc.root", value[] = "weft";
	Ctrd__PrepareSnapshotRequest q = CTRD__PREPARE_SNAPSHOT_REQUEST__INIT;
	Ctrd__Label label = CTRD__LABEL__INIT, *labels = &label;

	s->op.unsure = true;
	label.key = key;
	label.value = value;
	q.snapshotter = s->op.snapshots;
	q.key = s->op.id;
	q.parent = s->image->oci->chain_id;
	q.labels = &labels;
	q.n_labels = 1;
	ctrd_op_call(&s->op, CTRD_SNAPSHOT_PREPARE, &q.base, CTRD_QUICK_MS, got_snapshot);
}

/* --- image ---------------------------------------------------------------------------------------
 */

static void fail_image(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	int r = ctrd_op_fail(op, res, "instance %s: image %s", op->id, start_of(op)->wish.image);

	if (res->status == WEFT_GRPC_NOT_FOUND)
		weft_err_hint(&op->err, "the image was removed from containerd: deploy again");
	ctrd_op_finish(op, r);
}

static void got_config(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct weft_oci_image *oci = NULL;
	struct start *s = start_of(op);
	char what[192];
	int r;

	if (res->status != WEFT_GRPC_OK) {
		fail_image(op, res);
		return;
	}
	snprintf(what, sizeof(what), "image %s", s->wish.image);
	r = weft_oci_image_parse(what, NULL, s->manifest, s->manifest_size,
		op->text ? op->text : "", op->text_size, s->wish.arch, &oci, &op->err);
	if (r == 0) {
		s->image = ctrd_image_keep(op->rt, s->wish.image, s->wish.arch, oci);
		r = s->image ? 0 : -ENOMEM;
	}
	if (r < 0)
		ctrd_op_finish(op, r);
	else
		prepare_snapshot(s);
}

static void got_manifest(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct weft_oci_descriptor config;
	struct start *s = start_of(op);
	int r;

	if (res->status != WEFT_GRPC_OK) {
		fail_image(op, res);
		return;
	}
	s->manifest = op->text ? TAKE_PTR(op->text) : strdup("");
	s->manifest_size = op->text_size;
	r = s->manifest ? weft_oci_manifest_config(
				  s->wish.image, s->manifest, s->manifest_size, &config, &op->err)
			: -ENOMEM;
	if (r < 0)
		ctrd_op_finish(op, r);
	else
		ctrd_op_read(op, config.digest, got_config);
}

static void got_image(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ImageResponse *m = (const Ctrd__ImageResponse *)res->reply;

	if (!m || !m->image || !m->image->target)
		fail_image(op, res);
	else
		ctrd_op_read(op, m->image->target->digest, got_manifest);
}

static void read_image(struct start *s)
{
	Ctrd__ImageNameRequest q = CTRD__IMAGE_NAME_REQUEST__INIT;

	q.name = s->wish.image;
	ctrd_op_call(&s->op, CTRD_IMAGE_GET, &q.base, CTRD_QUICK_MS, got_image);
}

static void got_snapshotter(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct start *s = start_of(op);

	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_finish(op, ctrd_op_fail(op, res, "instance %s: start", op->id));
		return;
	}
	s->image = ctrd_image_get(op->rt, s->wish.image, s->wish.arch);
	s->cached = s->image != NULL;
	if (s->cached)
		prepare_snapshot(s);
	else
		read_image(s);
}

/* --- entry ---------------------------------------------------------------------------------------
 */

static int check(
	const struct weft_runtime *rt, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	if (!weft_name_valid(spec->id, CTRD_MAX_ID))
		return weft_err_set(err, EINVAL, "instance %s: not a valid name", spec->id);
	if (!spec->image)
		return weft_err_set(
			err, EINVAL, "instance %s: a container needs an image", spec->id);
	if (ctrd_instance_find((struct weft_runtime *)(uintptr_t)rt, spec->id))
		return weft_err_set(err, EEXIST, "instance %s runs already", spec->id);
	return 0;
}

int ctrd_start(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	struct ctrd_handler handler;
	struct ctrd_op *op;
	int r = check(rt, spec, err);

	if (r < 0)
		return r;
	r = ctrd_handler_find(rt, spec->virt, spec->runtime, &handler, err);
	if (r < 0)
		return weft_err_prefix(err, "instance %s", spec->id);
	op = ctrd_op_new(rt, sizeof(struct start), spec->id);
	if (!op)
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", spec->id);
	op->done = done;
	op->userdata = userdata;
	op->release = release;
	start_of(op)->wish.handler = handler;
	r = ctrd_wish_copy(&start_of(op)->wish, spec, err);
	if (r < 0) {
		ctrd_op_free(op);
		return weft_err_prefix(err, "instance %s", spec->id);
	}
	ctrd_op_snapshotter(op, got_snapshotter);
	return 0;
}
