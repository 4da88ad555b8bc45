/* SPDX-License-Identifier: Apache-2.0 */
/* containerd 1.6 leaves importing to its clients: blobs go to the content store, layers become
 * snapshots, an image record points at the manifest. A lease keeps the garbage collector off until
 * the record is there; labels on manifest and configuration keep it off afterwards. The record is
 * made last, so that whoever finds one finds the whole image. */
#include "runtimes/containerd/import.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctrl/base/util.h"

#define LEASE_SECONDS 86400 /* what an interrupted pull goes on from is kept so long */

static struct import *import_of(struct ctrd_op *op)
{
	return (struct import *)op;
}

static char *staging_path(const struct weft_runtime *rt)
{
	return weft_strf("%s/import", rt->dir);
}

void ctrd_import_init(struct weft_runtime *rt)
{
	_cleanup_(freep) char *path = staging_path(rt);

	if (path)
		(void)weft_remove_tree(path);
}

void import_release(struct ctrd_op *op)
{
	struct import *im = import_of(op);

	if (im->staging)
		weft_remove_tree(im->staging);
	weft_oci_job_free(im->job);
	weft_oci_image_free(im->image);
	closep(&im->fd);
	free(im->staging);
	free(im->chunk);
	free(im->path);
}

/* Imports run one after the other: two of the same image would fight over the same names. */
static void start_next(struct weft_runtime *rt)
{
	struct ctrd_op *op = TAILQ_FIRST(&rt->imports);

	if (op)
		ctrd_op_after(op, 0, import_of(op)->turn);
}

void import_queue(struct import *im, ctrd_step_t turn)
{
	struct weft_runtime *rt = im->op.rt;

	im->turn = turn;
	ctrd_op_move(&im->op, &rt->imports);
	if (TAILQ_FIRST(&rt->imports) == &im->op)
		start_next(rt);
}

static void settled(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res; /* it expires by itself */
	import_finish(import_of(op), 0);
}

void import_finish(struct import *im, int r)
{
	bool queued = im->op.list == &im->op.rt->imports;
	weft_runtime_prepared_t prepared = im->prepared;
	struct weft_runtime *rt = im->op.rt;
	void *userdata = im->op.userdata;
	struct weft_err err = im->op.err;
	uint64_t size = 0;
	char name[sizeof(im->name)];

	if (r == 0 && ctrd_lease_settle(&im->op, im->image->manifest.digest, settled))
		return;
	if (r == 0) {
		size = im->image->manifest.size + im->image->config.size;
		for (unsigned i = 0; i < im->image->n_layers; i++)
			size += im->image->layers[i].size;
		/* The start that follows need not read it again. */
		ctrd_image_put(ctrd_image_keep(rt, im->name, im->arch, TAKE_PTR(im->image)));
	}
	memcpy(name, im->name, sizeof(name));
	ctrd_op_free(&im->op);
	if (queued)
		start_next(rt);
	ctrd_pull_next(rt);
	prepared(userdata, r, &err, r == 0 ? name : NULL, size);
}

/* --- end: the lease goes -------------------------------------------------------------------------
 */

static void lease_deleted(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);

	(void)res; /* it expires by itself */
	import_finish(im, im->result);
}

static void delete_lease(struct import *im, int r)
{
	Ctrd__DeleteLeaseRequest q = CTRD__DELETE_LEASE_REQUEST__INIT;

	im->result = r;
	im->op.lease = NULL;
	q.id = im->lease;
	q.sync = r < 0; /* collect what we leave half done */
	ctrd_op_call(&im->op, CTRD_LEASE_DELETE, &q.base, CTRD_TASK_MS, lease_deleted);
}

void import_failed(struct import *im, int r)
{
	if (im->op.lease)
		delete_lease(im, r);
	else
		import_finish(im, r);
}

static void recorded(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);

	if (res->status != WEFT_GRPC_OK) {
		import_failed(im, ctrd_op_fail(op, res, "image %s: record it", im->path));
	} else if (*im->alias && !im->aliased) {
		im->aliased = true;
		import_record(im);
	} else {
		delete_lease(im, 0);
	}
}

static void record(struct import *im, enum ctrd_method method, ctrd_step_t next)
{
	Ctrd__Descriptor target = CTRD__DESCRIPTOR__INIT;
	Ctrd__ImageRequest q = CTRD__IMAGE_REQUEST__INIT;
	Ctrd__Image image = CTRD__IMAGE__INIT;

	target.media_type = im->image->manifest.media_type;
	target.digest = im->image->manifest.digest;
	target.size = (int64_t)im->image->manifest.size;
	image.name = im->aliased ? im->alias : im->name;
	image.target = &target;
	q.image = &image;
	ctrd_op_call(&im->op, method, &q.base, CTRD_QUICK_MS, next);
}

static void created(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	if (res->status == WEFT_GRPC_ALREADY_EXISTS)
		record(import_of(op), CTRD_IMAGE_UPDATE, recorded);
	else
		recorded(op, res);
}

void import_record(struct import *im)
{
	record(im, CTRD_IMAGE_CREATE, created);
}

/* --- a new image: extract, lease -----------------------------------------------------------------
 */

static void got_lease(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);

	if (import_has_lease(im, res))
		import_content(im);
}

