/* SPDX-License-Identifier: Apache-2.0 */
/* From a registry. One layer becomes the file as it is, and goes on where it stopped; titled ones
 * become the members of a tar archive, each checked as it comes. The manifest's digest is the mark.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/image/fetch_internal.h"

#define BLOCK 512

static void next_layer(struct weft_fetch *f);

static const struct weft_oci_titled *layer(const struct weft_fetch *f)
{
	return &f->artifact.layers[f->layer];
}

/* --- what becomes a member -----------------------------------------------------------------------
 */

static bool is_member(const char *title)
{
	static const char *const names[] = {"kernel", "initrd.cpio", "initramfs.cpio", "weft.json"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(title, names[i]) == 0)
			return true;
	return false;
}

/* POSIX ustar: a name, a size, and nothing else that anybody looks at. */
static void member_head(const struct weft_oci_titled *l, char head[BLOCK])
{
	unsigned sum = 0;

	memset(head, 0, BLOCK);
	snprintf(head, 100, "%s", l->title);
	memcpy(head + 100, "0000644", 8);
	memcpy(head + 108, "0000000", 8);
	memcpy(head + 116, "0000000", 8);
	snprintf(head + 124, 12, "%011llo", (unsigned long long)l->descriptor.size);
	memcpy(head + 136, "00000000000", 12);
	memset(head + 148, ' ', 8);
	head[156] = '0';
	memcpy(head + 257, "ustar", 6);
	memcpy(head + 263, "00", 2);
	for (int i = 0; i < BLOCK; i++)
		sum += (unsigned char)head[i];
	snprintf(head + 148, 8, "%06o", sum);
}

static uint64_t padding(uint64_t size)
{
	return (BLOCK - size % BLOCK) % BLOCK;
}

