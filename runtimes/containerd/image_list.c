/* SPDX-License-Identifier: Apache-2.0 */
/* The images that prepare() has recorded: by their digest, and those from registries once more by
 * their names. One that goes, goes with all of its names, and containerd collects the rest. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/import.h"

struct image_op {
	struct ctrd_op op;
	weft_runtime_images_t listed; /* NULL: one is removed */
	struct weft_runtime_image *list;
	unsigned n, at;
	char *ref;    /* the one that goes */
	char **names; /* of records to remove, NULL-terminated */
	unsigned n_names;
};

static struct image_op *image_op_of(struct ctrd_op *op)
{
	return (struct image_op *)op;
}

static void release(struct ctrd_op *op)
{
	struct image_op *i = image_op_of(op);

	free(i->list);
	free(i->ref);
	strv_free(i->names);
}

static bool is_ours(const char *name)
{
	return strncmp(name, IMPORT_NAME_PREFIX, strlen(IMPORT_NAME_PREFIX)) == 0;
}

static void list_records(struct image_op *i, ctrd_step_t next)
{
	Ctrd__ListImagesRequest q = CTRD__LIST_IMAGES_REQUEST__INIT;

	ctrd_op_call(&i->op, CTRD_IMAGE_LIST, &q.base, CTRD_QUICK_MS, next);
}

/* --- list ----------------------------------------------------------------------------------------
 */

static void finish_list(struct image_op *i, int r)
{
	weft_runtime_images_t listed = i->listed;
	struct weft_runtime_image *list = TAKE_PTR(i->list);
	void *userdata = i->op.userdata;
	struct weft_err err = i->op.err;
	unsigned n = i->n;

	ctrd_op_free(&i->op);
	listed(userdata, r, &err, list, r == 0 ? n : 0);
	free(list);
}

/* What its layers take compressed; that they are there unpacked as well is containerd's affair. */
static uint64_t sum_of(const char *manifest, size_t size)
{
	json_auto_t *o = json_loadb(manifest, size, 0, NULL);
	const json_t *layers = json_object_get(o, "layers"), *layer;
	uint64_t bytes = 0;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)layers, i, layer) {
		json_int_t n = json_integer_value(json_object_get(layer, "size"));

		bytes += n > 0 ? (uint64_t)n : 0;
	}
	return bytes;
}

static void next_size(struct image_op *i);

static void got_manifest(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct image_op *i = image_op_of(op);

	if (res->status == WEFT_GRPC_OK && op->text)
		i->list[i->at].bytes = sum_of(op->text, op->text_size);
	i->at++;
	next_size(i);
}

static void next_size(struct image_op *i)
{
	if (i->at == i->n)
		finish_list(i, 0);
	else
		ctrd_op_read(&i->op, i->list[i->at].ref + strlen(IMPORT_NAME_PREFIX), got_manifest);
}

static void got_list(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ListImagesResponse *m = (const Ctrd__ListImagesResponse *)res->reply;
	struct image_op *i = image_op_of(op);

	if (!m) {
		finish_list(i, ctrd_op_fail(op, res, "images of containerd"));
		return;
	}
	i->list = calloc(m->n_images + 1, sizeof(*i->list));
	if (!i->list) {
		finish_list(i, weft_err_set(&op->err, ENOMEM, "images: out of memory"));
		return;
	}
	for (size_t k = 0; k < m->n_images; k++) {
		const char *name = m->images[k]->name;

		if (is_ours(name) && weft_oci_digest_valid(name + strlen(IMPORT_NAME_PREFIX)))
			snprintf(i->list[i->n++].ref, sizeof(i->list->ref), "%s", name);
	}
	next_size(i);
}

int ctrd_images(
	struct weft_runtime *rt, weft_runtime_images_t done, void *userdata, struct weft_err *err)
{
	struct ctrd_op *op = ctrd_op_new(rt, sizeof(struct image_op), NULL);

	if (!op)
		return weft_err_set(err, ENOMEM, "images: out of memory");
	op->release = release;
	op->userdata = userdata;
	image_op_of(op)->listed = done;
	list_records(image_op_of(op), got_list);
	return 0;
}

/* --- remove --------------------------------------------------------------------------------------
 */

static void next_name(struct image_op *i);

static void name_removed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct image_op *i = image_op_of(op);

	if (res->status != WEFT_GRPC_OK && res->status != WEFT_GRPC_NOT_FOUND) {
		ctrd_op_finish(op, ctrd_op_fail(op, res, "image %s: remove it", i->ref));
		return;
	}
	i->at++;
	next_name(i);
}

/* The last one waits for the collector. */
static void next_name(struct image_op *i)
{
	Ctrd__DeleteImageRequest q = CTRD__DELETE_IMAGE_REQUEST__INIT;

	if (i->at == i->n_names) {
		ctrd_op_finish(&i->op, 0);
		return;
	}
	q.name = i->names[i->at];
	q.sync = i->at + 1 == i->n_names;
	ctrd_op_call(&i->op, CTRD_IMAGE_DELETE, &q.base, CTRD_TASK_MS, name_removed);
}

/* By the others nobody would find it again, were we killed in between. */
static void own_name_last(struct image_op *i)
{
	for (unsigned k = 0; k + 1 < i->n_names; k++) {
		char *name = i->names[k];

		if (strcmp(name, i->ref) == 0) {
			i->names[k] = i->names[i->n_names - 1];
			i->names[i->n_names - 1] = name;
		}
	}
}

static void got_names(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ListImagesResponse *m = (const Ctrd__ListImagesResponse *)res->reply;
	struct image_op *i = image_op_of(op);
	const char *digest = i->ref + strlen(IMPORT_NAME_PREFIX);

	if (!m) {
		ctrd_op_finish(op, ctrd_op_fail(op, res, "image %s: look for it", i->ref));
		return;
	}
	i->names = calloc(m->n_images + 1, sizeof(*i->names));
	for (size_t k = 0; i->names && k < m->n_images; k++) {
		const Ctrd__Image *image = m->images[k];

		if (image->target && strcmp(image->target->digest, digest) == 0)
			i->names[i->n_names++] = strdup(image->name);
		if (i->n_names > 0 && !i->names[i->n_names - 1])
			i->n_names--;
	}
	if (i->n_names == 0) {
		ctrd_op_finish(op, weft_err_set(&op->err, ENOENT, "image %s: not there", i->ref));
		return;
	}
	own_name_last(i);
	ctrd_image_forget(op->rt, i->ref);
	next_name(i);
}

int ctrd_image_remove(struct weft_runtime *rt, const char *ref, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct ctrd_op *op;

	if (!is_ours(ref) || !weft_oci_digest_valid(ref + strlen(IMPORT_NAME_PREFIX)))
		return weft_err_set(
			err, EINVAL, "image %s: not a reference to a prepared image", ref);
	op = ctrd_op_new(rt, sizeof(struct image_op), NULL);
	if (op)
		image_op_of(op)->ref = strdup(ref);
	if (!op || !image_op_of(op)->ref) {
		ctrd_op_free(op);
		return weft_err_set(err, ENOMEM, "image %s: out of memory", ref);
	}
	op->release = release;
	op->done = done;
	op->userdata = userdata;
	list_records(image_op_of(op), got_names);
	return 0;
}
