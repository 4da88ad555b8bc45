/* SPDX-License-Identifier: Apache-2.0 */
/* What was fetched under which name, and what is in the cache. A source's record says what its
 * server is asked the next time, and what it was, should the server be away then.
 *
 *   DIR/.sources/<sha256 of architecture and name>.json
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"
#include "runtimes/image/unikernel_store.h"

#define MAX_RECORD 8192

static char *source_path(
	const struct weft_unikernel_store *s, const char *image, enum weft_arch arch)
{
	_cleanup_(freep) char *text = weft_strf("%s\n%s", weft_arch_name(arch), image);
	char digest[WEFT_OCI_DIGEST];

	if (!text)
		return NULL;
	weft_oci_digest(text, strlen(text), digest);
	return weft_strf("%s/.sources/%s.json", s->dir, WEFT_OCI_HEX(digest));
}

int weft_unikernel_source_save(const struct weft_unikernel_store *s, const char *image,
	enum weft_arch arch, const struct weft_unikernel_source *source)
{
	_cleanup_(freep) char *path = source_path(s, image, arch), *text = NULL;
	_cleanup_(freep) char *dir = weft_strf("%s/.sources", s->dir);
	json_auto_t *o = json_pack("{s:s, s:s, s:s, s:I}", "image", image, "digest", source->digest,
		"mark", source->mark, "size", (json_int_t)source->size);
	int r;

	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (!path || !dir || !text)
		return -ENOMEM;
	r = weft_mkdir_p(dir, 0700);
	return r < 0 ? r : weft_write_file(path, text, strlen(text), 0600);
}

static int parse(const char *path, struct weft_unikernel_source *ret)
{
	_cleanup_(freep) char *text = NULL;
	const char *digest, *mark;
	json_auto_t *o = NULL;
	size_t size;
	int r = weft_read_file(path, MAX_RECORD, &text, &size);

	if (r < 0)
		return r;
	o = json_loadb(text, size, 0, NULL);
	digest = json_string_value(json_object_get(o, "digest"));
	mark = json_string_value(json_object_get(o, "mark"));
	if (!digest || !weft_unikernel_digest_valid(digest) || !mark ||
		strlen(mark) >= sizeof(ret->mark))
		return -EBADMSG;
	strcpy(ret->digest, digest);
	strcpy(ret->mark, mark);
	ret->size = (uint64_t)json_integer_value(json_object_get(o, "size"));
	return 0;
}

int weft_unikernel_source_load(const struct weft_unikernel_store *s, const char *image,
	enum weft_arch arch, struct weft_unikernel_source *ret)
{
	_cleanup_(freep) char *path = source_path(s, image, arch);

	return path ? parse(path, ret) : -ENOMEM;
}

static void forget_sources(const struct weft_unikernel_store *s, const char *digest)
{
	_cleanup_(freep) char *path = weft_strf("%s/.sources", s->dir);
	_cleanup_(closedirp) DIR *dir = path ? opendir(path) : NULL;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		_cleanup_(freep) char *file = weft_strf("%s/%s", path, e->d_name);
		struct weft_unikernel_source source;

		if (file && e->d_name[0] != '.' && parse(file, &source) == 0 &&
			strcmp(source.digest, digest) == 0)
			unlink(file);
	}
}

/* --- what is in the cache ------------------------------------------------------------------------
 */

static uint64_t bytes_below(const char *path, unsigned depth)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	struct dirent *e;
	uint64_t bytes = 0;

	while (dir && (e = readdir(dir))) {
		_cleanup_(freep) char *child = weft_strf("%s/%s", path, e->d_name);
		struct stat st;

		if (!child || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			lstat(child, &st) < 0)
			continue;
		bytes += (uint64_t)st.st_blocks * 512;
		if (S_ISDIR(st.st_mode) && depth > 0)
			bytes += bytes_below(child, depth - 1);
	}
	return bytes;
}

static bool may_be_there(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EIO;
}

int weft_unikernel_list(
	struct weft_unikernel_store *s, struct weft_runtime_image **ret, unsigned *ret_n)
{
	_cleanup_(closedirp) DIR *dir = opendir(s->dir);
	struct weft_runtime_image *list = NULL;
	struct dirent *e;
	unsigned n = 0;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		_cleanup_(weft_unikernel_freep) struct weft_unikernel *u = NULL;
		struct weft_runtime_image image = {}, *more;
		int r;

		snprintf(image.ref, sizeof(image.ref), WEFT_REF_PREFIX "%.64s", e->d_name);
		r = weft_unikernel_digest_valid(e->d_name)
			    ? weft_unikernel_load(s, image.ref, &u, NULL)
			    : -ENOENT;
		if (may_be_there(r)) {
			free(list);
			return r;
		}
		if (r < 0)
			continue;
		image.arch = u->arch;
		image.arch_known = true;
		image.bytes = bytes_below(u->dir, 8);
		more = reallocarray(list, n + 1, sizeof(*more));
		if (!more) {
			free(list);
			return -ENOMEM;
		}
		list = more;
		list[n++] = image;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

int weft_unikernel_remove(struct weft_unikernel_store *s, const char *ref, struct weft_err *err)
{
	const char *digest = strncmp(ref, WEFT_REF_PREFIX, strlen(WEFT_REF_PREFIX)) == 0
				     ? ref + strlen(WEFT_REF_PREFIX)
				     : "";
	int r;

	if (!weft_unikernel_digest_valid(digest))
		return weft_err_set(
			err, EINVAL, "image %s: not a reference to a prepared image", ref);
	forget_sources(s, digest);
	r = weft_unikernel_discard(s, digest);
	return r < 0 ? weft_err_set(err, r, "image %s: remove it: %s", ref, strerror(-r)) : 0;
}
