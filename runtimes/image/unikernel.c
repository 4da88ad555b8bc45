/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/unikernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/util.h"
#include "runtimes/image/unikernel_store.h"
#include "runtimes/image/unpack_result.h"

#define MAX_DEPTH    40
#define MAX_MANIFEST 65536

bool weft_unikernel_digest_valid(const char *digest)
{
	return strspn(digest, "0123456789abcdef") == WEFT_DIGEST_LEN &&
	       digest[WEFT_DIGEST_LEN] == '\0';
}

/* --- files seen before ---------------------------------------------------------------------------
 */

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool weft_unikernel_same_file(const struct weft_known_file *k, const struct stat *st)
{
	return k->dev == st->st_dev && k->ino == st->st_ino && k->size == st->st_size &&
	       same_time(&k->mtime, &st->st_mtim) && same_time(&k->ctime, &st->st_ctim);
}

const char *weft_unikernel_known(const struct weft_unikernel_store *s, const struct stat *st)
{
	for (unsigned i = 0; i < WEFT_KNOWN_FILES; i++)
		if (s->known[i].digest[0] && weft_unikernel_same_file(&s->known[i], st))
			return s->known[i].digest;
	return NULL;
}

void weft_unikernel_remember(
	struct weft_unikernel_store *s, const struct stat *st, const char *digest)
{
	struct weft_known_file *k = &s->known[s->next_known++ % WEFT_KNOWN_FILES];

	*k = (struct weft_known_file){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = st->st_size,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
	memcpy(k->digest, digest, WEFT_DIGEST_LEN);
}

/* --- from the worker's directory into the cache --------------------------------------------------
 */

int weft_unikernel_make_tmp(struct weft_unikernel_store *s, char **ret, int *ret_fd)
{
	_cleanup_(freep) char *path = weft_strf("%s/" WEFT_TMP_PREFIX "XXXXXX", s->dir);
	_cleanup_(closep) int fd = -1;

	if (!path)
		return -ENOMEM;
	if (!mkdtemp(path))
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fchown(fd, WEFT_WORKER_USER, WEFT_WORKER_USER) < 0) {
		int r = -errno;

		rmdir(path);
		return r;
	}
	*ret = TAKE_PTR(path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* The worker has read bytes from outside and may be anybody's by now: take only plain files and
 * directories of its own from it, and leave it no right to any of them. */
static int seal(int fd, unsigned depth)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *e;

	if (depth > MAX_DEPTH || fchown(fd, 0, 0) < 0) {
		close(fd);
		return -ELOOP;
	}
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -errno;
	}
	while ((e = readdir(dir))) {
		_cleanup_(closep) int child = -1;
		struct stat st;
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		child = openat(
			dirfd(dir), e->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (child < 0 || fstat(child, &st) < 0)
			return -errno;
		if (st.st_uid != WEFT_WORKER_USER)
			return -EPERM;
		if (S_ISDIR(st.st_mode)) {
			r = seal(TAKE_FD(child), depth + 1);
			if (r < 0)
				return r;
		} else if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || fchown(child, 0, 0) < 0) {
			return -EPERM;
		}
	}
	return 0;
}

static int write_manifest(const char *dir, enum weft_arch arch, const struct weft_unpacked *what)
{
	_cleanup_(freep) char *path = weft_strf("%s/manifest.json", dir), *text = NULL;
	json_auto_t *o = json_pack(
		"{s:s, s:o}", "arch", weft_arch_name(arch), "image", weft_unpacked_to_json(what));

	text = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
	if (!path || !text)
		return -ENOMEM;
	return weft_write_file(path, text, strlen(text), 0600);
}

int weft_unikernel_discard(const struct weft_unikernel_store *s, const char *digest)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s", s->dir, digest);
	_cleanup_(freep) char *gone = weft_strf("%s/" WEFT_TMP_PREFIX "gone-%.16s", s->dir, digest);
	int r;

	if (!path || !gone)
		return -ENOMEM;
	r = weft_remove_tree(gone);
	if (r == 0 && rename(path, gone) < 0)
		r = -errno;
	return r < 0 ? r : weft_remove_tree(gone);
}

int weft_unikernel_adopt(struct weft_unikernel_store *s, const char *tmp, const char *digest,
	enum weft_arch arch, const struct weft_unpacked *what, struct weft_err *err)
{
	_cleanup_(freep) char *path = weft_strf("%s/%s", s->dir, digest);
	int fd, r;

