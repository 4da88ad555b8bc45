/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtimes/containerd/import.h"

static void next_layer(struct import *im);

static struct import *import_of(struct ctrd_op *op)
{
	return (struct import *)op;
}

static void failed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);

	import_failed(im, ctrd_op_fail(op, res, "image %s: unpack layer %u of %u", im->path,
				  im->layer + 1, im->image->n_layers));
}

static void committed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);

	if (res->status != WEFT_GRPC_OK && res->status != WEFT_GRPC_ALREADY_EXISTS) {
		failed(op, res);
		return;
	}
	im->layer++;
	next_layer(im);
}

static void applied(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ApplyResponse *m = (const Ctrd__ApplyResponse *)res->reply;
	Ctrd__CommitSnapshotRequest q = CTRD__COMMIT_SNAPSHOT_REQUEST__INIT;
	struct import *im = import_of(op);

	if (!m) {
		failed(op, res);
		return;
	}
	if (!m->applied || strcmp(m->applied->digest, im->image->diff_ids[im->layer]) != 0) {
		weft_err_set(&op->err, EBADMSG,
			"image %s is damaged: layer %u is not what its configuration says",
			im->path, im->layer + 1);
		weft_err_hint(&op->err, "build the image again");
		import_failed(im, -EBADMSG);
		return;
	}
	q.snapshotter = op->snapshots;
	q.name = im->chain;
	q.key = im->key;
	ctrd_op_call(op, CTRD_SNAPSHOT_COMMIT, &q.base, CTRD_TASK_MS, committed);
}

static void prepare_snapshot(struct import *im);

static void stale_removed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res;
	prepare_snapshot(import_of(op));
}

static void prepared(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__PrepareSnapshotResponse *m = (const Ctrd__PrepareSnapshotResponse *)res->reply;
	Ctrd__SnapshotRequest stale = CTRD__SNAPSHOT_REQUEST__INIT;
	Ctrd__ApplyRequest q = CTRD__APPLY_REQUEST__INIT;
	Ctrd__Descriptor diff = CTRD__DESCRIPTOR__INIT;
	struct import *im = import_of(op);
	struct weft_oci_descriptor *layer = &im->image->layers[im->layer];

	/* Of a daemon that died while unpacking: nobody knows how far it came. */
	if (res->status == WEFT_GRPC_ALREADY_EXISTS && !im->retried) {
		im->retried = true;
		stale.snapshotter = op->snapshots;
		stale.key = im->key;
		ctrd_op_call(op, CTRD_SNAPSHOT_REMOVE, &stale.base, CTRD_TASK_MS, stale_removed);
		return;
	}
	if (!m) {
		failed(op, res);
		return;
	}
	diff.media_type = layer->media_type;
	diff.digest = layer->digest;
	diff.size = (int64_t)layer->size;
	q.diff = &diff;
	q.mounts = m->mounts;
	q.n_mounts = m->n_mounts;
	ctrd_op_call(op, CTRD_DIFF_APPLY, &q.base, CTRD_DISK_MS, applied);
}

static void prepare_snapshot(struct import *im)
{
	Ctrd__PrepareSnapshotRequest q = CTRD__PREPARE_SNAPSHOT_REQUEST__INIT;

	q.snapshotter = im->op.snapshots;
	q.key = im->key;
	q.parent = im->parent;
	ctrd_op_call(&im->op, CTRD_SNAPSHOT_PREPARE, &q.base, CTRD_QUICK_MS, prepared);
}

static void looked(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);

	if (res->status == WEFT_GRPC_NOT_FOUND)
		prepare_snapshot(im);
	else
		committed(op, res); /* there already, or an error */
}

static void next_layer(struct import *im)
{
	Ctrd__SnapshotRequest q = CTRD__SNAPSHOT_REQUEST__INIT;

	if (im->layer == im->image->n_layers) {
		import_record(im);
		return;
	}
	if (im->layer > 0)
		memcpy(im->parent, im->chain, sizeof(im->parent));
	weft_oci_chain_id(im->image, im->layer + 1, im->chain);
	snprintf(im->key, sizeof(im->key), "weft-extract-%s", im->chain);
	im->retried = false;
	q.snapshotter = im->op.snapshots;
	q.key = im->chain;
	ctrd_op_call(&im->op, CTRD_SNAPSHOT_STAT, &q.base, CTRD_QUICK_MS, looked);
}

void import_unpack(struct import *im)
{
	im->layer = 0;
	next_layer(im);
}
