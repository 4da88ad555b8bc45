/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/oci_source.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"
#include "runtimes/image/oci.h"

#define BLOCK       (256U * 1024)
#define MAX_PARTS   16384
#define MAX_TEXTS   (64U << 20) /* of all texts kept together */
#define NAME_SIZE   128
#define BLOB_PREFIX "blobs/sha256/"

struct part {
	char name[NAME_SIZE];
	uint64_t size;
	char *text; /* NULL: none kept (yet) */
};

struct weft_oci_source {
	const char *path;
	int fd;
	bool directory;
	uint64_t file_size;
	struct part *parts;
	unsigned n_parts, room;
	size_t texts; /* bytes kept */
	char *block;
};

static void archive_freep(struct archive **a)
{
	archive_read_free(*a);
}

static void md_freep(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

static int no_memory(const struct weft_oci_source *s, struct weft_err *err)
{
	return weft_err_set(err, ENOMEM, "image %s: out of memory", s->path);
}

static int damaged(const struct weft_oci_source *s, struct weft_err *err, const char *why)
{
	weft_err_set(err, EBADMSG, "image %s is truncated or damaged: %s", s->path, why);
	return weft_err_hint(err, "copy or build the file again");
}

/* --- parts ---------------------------------------------------------------------------------------
 */

static struct part *find(struct weft_oci_source *s, const char *name)
{
	for (unsigned i = 0; i < s->n_parts; i++)
		if (strcmp(s->parts[i].name, name) == 0)
			return &s->parts[i];
	return NULL;
}

static struct part *add(struct weft_oci_source *s, const char *name, uint64_t size)
{
	if (s->n_parts == s->room) {
		unsigned room = s->room ? s->room * 2 : 64;
		struct part *p = reallocarray(s->parts, room, sizeof(*p));

		if (!p)
			return NULL;
		s->parts = p;
		s->room = room;
	}
	s->parts[s->n_parts] = (struct part){.size = size};
	snprintf(s->parts[s->n_parts].name, NAME_SIZE, "%s", name);
	return &s->parts[s->n_parts++];
}

/* The name as in the layout, or NULL for what no image needs. */
static const char *part_name(const char *name)
{
	if (!name)
		return NULL;
	while (name[0] == '.' && name[1] == '/')
		name += 2;
	if (strcmp(name, "index.json") == 0 || strcmp(name, "oci-layout") == 0 ||
		strcmp(name, "manifest.json") == 0)
		return name;
	if (strncmp(name, BLOB_PREFIX, strlen(BLOB_PREFIX)) == 0 &&
		strlen(name) == strlen(BLOB_PREFIX) + 64)
		return name;
	return NULL;
}

/* --- archive -------------------------------------------------------------------------------------
 */

static int open_archive(struct weft_oci_source *s, struct archive **ret, struct weft_err *err)
{
	_cleanup_(archive_freep) struct archive *a = archive_read_new();

	if (!a)
		return no_memory(s, err);
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_bzip2(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_format_tar(a);
	if (lseek(s->fd, 0, SEEK_SET) < 0)
		return weft_err_set(err, errno, "image %s: %m", s->path);
	if (archive_read_open_fd(a, s->fd, BLOCK) != ARCHIVE_OK) {
		if (strcasestr(archive_error_string(a), "truncated"))
			return damaged(s, err, archive_error_string(a));
		weft_err_set(err, EBADMSG, "%s is not an OCI image: %s", s->path,
			archive_error_string(a));
		return weft_err_hint(err,
			"an OCI image is a tar archive with index.json, as from `skopeo copy … "
			"oci-archive:FILE` or `docker buildx build -o type=oci,dest=FILE`");
	}
	*ret = TAKE_PTR(a);
	return 0;
}

/* The next file that is a part of an image: 1, 0 at the end. */
static int next_part(struct weft_oci_source *s, struct archive *a, struct archive_entry **ret,
	const char **ret_name, unsigned *entries, struct weft_err *err)
{
	struct archive_entry *e;
	int r;

	while ((r = archive_read_next_header(a, &e)) != ARCHIVE_EOF) {
		if (r == ARCHIVE_RETRY)
			continue;
		if (r < ARCHIVE_WARN)
			return damaged(s, err, archive_error_string(a));
		if (++*entries > MAX_PARTS)
			return weft_err_set(err, EBADMSG, "image %s has too many entries", s->path);
		*ret_name = part_name(archive_entry_pathname(e));
		if (!*ret_name || archive_entry_filetype(e) != AE_IFREG ||
			archive_entry_size(e) < 0)
			continue;
		/* Skipping is seeking, which does not notice that the file ends too early. */
		if (archive_filter_count(a) == 1 && (uint64_t)archive_read_header_position(
							    a) + (uint64_t)archive_entry_size(e) >
							    s->file_size)
			return damaged(s, err, "it ends before its last entry does");
		*ret = e;
		return 1;
	}
	return 0;
}

static int read_text(
	struct weft_oci_source *s, struct archive *a, struct part *p, struct weft_err *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t have = 0;

	if (p->size == 0 || p->size > WEFT_OCI_MAX_TEXT || s->texts + p->size > MAX_TEXTS)
		return 0;
	text = malloc(p->size + 1);
	if (!text)
		return no_memory(s, err);
	while (have < p->size) {
		la_ssize_t n = archive_read_data(a, text + have, p->size - have);

		if (n == ARCHIVE_RETRY)
			continue;
		if (n < 0)
			return damaged(s, err, archive_error_string(a));
		if (n == 0)
			return damaged(s, err, "an entry is shorter than it says");
		have += (size_t)n;
		if (text[0] != '{')
			return 0; /* a layer */
	}
	text[have] = '\0';
	s->texts += have;
	p->text = TAKE_PTR(text);
	return 0;
}

static int scan(struct weft_oci_source *s, struct weft_err *err)
{
	_cleanup_(archive_freep) struct archive *a = NULL;
	struct archive_entry *e;
	unsigned entries = 0;
	const char *name;
	int r;

	r = open_archive(s, &a, err);
	if (r < 0)
		return r;
	while ((r = next_part(s, a, &e, &name, &entries, err)) > 0) {
		struct part *p;

		if (find(s, name))
			continue;
		p = add(s, name, (uint64_t)archive_entry_size(e));
		if (!p)
			return no_memory(s, err);
		r = read_text(s, a, p, err);
		if (r < 0)
			return r;
	}
	return r;
}

/* --- directory -----------------------------------------------------------------------------------
 */

static int open_part(struct weft_oci_source *s, const char *name, struct stat *ret)
{
	int fd = openat(s->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, ret) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	if (!S_ISREG(ret->st_mode)) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

static struct part *load_part(struct weft_oci_source *s, const char *name)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(closep) int fd = -1;
	struct stat st;
	struct part *p;
	ssize_t n;

	fd = open_part(s, name, &st);
	if (fd < 0 || st.st_size <= 0 || st.st_size > WEFT_OCI_MAX_TEXT)
		return NULL;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return NULL;
	n = read(fd, text, (size_t)st.st_size);
	if (n != st.st_size || text[0] != '{')
		return NULL;
	text[n] = '\0';
	p = add(s, name, (uint64_t)n);
	if (p)
		p->text = TAKE_PTR(text);
	return p;
}

/* --- open and look -------------------------------------------------------------------------------
 */

void weft_oci_source_free(struct weft_oci_source *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n_parts; i++)
		free(s->parts[i].text);
	free(s->parts);
	free(s->block);
	closep(&s->fd);
	free(s);
}

int weft_oci_source_open(const char *path, struct weft_oci_source **ret, struct weft_err *err)
{
	_cleanup_(weft_oci_source_freep) struct weft_oci_source *s = calloc(1, sizeof(*s));
	struct stat st;
	int r;

	if (!s)
		return weft_err_set(err, ENOMEM, "image %s: out of memory", path);
	s->path = path;
	s->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) < 0) {
		r = weft_err_set(err, errno, "image %s: %m", path);
		if (r == -ENOENT)
			weft_err_hint(err, "check the path: it is a file on the node itself");
		return r;
	}
	s->block = malloc(BLOCK);
	if (!s->block)
		return no_memory(s, err);
	s->directory = S_ISDIR(st.st_mode);
	s->file_size = (uint64_t)st.st_size;
	if (!s->directory && !S_ISREG(st.st_mode))
		return weft_err_set(
			err, EBADMSG, "image %s is neither a file nor a directory", path);
	r = s->directory ? 0 : scan(s, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

int weft_oci_source_text(
	struct weft_oci_source *s, const char *name, const char **ret, size_t *ret_size)
{
	struct part *p = find(s, name);

	if (!p && s->directory)
		p = load_part(s, name);
	if (!p || !p->text)
		return -ENOENT;
	*ret = p->text;
	*ret_size = p->size;
	return 0;
}

int weft_oci_source_size(struct weft_oci_source *s, const char *name, uint64_t *ret)
{
	_cleanup_(closep) int fd = -1;
	const struct part *p = find(s, name);
	struct stat st;

	if (p) {
		*ret = p->size;
		return 0;
	}
	fd = s->directory ? open_part(s, name, &st) : -ENOENT;
	if (fd < 0)
		return fd;
	*ret = (uint64_t)st.st_size;
	return 0;
}

/* --- extract -------------------------------------------------------------------------------------
 */

/* Copies what the reader gives until it gives 0; the digest must come out. */
static int copy_blob(struct weft_oci_source *s, struct archive *a, int from, const char *digest,
	int dir, struct weft_err *err)
{
	_cleanup_(md_freep) EVP_MD_CTX *md = EVP_MD_CTX_new();
	_cleanup_(closep) int fd = -1;
	unsigned char sum[EVP_MAX_MD_SIZE];
	char hex[65];
	int r;

	if (!md || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
		return no_memory(s, err);
	fd = openat(dir, WEFT_OCI_HEX(digest), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		0600);
	if (fd < 0)
		return weft_err_set(err, errno, "image %s: write blob: %m", s->path);
	for (;;) {
		ssize_t n = a ? archive_read_data(a, s->block, BLOCK) : read(from, s->block, BLOCK);

		if (n == 0)
			break;
		if ((a && n == ARCHIVE_RETRY) || (!a && n < 0 && errno == EINTR))
			continue;
		if (n < 0)
			return damaged(s, err, a ? archive_error_string(a) : strerror(errno));
		r = weft_write_all(fd, s->block, (size_t)n);
		if (r < 0)
			return weft_err_set(
				err, r, "image %s: write blob: %s", s->path, strerror(-r));
		EVP_DigestUpdate(md, s->block, (size_t)n);
	}
	EVP_DigestFinal_ex(md, sum, NULL);
	for (unsigned i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
	if (strcmp(hex, WEFT_OCI_HEX(digest)) == 0)
		return 0;
	weft_err_set(err, EBADMSG, "image %s is damaged: blob %.19s… has the digest sha256:%.12s…",
		s->path, digest, hex);
	return weft_err_hint(err, "copy or build the file again");
}

/* The wanted digest of a part's name that was not written yet; all its copies count as written. */
static const char *take_wanted(const char *const *digests, unsigned n, bool *done, const char *name)
{
	const char *found = NULL;

	if (strncmp(name, BLOB_PREFIX, strlen(BLOB_PREFIX)) != 0)
		return NULL;
	for (unsigned i = 0; i < n; i++) {
		if (done[i] || strcmp(WEFT_OCI_HEX(digests[i]), name + strlen(BLOB_PREFIX)) != 0)
			continue;
		done[i] = true;
		found = digests[i];
	}
	return found;
}

static int extract_archive(struct weft_oci_source *s, const char *const *digests, unsigned n,
	bool *done, int dir, struct weft_err *err)
{
	_cleanup_(archive_freep) struct archive *a = NULL;
	struct archive_entry *e;
	unsigned entries = 0;
	const char *name;
	int r;

	r = open_archive(s, &a, err);
	if (r < 0)
		return r;
	while ((r = next_part(s, a, &e, &name, &entries, err)) > 0) {
		const char *digest = take_wanted(digests, n, done, name);

		if (!digest)
			continue;
		r = copy_blob(s, a, -1, digest, dir, err);
		if (r < 0)
			return r;
	}
	return r;
}

static int extract_directory(struct weft_oci_source *s, const char *const *digests, unsigned n,
	bool *done, int dir, struct weft_err *err)
{
	for (unsigned i = 0; i < n; i++) {
		_cleanup_(closep) int fd = -1;
		char name[NAME_SIZE];
		struct stat st;
		int r;

		if (done[i])
			continue;
		snprintf(name, sizeof(name), BLOB_PREFIX "%s", WEFT_OCI_HEX(digests[i]));
		fd = open_part(s, name, &st);
		if (fd < 0)
			continue;
		take_wanted(digests, n, done, name);
		r = copy_blob(s, NULL, fd, digests[i], dir, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int weft_oci_source_extract(struct weft_oci_source *s, const char *const *digests, unsigned n,
	int dir, struct weft_err *err)
{
	_cleanup_(freep) bool *done = calloc(n + 1, sizeof(*done));
	int r;

	if (!done)
		return no_memory(s, err);
	r = s->directory ? extract_directory(s, digests, n, done, dir, err)
			 : extract_archive(s, digests, n, done, dir, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < n; i++) {
		if (done[i])
			continue;
		weft_err_set(err, EBADMSG, "image %s is incomplete: blob %.19s… is missing",
			s->path, digests[i]);
		return weft_err_hint(err, "copy or build the file again");
	}
	return 0;
}
