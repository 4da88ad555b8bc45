/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"
#include "runtimes/image/oci_source.h"

#define MAX_DEPTH 3 /* of indexes in indexes */

/* One search through the indexes of an image. */
struct search {
	struct weft_oci_source *source;
	const char *path;
	char what[512]; /* "image /x.tar" */
	enum weft_arch arch;
	char others[128]; /* architectures met that are not the wanted one */
	bool mismatch;    /* met one that its index did not tell */
	struct weft_oci_image *found;
	struct weft_err *err;
};

static int incomplete(struct search *q, const char *document, const char *digest)
{
	weft_err_set(q->err, EBADMSG, "%s is incomplete: its %s %.19s… is missing", q->what,
		document, digest);
	return weft_err_hint(q->err, "copy or build the image again");
}

static int read_blob(struct search *q, const char *document, const struct weft_oci_descriptor *d,
	const char **ret, size_t *ret_size)
{
	char name[128], digest[WEFT_OCI_DIGEST];
	const char *text;
	size_t size;

	snprintf(name, sizeof(name), "blobs/sha256/%s", WEFT_OCI_HEX(d->digest));
	if (weft_oci_source_text(q->source, name, &text, &size) < 0)
		return incomplete(q, document, d->digest);
	weft_oci_digest(text, size, digest);
	if (size != d->size || strcmp(digest, d->digest) != 0) {
		weft_err_set(q->err, EBADMSG,
			"%s is damaged: its %s %.19s… does not match its digest", q->what, document,
			d->digest);
		return weft_err_hint(q->err, "copy or build the image again");
	}
	*ret = text;
	*ret_size = size;
	return 0;
}

static void note_other(struct search *q, const char *arch)
{
	size_t n = strlen(q->others);

	if (!strstr(q->others, arch))
		snprintf(q->others + n, sizeof(q->others) - n, "%s%s", n ? ", " : "", arch);
}

static int check_layers(struct search *q, const struct weft_oci_image *image)
{
	for (unsigned i = 0; i < image->n_layers; i++) {
		const struct weft_oci_descriptor *l = &image->layers[i];
		char name[128];
		uint64_t size;

		snprintf(name, sizeof(name), "blobs/sha256/%s", WEFT_OCI_HEX(l->digest));
		if (weft_oci_source_size(q->source, name, &size) < 0)
			return incomplete(q, "layer", l->digest);
		if (size != l->size)
			return weft_err_set(q->err, EBADMSG,
				"%s is damaged: layer %.19s… has %llu bytes, not %llu", q->what,
				l->digest, (unsigned long long)size, (unsigned long long)l->size);
	}
	return 0;
}

static int try_manifest(struct search *q, const struct weft_oci_descriptor *d)
{
	_cleanup_(weft_oci_image_freep) struct weft_oci_image *image = NULL;
	const char *manifest, *text;
	struct weft_oci_descriptor config;
	size_t manifest_size, size;
	int r;

	r = read_blob(q, "manifest", d, &manifest, &manifest_size);
	if (r < 0)
		return r;
	r = weft_oci_manifest_config(q->what, manifest, manifest_size, &config, q->err);
	if (r < 0)
		return r;
	r = read_blob(q, "configuration", &config, &text, &size);
	if (r < 0)
		return r;
	r = weft_oci_image_parse(q->what, d->media_type, manifest, manifest_size, text, size,
		q->arch, &image, q->err);
	if (r < 0)
		return r;
	r = check_layers(q, image);
	if (r < 0)
		return r;
	q->found = TAKE_PTR(image);
	return 0;
}

static int search_index(struct search *q, const char *text, size_t size, unsigned depth);

static int try_entry(struct search *q, const struct weft_oci_entry *e, unsigned depth)
{
	const char *text;
	size_t size;
	int r;

	if (e->kind == WEFT_OCI_INDEX) {
		if (depth == 0)
			return weft_err_set(
				q->err, EBADMSG, "%s: its index is nested too deeply", q->what);
		r = read_blob(q, "index", &e->descriptor, &text, &size);
		return r < 0 ? r : search_index(q, text, size, depth - 1);
	}
	if (!e->linux_os)
		return 0;
	if (*e->arch && weft_arch_parse(e->arch) != (int)q->arch) {
		note_other(q, e->arch);
		return 0;
	}
	return try_manifest(q, &e->descriptor);
}

/* The first manifest that fits, in the index's order. One that does not say what it is for is
 * looked into, and may turn out to be for another architecture. */
static int search_index(struct search *q, const char *text, size_t size, unsigned depth)
{
	struct weft_oci_index index = {};
	int r;

	r = weft_oci_index_parse(q->what, text, size, &index, q->err);
	for (unsigned i = 0; r == 0 && !q->found && i < index.n_entries; i++) {
		r = try_entry(q, &index.entries[i], depth);
		if (r == -ENOTSUP && index.n_entries > 1) {
			q->mismatch = true;
			r = 0;
		}
	}
	weft_oci_index_free(&index);
	return r;
}

static int no_index(struct search *q)
{
	const char *text;
	size_t size;

	if (weft_oci_source_text(q->source, "oci-layout", &text, &size) < 0) {
		uint64_t n;

		weft_err_set(
			q->err, EBADMSG, "%s is not an OCI image: it has no index.json", q->path);
		if (weft_oci_source_size(q->source, "manifest.json", &n) == 0)
			return weft_err_hint(q->err,
				"it looks like `docker save`: convert it with `skopeo copy "
				"docker-archive:%s oci-archive:FILE`",
				q->path);
		return weft_err_hint(q->err,
			"an OCI image is a tar archive with index.json at its top level, as from "
			"`skopeo copy … oci-archive:FILE`");
	}
	weft_err_set(q->err, EBADMSG, "%s is incomplete: it has no index.json", q->what);
	return weft_err_hint(q->err, "copy or build the image again");
}

int weft_oci_inspect(
	const char *path, enum weft_arch arch, struct weft_oci_image **ret, struct weft_err *err)
{
	_cleanup_(weft_oci_source_freep) struct weft_oci_source *source = NULL;
	struct search q = {.path = path, .arch = arch, .err = err};
	const char *text;
	size_t size;
	int r;

	r = weft_oci_source_open(path, &source, err);
	if (r < 0)
		return r;
	q.source = source;
	snprintf(q.what, sizeof(q.what), "image %s", path);
	if (weft_oci_source_text(source, "index.json", &text, &size) < 0)
		return no_index(&q);
	r = search_index(&q, text, size, MAX_DEPTH);
	if (r < 0)
		return r;
	if (!q.found) {
		weft_err_set(err, *q.others || q.mismatch ? ENOTSUP : EBADMSG,
			"image %s has nothing for linux/%s%s%s", path, weft_arch_name(arch),
			*q.others ? ", only for " : "", q.others);
		return weft_err_hint(err, "build the image for linux/%s", weft_arch_name(arch));
	}
	*ret = q.found;
	return 0;
}

int weft_oci_extract(
	const char *path, const struct weft_oci_image *image, int dir, struct weft_err *err)
{
	_cleanup_(weft_oci_source_freep) struct weft_oci_source *source = NULL;
	const char *digests[WEFT_OCI_MAX_LAYERS + 2];
	unsigned n = 0;
	int r;

	r = weft_oci_source_open(path, &source, err);
	if (r < 0)
		return r;
	digests[n++] = image->manifest.digest;
	digests[n++] = image->config.digest;
	for (unsigned i = 0; i < image->n_layers; i++)
		digests[n++] = image->layers[i].digest;
	return weft_oci_source_extract(source, digests, n, dir, err);
}
