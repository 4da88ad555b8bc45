/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/import.h"

#define CHUNK     (256U * 1024)
#define LOCKED_MS 200

static void write_next(struct import *im);

/* --- labels: what keeps what alive ---------------------------------------------------------------
 */

static void update_labels(
	struct import *im, char *digest, Ctrd__Label **labels, size_t n, ctrd_step_t next)
{
	Ctrd__UpdateContentRequest q = CTRD__UPDATE_CONTENT_REQUEST__INIT;
	Ctrd__ContentInfo info = CTRD__CONTENT_INFO__INIT;
	Ctrd__FieldMask mask = CTRD__FIELD_MASK__INIT;
	char *paths[WEFT_OCI_MAX_LAYERS + 1] = {};
	char text[WEFT_OCI_MAX_LAYERS + 1][80];

	for (size_t i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "labels.%s", labels[i]->key);
		paths[i] = text[i];
	}
	info.digest = digest;
	info.labels = labels;
	info.n_labels = n;
	mask.paths = paths;
	mask.n_paths = n;
	q.info = &info;
	q.update_mask = &mask;
	ctrd_op_call(&im->op, CTRD_CONTENT_UPDATE, &q.base, CTRD_QUICK_MS, next);
}

static void labelled_config(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = (struct import *)op;

	if (res->status != WEFT_GRPC_OK)
		import_failed(im, ctrd_op_fail(op, res, "image %s: label its parts", im->path));
	else
		import_unpack(im);
}

static void labelled_manifest(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct import *im = (struct import *)op;
	Ctrd__Label label = CTRD__LABEL__INIT, *labels = &label;
	char key[80];

	if (res->status != WEFT_GRPC_OK) {
		import_failed(im, ctrd_op_fail(op, res, "image %s: label its parts", im->path));
		return;
	}
	snprintf(key, sizeof(key), "containerd.io/gc.ref.snapshot.%s", op->snapshots);
	label.key = key;
	label.value = im->image->chain_id;
	update_labels(im, im->image->config.digest, &labels, 1, labelled_config);
}

static void label(struct import *im)
{
	static char config[] = "containerd.io/gc.ref.content.config";
	Ctrd__Label all[WEFT_OCI_MAX_LAYERS + 1], *labels[WEFT_OCI_MAX_LAYERS + 1];
	char keys[WEFT_OCI_MAX_LAYERS][48];

	for (unsigned i = 0; i <= im->image->n_layers; i++) {
		ctrd__label__init(&all[i]);
		labels[i] = &all[i];
	}
	all[0].key = config;
	all[0].value = im->image->config.digest;
	for (unsigned i = 0; i < im->image->n_layers; i++) {
		snprintf(keys[i], sizeof(keys[i]), "containerd.io/gc.ref.content.l.%u", i);
		all[i + 1].key = keys[i];
		all[i + 1].value = im->image->layers[i].digest;
	}
	update_labels(
		im, im->image->manifest.digest, labels, im->image->n_layers + 1, labelled_manifest);
}

/* --- one blob: STAT, WRITE ..., COMMIT -----------------------------------------------------------
 */

/* Documents of a pulled image are in memory, what comes from the disk is in the staging directory.
 */
static ssize_t read_blob(struct import *im, uint64_t offset)
{
	const struct weft_oci_descriptor *d = im->writing;
	const char *text =
		d == &im->image->config ? im->image->config_text : im->image->manifest_text;
	size_t n = d->size - offset < CHUNK ? (size_t)(d->size - offset) : CHUNK;

	if (im->staging)
		return pread(im->fd, im->chunk, CHUNK, (off_t)offset);
	memcpy(im->chunk, text + offset, n);
	return (ssize_t)n;
}