	if (!path)
		return weft_err_set(err, ENOMEM, "out of memory");
	fd = open(tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	r = fd < 0 ? -errno : seal(fd, 0);
	if (r < 0)
		return weft_err_set(
			err, r, "take over what weft-unpack left in %s: %s", tmp, strerror(-r));
	r = write_manifest(tmp, arch, what);
	if (r < 0)
		return weft_err_set(err, r, "write %s/manifest.json: %s", tmp, strerror(-r));
	/* What stands there already has no manifest that can be read, or another architecture's, or
	 * came from a prepare() of the same file that ran beside ours. */
	r = weft_unikernel_discard(s, digest);
	if (r == 0 || r == -ENOENT)
		r = rename(tmp, path) < 0 ? -errno : 0;
	return r < 0 ? weft_err_set(err, r, "rename %s to %s: %s", tmp, path, strerror(-r)) : 0;
}

/* --- the cache -----------------------------------------------------------------------------------
 */

int weft_unikernel_load(struct weft_unikernel_store *s, const char *ref,
	struct weft_unikernel **ret, struct weft_err *err)
{
	_cleanup_(weft_unikernel_freep) struct weft_unikernel *u = calloc(1, sizeof(*u));
	_cleanup_(freep) char *path = NULL, *text = NULL;
	json_auto_t *o = NULL;
	const char *digest, *arch;
	size_t size;
	int r;

	if (!u)
		return weft_err_set(err, ENOMEM, "image: out of memory");
	digest = strncmp(ref, WEFT_REF_PREFIX, strlen(WEFT_REF_PREFIX)) == 0
			 ? ref + strlen(WEFT_REF_PREFIX)
			 : "";
	if (!weft_unikernel_digest_valid(digest))
		return weft_err_set(err, EINVAL,
			"image %s: not a reference to a prepared image (sha256:...)", ref);
	u->dir = weft_strf("%s/%s", s->dir, digest);
	path = weft_strf("%s/%s/manifest.json", s->dir, digest);
	if (!u->dir || !path)
		return weft_err_set(err, ENOMEM, "image: out of memory");
	r = weft_read_file(path, MAX_MANIFEST, &text, &size);
	if (r == 0) {
		o = json_loadb(text, size, 0, NULL);
		arch = json_string_value(json_object_get(o, "arch"));
		r = arch ? weft_arch_parse(arch) : -ENOENT;
		u->arch = r < 0 ? WEFT_ARCH_AMD64 : (enum weft_arch)r;
		r = r < 0 ? -ENOENT
			  : weft_unpacked_from_json(json_object_get(o, "image"), &u->what);
	}
	if (r < 0) {
		/* A manifest that a crash left half-written is none. */
		r = r == -EPROTO ? -ENOENT : r;
		weft_err_set(err, r, "image %s: not prepared here: %s", ref, strerror(-r));
		return weft_err_hint(err, "prepare it again from its file");
	}
	*ret = TAKE_PTR(u);
	return 0;
}

void weft_unikernel_free(struct weft_unikernel *u)
{
	if (!u)
		return;
	free(u->dir);
	free(u);
}

const char *weft_unikernel_store_dir(const struct weft_unikernel_store *s)
{
	return s->dir;
}

struct weft_fetcher *weft_unikernel_fetcher(struct weft_unikernel_store *s)
{
	return s->fetcher;
}

int weft_unikernel_store_new(sd_event *event, const char *dir, const char *libexec_dir,
	struct weft_unikernel_store **ret, struct weft_err *err)
{
	_cleanup_(weft_unikernel_store_freep) struct weft_unikernel_store *s =
		calloc(1, sizeof(*s));
	_cleanup_(freep) char *fetch = NULL, *sources = NULL;
	int r;

	if (!s)
		return weft_err_set(err, ENOMEM, "image cache %s: out of memory", dir);
	s->event = sd_event_ref(event);
	s->dir = strdup(dir);
	s->worker = weft_strf("%s/weft-unpack", libexec_dir);
	fetch = weft_strf("%s/.fetch", dir);
	sources = weft_strf("%s/.sources", dir);
	if (!s->dir || !s->worker || !fetch || !sources)
		return weft_err_set(err, ENOMEM, "image cache %s: out of memory", dir);
	r = weft_mkdir_p(dir, 0700);
	if (r < 0)
		return weft_err_set(err, r, "image cache %s: %s", dir, strerror(-r));
	weft_remove_leftovers(dir);
	weft_remove_leftovers(sources);
	r = weft_fetcher_new(event, fetch, &s->fetcher, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}