static int begin_member(struct weft_fetch *f)
{
	char head[BLOCK];

	if (!f->md)
		f->md = EVP_MD_CTX_new();
	if (!f->md || EVP_DigestInit_ex(f->md, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	member_head(layer(f), head);
	return fetch_write(f, head, sizeof(head));
}

static int end_member(struct weft_fetch *f)
{
	static const char zeros[BLOCK];
	unsigned char md[EVP_MAX_MD_SIZE];
	char hex[65] = "";

	if (EVP_DigestFinal_ex(f->md, md, NULL) != 1)
		return -ENOMEM;
	for (unsigned i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", md[i]);
	if (strcmp(hex, WEFT_OCI_HEX(layer(f)->descriptor.digest)) != 0) {
		weft_err_set(&f->err, EBADMSG,
			"image %s: what registry %s sent for its %s does not match its digest",
			f->image, f->ref.host, layer(f)->title);
		return weft_err_hint(&f->err, "try again; if it stays so, the registry is damaged");
	}
	return fetch_write(f, zeros, (size_t)padding(layer(f)->descriptor.size));
}

/* --- layers --------------------------------------------------------------------------------------
 */

static int on_data(void *userdata, const char *data, size_t size)
{
	struct weft_fetch *f = userdata;

	if (f->archive && EVP_DigestUpdate(f->md, data, size) != 1)
		return -ENOMEM;
	return fetch_write(f, data, size);
}

static void layer_done(struct weft_fetch *f)
{
	int r = f->archive ? end_member(f) : 0;

	if (r < 0) {
		fetch_end(f, r);
		return;
	}
	f->layer++;
	next_layer(f);
}

static void on_blob(void *userdata, int r, const struct weft_err *err, const char *text,
	size_t size, const char *media_type)
{
	struct weft_fetch *f = userdata;

	(void)text, (void)size, (void)media_type;
	f->blob = NULL;
	if (r == 0) {
		layer_done(f);
		return;
	}
	if (!f->err.code)
		f->err = *err;
	/* The start of an archive cannot be gone on from: its members were checked as they came. */
	f->away = weft_registry_is_away(r) && !f->archive;
	fetch_end(f, r);
}

static int end_archive(struct weft_fetch *f)
{
	static const char zeros[2 * BLOCK];

	return f->archive ? fetch_write(f, zeros, sizeof(zeros)) : 0;
}

static void next_layer(struct weft_fetch *f)
{
	uint64_t at = f->archive ? 0 : f->size;
	int r;

	while (f->archive && f->layer < f->artifact.n_layers && !is_member(layer(f)->title))
		f->layer++;
	if (f->layer == f->artifact.n_layers) {
		fetch_end(f, end_archive(f));
		return;
	}
	r = f->archive ? begin_member(f) : 0;
	if (r == 0 && at >= layer(f)->descriptor.size)
		layer_done(f);
	else if (r == 0)
		r = weft_registry_blob(
			f->registry, &layer(f)->descriptor, at, on_data, on_blob, f, &f->blob);
	if (r < 0)
		fetch_end(f, r);
}

/* --- the manifest --------------------------------------------------------------------------------
 */

static int plan(struct weft_fetch *f)
{
	const struct weft_oci_artifact *a = &f->artifact;
	bool kernel = false;

	for (unsigned i = 0; i < a->n_layers; i++)
		kernel |= strcmp(a->layers[i].title, "kernel") == 0;
	f->archive = kernel;
	f->total = kernel ? 2 * BLOCK : 0;
	for (unsigned i = 0; i < a->n_layers; i++) {
		uint64_t size = a->layers[i].descriptor.size;

		if (kernel && is_member(a->layers[i].title))
			f->total += BLOCK + size + padding(size);
		else if (!kernel)
			f->total += size;
		if (f->total > WEFT_FETCH_MAX_BYTES)
			return fetch_too_large(f);
	}
	if (a->n_layers > 1 && !f->archive) {
		weft_err_set(&f->err, EBADMSG,
			"image %s: it has %u layers, and none is titled \"kernel\"", f->image,
			a->n_layers);
		return weft_err_hint(&f->err,
			"push the image's archive as the only layer: oras push "
			"HOST/NAME:TAG image.tar.gz");
	}
	if (f->archive)
		return fetch_begin_anew(f);
	memcpy(f->digest, WEFT_OCI_HEX(a->layers[0].descriptor.digest), sizeof(f->digest));
	return fetch_open(f);
}

static void got_manifest(void *userdata, int r, const struct weft_err *err, const char *text,
	size_t size, const char *media_type)
{
	struct weft_fetch *f = userdata;
	char what[512];

	(void)media_type;
	f->find = NULL;
	if (r < 0) {
		f->err = *err;
		f->away = weft_registry_is_away(r);
		fetch_end(f, r);
		return;
	}
	weft_oci_digest(text, size, f->mark);
	if (strcmp(f->mark, f->known) == 0) {
		f->unchanged = true;
		fetch_end(f, 0);
		return;
	}
	snprintf(what, sizeof(what), "image %.480s", f->image);
	r = weft_oci_artifact_parse(what, text, size, &f->artifact, &f->err);
	if (r == 0)
		r = plan(f);
	if (r < 0)
		fetch_end(f, r);
	else
		next_layer(f);
}

int fetch_oci_start(struct weft_fetch *f, struct weft_err *err)
{
	struct weft_registry_settings settings = {};
	char what[512];
	const struct weft_registry_wish wish = {
		.what = what, .ref = &f->ref, .arch = f->arch, .any_os = true};
	int r = weft_reference_parse(f->image, &f->ref, err);

	if (r < 0)
		return r;
	if (*f->ref.digest && strcmp(f->ref.digest, f->known) == 0) { /* for ever */
		strcpy(f->mark, f->known);
		f->unchanged = true;
		fetch_end(f, 0);
		return 0;
	}
	snprintf(what, sizeof(what), "image %.480s", f->image);
	r = weft_registry_settings_load(f->fetcher->registries, &f->ref, &settings, err);
	if (r == 0)
		r = weft_registry_new(f->fetcher->http, &f->ref, &settings, what, &f->registry);
	weft_registry_settings_done(&settings);
	if (r < 0)
		return err->code ? r : weft_err_set(err, r, "%s: %s", what, strerror(-r));
	weft_registry_hurry(f->registry, *f->known);
	r = weft_registry_find(f->registry, &wish, got_manifest, f, &f->find);
	return r < 0 ? weft_err_set(err, r, "%s: %s", what, strerror(-r)) : 0;
}

void fetch_oci_done(struct weft_fetch *f)
{
	weft_registry_find_cancel(f->find);
	weft_registry_cancel(f->blob);
	weft_registry_free(f->registry);
	weft_oci_artifact_free(&f->artifact);
	EVP_MD_CTX_free(f->md);
}
