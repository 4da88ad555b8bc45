/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/registry/find.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"

#define MAX_DEPTH 3 /* of indexes in indexes */

struct weft_registry_find {
	struct weft_registry *registry;
	struct weft_registry_call *call;
	char what[512];
	enum weft_arch arch;
	bool any_os;
	unsigned depth;
	weft_registry_done_t done;
	void *userdata;
};

static void got_manifest(void *userdata, int r, const struct weft_err *err, const char *text,
	size_t size, const char *media_type);

static void finish(struct weft_registry_find *f, int r, const struct weft_err *err,
	const char *text, size_t size, const char *media_type)
{
	weft_registry_done_t done = f->done;
	void *userdata = f->userdata;

	weft_registry_find_cancel(f);
	done(userdata, r, err, text, size, media_type);
}

static void failed(struct weft_registry_find *f, int r, struct weft_err *err)
{
	if (!err->code)
		weft_err_set(err, r, "%s: %s", f->what, strerror(-r));
	finish(f, r, err, NULL, 0, NULL);
}

static bool fits(const struct weft_registry_find *f, const struct weft_oci_entry *e)
{
	if (e->kind == WEFT_OCI_INDEX)
		return true;
	return (e->linux_os || f->any_os) &&
	       (!*e->arch || weft_arch_parse(e->arch) == (int)f->arch);
}

static int nothing_fits(
	struct weft_registry_find *f, const struct weft_oci_index *index, struct weft_err *err)
{
	const char *os = f->any_os ? "" : "linux/", *arch = weft_arch_name(f->arch);
	char others[128] = "";

	for (unsigned i = 0; i < index->n_entries; i++) {
		const struct weft_oci_entry *e = &index->entries[i];
		size_t n = strlen(others);

		if ((e->linux_os || f->any_os) && !strstr(others, e->arch))
			snprintf(others + n, sizeof(others) - n, "%s%s", n ? ", " : "", e->arch);
	}
	weft_err_set(err, ENOTSUP, "%s has nothing for %s%s%s%s", f->what, os, arch,
		*others ? ", only for " : "", others);
	return weft_err_hint(err, "choose an image for %s%s", os, arch);
}

/* The first manifest for this machine. */
static int take_index(
	struct weft_registry_find *f, const char *text, size_t size, struct weft_err *err)
{
	struct weft_oci_index index = {};
	int r;

	if (++f->depth > MAX_DEPTH)
		return weft_err_set(err, EBADMSG, "%s: its index is nested too deeply", f->what);
	r = weft_oci_index_parse(f->what, text, size, &index, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < index.n_entries; i++) {
		if (!fits(f, &index.entries[i]))
			continue;
		r = weft_registry_manifest(
			f->registry, index.entries[i].descriptor.digest, got_manifest, f, &f->call);
		weft_oci_index_free(&index);
		return r;
	}
	nothing_fits(f, &index, err);
	weft_oci_index_free(&index);
	return -ENOTSUP;
}

static void got_manifest(void *userdata, int r, const struct weft_err *err, const char *text,
	size_t size, const char *media_type)
{
	struct weft_registry_find *f = userdata;
	struct weft_err why = *err;
	enum weft_oci_kind kind;

	f->call = NULL;
	if (r == 0)
		r = weft_oci_document_kind(f->what, text, size, &kind, &why);
	if (r == 0 && kind == WEFT_OCI_INDEX)
		r = take_index(f, text, size, &why);
	else if (r == 0)
		return finish(f, 0, err, text, size, media_type);
	if (r < 0)
		failed(f, r, &why);
}

int weft_registry_find(struct weft_registry *r, const struct weft_registry_wish *wish,
	weft_registry_done_t done, void *userdata, struct weft_registry_find **ret)
{
	struct weft_registry_find *f = calloc(1, sizeof(*f));
	int q;

	if (!f)
		return -ENOMEM;
	f->registry = r;
	f->arch = wish->arch;
	f->any_os = wish->any_os;
	f->done = done;
	f->userdata = userdata;
	snprintf(f->what, sizeof(f->what), "%s", wish->what);
	q = weft_registry_manifest(r, *wish->ref->digest ? wish->ref->digest : wish->ref->tag,
		got_manifest, f, &f->call);
	if (q < 0) {
		free(f);
		return q;
	}
	*ret = f;
	return 0;
}

void weft_registry_find_cancel(struct weft_registry_find *f)
{
	if (!f)
		return;
	weft_registry_cancel(f->call);
	free(f);
}