static void send_chunk(struct import *im, uint64_t offset)
{
	Ctrd__WriteContentRequest q = CTRD__WRITE_CONTENT_REQUEST__INIT;
	const struct weft_oci_descriptor *d = im->writing;
	ssize_t n = 0;

	if (offset < d->size)
		n = read_blob(im, offset);
	if (n < 0 || offset > d->size || (n == 0 && offset < d->size)) {
		weft_grpc_cancel(TAKE_PTR(im->op.call));
		import_failed(im, weft_err_set(&im->op.err, EIO,
					  "image %s: blob %.19s… changed while it was read",
					  im->path, d->digest));
		return;
	}
	q.ref = im->ref;
	q.expected = (char *)(uintptr_t)d->digest;
	q.total = (int64_t)d->size;
	q.offset = (int64_t)offset;
	q.data.data = im->chunk;
	q.data.len = (size_t)n;
	q.action = offset + (uint64_t)n == d->size ? CTRD__WRITE_ACTION__COMMIT
						   : CTRD__WRITE_ACTION__WRITE;
	weft_grpc_send(im->op.call, &q.base, q.action == CTRD__WRITE_ACTION__COMMIT);
}

/* STAT tells where an interrupted write of an earlier daemon stopped; we go on there. */
static void on_written(void *userdata, const ProtobufCMessage *message)
{
	const Ctrd__WriteContentResponse *m = (const Ctrd__WriteContentResponse *)message;
	struct import *im = userdata;

	if (m->action != CTRD__WRITE_ACTION__COMMIT)
		send_chunk(im, (uint64_t)m->offset);
}

/* By a pull of ours, or by what is left of an earlier daemon's: the blob will be there, or free. */
bool import_is_locked(const struct weft_grpc_result *res)
{
	return res->status == WEFT_GRPC_UNAVAILABLE && strstr(res->message, " locked ");
}

static void write_again(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res;
	write_next((struct import *)op);
}

static void on_write_end(void *userdata, const struct weft_grpc_result *res)
{
	struct import *im = userdata;

	im->op.call = NULL;
	closep(&im->fd);
	im->fd = -1;
	if (import_is_locked(res)) {
		ctrd_op_after(&im->op, LOCKED_MS, write_again);
		return;
	}
	if (res->status != WEFT_GRPC_OK && res->status != WEFT_GRPC_ALREADY_EXISTS) {
		import_failed(im, ctrd_op_fail(&im->op, res, "image %s: write blob %.19s…",
					  im->path, im->writing->digest));
		return;
	}
	im->blob++;
	write_next(im);
}

static int open_blob(struct import *im)
{
	_cleanup_(freep) char *path =
		weft_strf("%s/%s", im->staging, WEFT_OCI_HEX(im->writing->digest));

	if (!path)
		return -ENOMEM;
	im->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return im->fd < 0 ? -errno : 0;
}

static int begin_write(struct import *im)
{
	const char *lease[] = {"containerd-lease", im->op.lease, NULL};
	struct weft_grpc_spec spec = {
		.metadata = lease,
		.timeout_ms = CTRD_DISK_MS,
		.on_message = on_written,
		.on_end = on_write_end,
		.userdata = im,
	};
	Ctrd__WriteContentRequest q = CTRD__WRITE_CONTENT_REQUEST__INIT;
	int r = im->staging ? open_blob(im) : 0;

	if (r < 0)
		return r;
	if (!im->chunk)
		im->chunk = malloc(CHUNK);
	if (!im->chunk)
		return -ENOMEM;
	r = ctrd_begin(im->op.rt, CTRD_CONTENT_WRITE, &spec, &im->op.call);
	if (r < 0)
		return r;
	snprintf(im->ref, sizeof(im->ref), "weft-%s", im->writing->digest);
	q.action = CTRD__WRITE_ACTION__STAT;
	q.ref = im->ref;
	q.expected = (char *)(uintptr_t)im->writing->digest;
	q.total = (int64_t)im->writing->size;
	weft_grpc_send(im->op.call, &q.base, false);
	return 0;
}

static void write_next(struct import *im)
{
	const struct weft_oci_image *image = im->image;
	int r;

	if (im->blob < image->n_layers)
		im->writing = &image->layers[im->blob];
	else if (im->blob == image->n_layers)
		im->writing = &image->config;
	else if (im->blob == image->n_layers + 1)
		im->writing = &image->manifest;
	else {
		label(im);
		return;
	}
	r = begin_write(im);
	if (r < 0)
		import_failed(im, weft_err_set(&im->op.err, r, "image %s: write blob %.19s…: %s",
					  im->path, im->writing->digest, strerror(-r)));
}

void import_content(struct import *im)
{
	im->blob = 0;
	write_next(im);
}

void import_documents(struct import *im)
{
	im->blob = im->image->n_layers;
	write_next(im);
}
