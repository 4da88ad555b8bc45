/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/image.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"

#define MAX_FILES 64
#define TYPE      "application/vnd.oci.image."

/* The files of the layout, in the order in which they are written. */
struct layout {
	struct {
		char *name;
		char *data;
		size_t size;
	} files[MAX_FILES];
	unsigned n;
};

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "test image: %s failed\n", what);
	abort();
}

static void *take(void *p)
{
	check(p != NULL, "malloc");
	return p;
}

static void add_file(struct layout *l, const char *name, const void *data, size_t size)
{
	check(l->n < MAX_FILES, "too many files");
	l->files[l->n].name = take(strdup(name));
	l->files[l->n].data = take(malloc(size + 1));
	memcpy(l->files[l->n].data, data, size);
	l->files[l->n].data[size] = '\0';
	l->files[l->n++].size = size;
}

/* Returns the descriptor's members. */
static char *add_blob(struct layout *l, const void *data, size_t size)
{
	char digest[WEFT_OCI_DIGEST], name[128];

	weft_oci_digest(data, size, digest);
	snprintf(name, sizeof(name), "blobs/sha256/%s", WEFT_OCI_HEX(digest));
	add_file(l, name, data, size);
	return take(weft_strf("\"digest\":\"%s\",\"size\":%zu", digest, size));
}

static void entry(struct archive *a, const char *name, const void *data, size_t size, unsigned mode)
{
	struct archive_entry *e = take(archive_entry_new());

	archive_entry_set_pathname(e, name);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, mode);
	archive_entry_set_size(e, (la_int64_t)size);
	check(archive_write_header(a, e) == ARCHIVE_OK, "write header");
	check(archive_write_data(a, data, size) == (la_ssize_t)size, "write data");
	archive_entry_free(e);
}

static void add_filler(struct archive *a, const struct test_image *how, unsigned i)
{
	_cleanup_(freep) char *data = take(malloc(how->filler));
	uint64_t x = 88172645463325252ULL + how->seed * 1000 + i;
	char name[32];

	for (unsigned k = 0; k < how->filler; k++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		data[k] = (char)x;
	}
	snprintf(name, sizeof(name), "filler%u", i);
	entry(a, name, data, how->filler, 0644);
}

/* An uncompressed layer; the caller frees it. */
static char *make_layer(const struct test_image *how, unsigned i, size_t *ret_size)
{
	struct archive *a = take(archive_write_new());
	size_t room = 16 << 20, size = 0;
	char *buf = take(malloc(room)), name[32];

	archive_write_set_format_gnutar(a);
	archive_write_add_filter_none(a);
	check(archive_write_open_memory(a, buf, room, &size) == ARCHIVE_OK, "open layer");
	if (i == 0 && how->program) {
		_cleanup_(freep) char *program = NULL;
		size_t n;

		check(weft_read_file(how->program, room / 2, &program, &n) == 0, how->program);
		entry(a, "init", program, n, 0755);
	}
	if (i == 0 && how->passwd)
		entry(a, "etc/passwd", how->passwd, strlen(how->passwd), 0644);
	if (i == 0 && how->group)
		entry(a, "etc/group", how->group, strlen(how->group), 0644);
	if (i > 0 && how->filler)
		add_filler(a, how, i);
	snprintf(name, sizeof(name), "layer%u", i);
	entry(a, name, name, strlen(name), 0644);
	check(archive_write_close(a) == ARCHIVE_OK, "close layer");
	archive_write_free(a);
	*ret_size = size;
	return buf;
}

static char *add_layers(struct layout *l, const struct test_image *how, char **ret_diff_ids)
{
	unsigned n = how->layers ? how->layers : 1;
	char *list = take(strdup("")), *ids = take(strdup(""));

	for (unsigned i = 0; i < n; i++) {
		_cleanup_(freep) char *old_list = list, *old_ids = ids;
		_cleanup_(freep) char *desc = NULL, *layer = NULL;
		char digest[WEFT_OCI_DIGEST];
		size_t size;

		layer = make_layer(how, i, &size);
		weft_oci_digest(layer, size, digest);
		desc = add_blob(l, layer, size);
		if (i == n - 1 && how->wrong_layer)
			l->files[l->n - 1].data[size / 2] ^= 1;
		list = take(weft_strf("%s%s{\"mediaType\":\"" TYPE "layer.v1.tar\",%s}", old_list,
			i ? "," : "", desc));
		ids = take(weft_strf("%s%s\"%s\"", old_ids, i ? "," : "", digest));
		if (i == n - 1 && how->missing_layer)
			l->n--, free(l->files[l->n].name), free(l->files[l->n].data);
	}
	*ret_diff_ids = ids;
	return list;
}