/* One that is there already is of an earlier try of ours. */
bool import_has_lease(struct import *im, const struct weft_grpc_result *res)
{
	if (res->status == WEFT_GRPC_OK || res->status == WEFT_GRPC_ALREADY_EXISTS) {
		im->op.lease = im->lease;
		return true;
	}
	import_failed(im, ctrd_op_fail(&im->op, res, "image %s: take a lease", im->path));
	return false;
}

void import_take_lease(struct import *im, ctrd_step_t next)
{
	static char key[] = "containerd.io/gc.expire";
	Ctrd__CreateLeaseRequest q = CTRD__CREATE_LEASE_REQUEST__INIT;
	Ctrd__Label label = CTRD__LABEL__INIT, *labels = &label;
	time_t at = time(NULL) + LEASE_SECONDS;
	char expire[32];
	struct tm tm;

	strftime(expire, sizeof(expire), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
	ctrd_lease_name(im->op.rt, im->image->manifest.digest, im->lease);
	label.key = key;
	label.value = expire;
	q.id = im->lease;
	q.labels = &labels;
	q.n_labels = 1;
	ctrd_op_call(&im->op, CTRD_LEASE_CREATE, &q.base, CTRD_QUICK_MS, next);
}

static void extracted(
	void *userdata, int r, const struct weft_err *err, struct weft_oci_image *image)
{
	struct import *im = userdata;

	(void)image;
	weft_oci_job_free(TAKE_PTR(im->job));
	if (r < 0) {
		im->op.err = *err;
		import_failed(im, r);
		return;
	}
	import_take_lease(im, got_lease);
}

static void extract(struct import *im)
{
	struct weft_runtime *rt = im->op.rt;
	int r;

	im->staging = staging_path(rt);
	if (!im->staging) {
		import_failed(im, weft_err_set(&im->op.err, ENOMEM, "image %s: %m", im->path));
		return;
	}
	r = weft_remove_tree(im->staging);
	if (r == 0)
		r = weft_mkdir_p(im->staging, 0700);
	if (r == 0)
		r = weft_oci_job_extract(
			rt->event, im->path, im->image, im->staging, extracted, im, &im->job);
	if (r < 0)
		import_failed(im, weft_err_set(&im->op.err, r, "image %s: extract it to %s: %s",
					  im->path, im->staging, strerror(-r)));
}

/* --- an image that may be there already ----------------------------------------------------------
 */

static void got_snapshot(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);

	if (res->status == WEFT_GRPC_OK)
		import_finish(im, 0);
	else if (res->status == WEFT_GRPC_NOT_FOUND)
		extract(im);
	else
		import_failed(im, ctrd_op_fail(op, res, "image %s: look at its layers", im->path));
}

static void got_image(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__SnapshotRequest q = CTRD__SNAPSHOT_REQUEST__INIT;
	struct import *im = import_of(op);

	if (res->status == WEFT_GRPC_NOT_FOUND) {
		extract(im);
	} else if (res->status != WEFT_GRPC_OK) {
		import_failed(im, ctrd_op_fail(op, res, "image %s: look for it", im->path));
	} else {
		q.snapshotter = op->snapshots;
		q.key = im->image->chain_id;
		ctrd_op_call(op, CTRD_SNAPSHOT_STAT, &q.base, CTRD_QUICK_MS, got_snapshot);
	}
}

static void got_snapshotter(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__ImageNameRequest q = CTRD__IMAGE_NAME_REQUEST__INIT;
	struct import *im = import_of(op);

	if (res->status != WEFT_GRPC_OK) {
		import_failed(im, ctrd_op_fail(op, res, "image %s: import it", im->path));
		return;
	}
	q.name = im->name;
	ctrd_op_call(op, CTRD_IMAGE_GET, &q.base, CTRD_QUICK_MS, got_image);
}

static void inspected(
	void *userdata, int r, const struct weft_err *err, struct weft_oci_image *image)
{
	struct import *im = userdata;

	weft_oci_job_free(TAKE_PTR(im->job));
	if (r < 0) {
		im->op.err = *err;
		import_failed(im, r);
		return;
	}
	im->image = image;
	snprintf(im->name, sizeof(im->name), IMPORT_NAME_PREFIX "%s", image->manifest.digest);
	snprintf(im->lease, sizeof(im->lease), "weft-import-%.16s",
		WEFT_OCI_HEX(image->manifest.digest));
	ctrd_op_snapshotter(&im->op, got_snapshotter);
}

static void begin(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = import_of(op);
	int r;

	(void)res;
	r = weft_oci_job_inspect(op->rt->event, im->path, im->arch, inspected, im, &im->job);
	if (r < 0)
		import_failed(im,
			weft_err_set(&op->err, r, "image %s: read it: %s", im->path, strerror(-r)));
}

int ctrd_prepare(struct weft_runtime *rt, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err)
{
	const char *path = strncmp(image, "file://", 7) == 0 ? image + 7 : image;
	struct import *im;
	struct ctrd_op *op;

	if (path[0] != '/')
		return ctrd_pull(rt, image, arch, done, userdata, err);
	op = ctrd_op_new(rt, sizeof(*im), NULL);
	if (!op)
		return weft_err_set(err, ENOMEM, "image %s: out of memory", image);
	im = import_of(op);
	im->fd = -1;
	im->arch = arch;
	im->prepared = done;
	op->userdata = userdata;
	op->release = import_release;
	im->path = strdup(path);
	if (!im->path) {
		ctrd_op_free(op);
		return weft_err_set(err, ENOMEM, "image %s: out of memory", image);
	}
	import_queue(im, begin);
	return 0;
}