/* Returns the descriptor's members of a manifest. */
static char *add_manifest(struct layout *l, const struct test_image *how, const char *arch)
{
	_cleanup_(freep) char *layers = NULL, *ids = NULL, *config = NULL, *desc = NULL,
			      *text = NULL;

	layers = add_layers(l, how, &ids);
	config = take(weft_strf("{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":%s,"
				"\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]}}",
		arch, how->config ? how->config : "{\"Cmd\":[\"/init\"]}", ids));
	desc = add_blob(l, config, strlen(config));
	text = take(weft_strf("{\"schemaVersion\":2,\"mediaType\":\"" TYPE "manifest.v1+json\","
			      "\"config\":{\"mediaType\":\"" TYPE "config.v1+json\",%s},"
			      "\"layers\":[%s]}",
		desc, layers));
	return add_blob(l, text, strlen(text));
}

static char *index_entry(const char *desc, const char *arch, bool platform)
{
	return take(weft_strf("{\"mediaType\":\"" TYPE "manifest.v1+json\",%s%s%s%s}", desc,
		platform ? ",\"platform\":{\"os\":\"linux\",\"architecture\":\"" : "",
		platform ? arch : "", platform ? "\"}" : ""));
}

static void make(struct layout *l, const struct test_image *how)
{
	const char *arch = how->arch ? how->arch : weft_arch_name(weft_arch_host());
	const char *other = strcmp(arch, "amd64") == 0 ? "arm64" : "amd64";
	_cleanup_(freep) char *desc = NULL, *list = NULL, *text = NULL, *first = NULL;

	desc = add_manifest(l, how, arch);
	list = index_entry(desc, arch, !how->no_platform);
	if (how->other_first) {
		_cleanup_(freep) char *d = add_manifest(l, &(struct test_image){}, other);
		_cleanup_(freep) char *old = list;

		first = index_entry(d, other, !how->no_platform);
		list = take(weft_strf("%s,%s", first, old));
	}
	text = take(weft_strf("{\"schemaVersion\":2,\"manifests\":[%s]}", list));
	if (how->nested) {
		_cleanup_(freep) char *inner = text, *d = add_blob(l, inner, strlen(inner));

		text = take(weft_strf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" TYPE
				      "index.v1+json\",%s}]}",
			d));
	}
	add_file(l, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
	add_file(l, "index.json", text, strlen(text));
}

static void release(struct layout *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		free(l->files[i].name);
		free(l->files[i].data);
	}
}

void test_image_write(const char *path, const struct test_image *how)
{
	struct archive *a = take(archive_write_new());
	struct layout l = {};

	make(&l, how);
	archive_write_set_format_gnutar(a);
	if (how->compress)
		archive_write_add_filter_gzip(a);
	check(archive_write_open_filename(a, path) == ARCHIVE_OK, path);
	for (unsigned i = 0; i < l.n; i++) {
		unsigned at = how->blobs_first ? i : l.n - 1 - i;

		entry(a, l.files[at].name, l.files[at].data, l.files[at].size, 0644);
	}
	check(archive_write_close(a) == ARCHIVE_OK, "close image");
	archive_write_free(a);
	release(&l);
}

void test_image_write_dir(const char *dir, const struct test_image *how)
{
	_cleanup_(freep) char *blobs = take(weft_strf("%s/blobs/sha256", dir));
	struct layout l = {};

	make(&l, how);
	check(weft_mkdir_p(blobs, 0755) == 0, blobs);
	for (unsigned i = 0; i < l.n; i++) {
		_cleanup_(freep) char *path = take(weft_strf("%s/%s", dir, l.files[i].name));

		check(weft_write_file(path, l.files[i].data, l.files[i].size, 0644) == 0, path);
	}
	release(&l);
}
