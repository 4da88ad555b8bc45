/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/image/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define BLOCK     65536
#define MAX_DEPTH 32
#define MAX_HINTS (64 * 1024)

struct unpack {
	int dir;
	struct archive *archive;
	const struct weft_unpack_limits *limits;
	uint64_t bytes;
	unsigned entries;
	bool kernel, initrd, files, files1;
	char misplaced[128]; /* an entry named kernel that is not at the top level */
	char shown[160];     /* the current entry's name, fit for a message */
	char *buf;           /* BLOCK bytes */
	struct weft_err *err;
};

static void archive_freep(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

/* Names come from outside and end up on a terminal. */
static const char *show(char *buf, size_t size, const char *name)
{
	size_t n = 0;

	for (const char *c = name; *c && n + 1 < size; c++)
		buf[n++] = isprint((unsigned char)*c) && *c != '\'' ? *c : '?';
	buf[n] = '\0';
	if (n + 1 == size)
		memcpy(buf + n - 3, "...", 3);
	return buf;
}

static int refuse(struct unpack *u, const char *what)
{
	weft_err_set(u->err, EBADMSG, "entry '%s' %s", u->shown, what);
	return weft_err_hint(u->err,
		"an image holds plain files and directories, named relative to its "
		"top level, each once");
}

static int over_limit(struct unpack *u)
{
	if (u->entries > u->limits->max_entries)
		return weft_err_set(u->err, E2BIG,
			"entry '%s' is one more than the %u an image may have", u->shown,
			u->limits->max_entries);
	return weft_err_set(u->err, E2BIG,
		"entry '%s' takes the image over the %llu MiB it may have", u->shown,
		(unsigned long long)u->limits->max_bytes >> 20);
}

static int damaged(struct unpack *u)
{
	const char *why = archive_error_string(u->archive);
	int r = archive_errno(u->archive) == ENOMEM ? ENOMEM : EBADMSG;

	weft_err_set(u->err, r, "archive is damaged or truncated: %s", why ? why : "unreadable");
	return weft_err_hint(u->err, "does `gzip -t` accept it? Copy or build it again");
}

/* --- names ---------------------------------------------------------------------------------------
 */

/* Without "./" in front and '/' behind; refuses what leads out. The result lies in buf and may be
 * empty, for the top level itself. */
static int clean_name(struct unpack *u, const char *name, char *buf, size_t size)
{
	unsigned depth = 0;
	size_t n = 0;

	if (name[0] == '/')
		return refuse(u, "has an absolute path");
	for (const char *p = name; *p;) {
		size_t len = strcspn(p, "/");

		if (len == 2 && p[0] == '.' && p[1] == '.')
			return refuse(u, "leads out of the image by '..'");
		if (len > 0 && !(len == 1 && p[0] == '.')) {
			if (len > NAME_MAX || n + len + 2 > size || ++depth > MAX_DEPTH)
				return refuse(u, "has too long a path");
			if (n > 0)
				buf[n++] = '/';
			memcpy(buf + n, p, len);
			n += len;
		}
		p += len + (p[len] == '/');
	}
	buf[n] = '\0';
	return 0;
}

static bool below(const char *name, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(name, dir, n) == 0 && (name[n] == '/' || name[n] == '\0');
}

static int make_dir(struct unpack *u, const char *path)
{
	if (mkdirat(u->dir, path, 0755) == 0) {
		if (++u->entries > u->limits->max_entries)
			return over_limit(u);
		return 0;
	}
	if (errno == EEXIST) {
		struct stat st;

		if (fstatat(u->dir, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
			return 0;
		return refuse(u, "needs a directory where the image has a file");
	}
	return weft_err_set(u->err, errno, "entry '%s': make directory: %m", u->shown);
}

static int make_parents(struct unpack *u, char *path)
{
	for (char *p = strchr(path, '/'); p; p = strchr(p + 1, '/')) {
		int r;

		*p = '\0';
		r = make_dir(u, path);
		*p = '/';
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- content -------------------------------------------------------------------------------------
 */

/* Read the entry's data to fd, or nowhere when fd is -1: skipped data count as well, or they could
 * keep us busy for ever. Holes arrive as zeros. */
static int copy_data(struct unpack *u, int fd)
{
	for (;;) {
		la_ssize_t n = archive_read_data(u->archive, u->buf, BLOCK);
		int r;

		if (n == 0)
			return 0;
		if (n == ARCHIVE_RETRY)
			continue;
		if (n < 0)
			return damaged(u);
		u->bytes += (uint64_t)n;
		if (u->bytes > u->limits->max_bytes)
			return over_limit(u);
		r = fd < 0 ? 0 : weft_write_all(fd, u->buf, (size_t)n);
		if (r < 0)
			return weft_err_set(
				u->err, r, "entry '%s': write it: %s", u->shown, strerror(-r));
	}
}

static int extract_file(struct unpack *u, const char *path, unsigned mode)
{
	_cleanup_(closep) int fd = -1;

	fd = openat(u->dir, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0 && errno == EEXIST)
		return refuse(u, "appears twice");
	if (fd < 0)
		return weft_err_set(u->err, errno, "entry '%s': create it: %m", u->shown);
	return copy_data(u, fd);
}

/* The place of a file in the cache, NULL for one that weft has no use for. Unikraft's own tool
 * packs its files below a directory. */
static const char *place_of(struct unpack *u, const char *name)
{
	static const char packed[] = "unikraft/bin/";

	if (strncmp(name, packed, strlen(packed)) == 0) {
		name += strlen(packed);
		if (strcmp(name, "initrd") == 0)
			name = "initrd.cpio";
	}
	if (strcmp(name, "kernel") == 0) {
		u->kernel = true;
		return "kernel";
	}
	if (strcmp(name, "initramfs.cpio") == 0 || strcmp(name, "initrd.cpio") == 0) {
		u->initrd = true;
		return "initrd";
	}
	return strcmp(name, "weft.json") == 0 ? "weft.json" : NULL;
}

static int unpack_shared(struct unpack *u, struct archive_entry *e, char *name)
{
	bool *seen = below(name, "files") ? &u->files : &u->files1;
	int r;

	*seen = true;
	r = make_parents(u, name);
	if (r < 0)
		return r;
	if (archive_entry_filetype(e) == AE_IFDIR)
		return make_dir(u, name);
	if (strchr(name, '/') == NULL)
		return refuse(u, "must be a directory");
	return extract_file(u, name, archive_entry_perm(e) & 0111 ? 0755 : 0644);
}

static int unpack_entry(struct unpack *u, struct archive_entry *e)
{
	const char *raw = archive_entry_pathname(e), *place, *base;
	char name[PATH_MAX];
	int r;

	show(u->shown, sizeof(u->shown), raw ? raw : "");
	if (!raw || !*raw)
		return refuse(u, "has no name that can be read");
	if (++u->entries > u->limits->max_entries)
		return over_limit(u);
	r = clean_name(u, raw, name, sizeof(name));
	if (r < 0)
		return r;
	if (archive_entry_hardlink(e))
		return refuse(u, "is a hard link");
	if (archive_entry_filetype(e) == AE_IFLNK)
		return refuse(u, "is a symbolic link");
	if (archive_entry_filetype(e) != AE_IFREG && archive_entry_filetype(e) != AE_IFDIR)
		return refuse(u, "is a device, FIFO or socket");
	if (below(name, "files") || below(name, "files1"))
		return unpack_shared(u, e, name);
	if (archive_entry_filetype(e) == AE_IFDIR)
		return 0;
	place = place_of(u, name);
	if (place)
		return extract_file(u, place, 0644);
	base = strrchr(name, '/');
	if (base && strcmp(base, "/kernel") == 0)
		show(u->misplaced, sizeof(u->misplaced), name);
	return copy_data(u, -1);
}

/* --- the whole -----------------------------------------------------------------------------------
 */

static int read_mapped(int dir, const char *name, size_t max, void **ret, size_t *ret_size)
{
	_cleanup_(closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > max)
		return -E2BIG;
	*ret_size = (size_t)st.st_size;
	if (st.st_size == 0) {
		*ret = NULL;
		return 0;
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

static int check_kernel(struct unpack *u, enum weft_arch arch, struct weft_kernel *ret)
{
	size_t size = 0;
	void *p = NULL;
	int r;

	r = read_mapped(u->dir, "kernel", SIZE_MAX, &p, &size);
	if (r < 0)
		return weft_err_set(u->err, r, "kernel cannot be read again: %s", strerror(-r));
	r = weft_kernel_check(p ? p : "", size, arch, ret, u->err);
	if (p)
		munmap(p, size);
	return r;
}

static int read_hints(struct unpack *u, struct weft_hints *ret)
{
	size_t size = 0;
	void *p = NULL;
	int r;

	r = read_mapped(u->dir, "weft.json", MAX_HINTS, &p, &size);
	if (r == -ENOENT) {
		weft_hints_default(ret);
		return 0;
	}
	if (r < 0)
		return weft_err_set(u->err, r, "weft.json: %s", strerror(-r));
	r = weft_hints_parse(p ? p : "", size, ret, u->err);
	if (p)
		munmap(p, size);
	return r;
}

/* A bare kernel is recognised before libarchive is asked, which takes many a file for an archive
 * of some sort. */
static int is_bare_kernel(int in)
{
	uint8_t head[8192];
	struct weft_kernel kernel;
	struct weft_err why = {};
	ssize_t n = pread(in, head, sizeof(head), 0);
	int r;

	if (n < 0)
		return -errno;
	if (n >= 4 && memcmp(head,
			      "\x7f"
			      "ELF",
			      4) == 0)
		return 1;
	r = weft_kernel_check(head, (size_t)n, WEFT_ARCH_AMD64, &kernel, &why);
	return r == 0 || r == -ENOTSUP;
}

static int copy_bare_kernel(struct unpack *u, int in)
{
	_cleanup_(closep) int fd = -1;

	snprintf(u->shown, sizeof(u->shown), "kernel");
	fd = openat(u->dir, "kernel", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return weft_err_set(u->err, errno, "kernel: create it: %m");
	for (;;) {
		ssize_t n = read(in, u->buf, BLOCK);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return weft_err_set(u->err, errno, "read it: %m");
		if (n == 0)
			break;
		u->bytes += (uint64_t)n;
		if (u->bytes > u->limits->max_bytes)
			return over_limit(u);
		r = weft_write_all(fd, u->buf, (size_t)n);
		if (r < 0)
			return weft_err_set(u->err, r, "kernel: write it: %s", strerror(-r));
	}
	u->kernel = true;
	return 0;
}

static int not_an_image(struct unpack *u, int in)
{
	struct weft_kernel kernel;
	struct weft_err why = {};
	char head[64];
	ssize_t n;

	if (archive_filter_code(u->archive, 0) != ARCHIVE_FILTER_NONE)
		return damaged(u);
	n = pread(in, head, sizeof(head), 0);

	/* The kernel check knows how to say what a file begins with. */
	weft_kernel_check(head, n < 0 ? 0 : (size_t)n, WEFT_ARCH_AMD64, &kernel, &why);
	weft_err_set(u->err, EBADMSG, "neither a tar archive nor a kernel: %s",
		strstr(why.msg, "it ") ? strstr(why.msg, "it ") : "unreadable");
	return weft_err_hint(
		u->err, "an image is a tar.gz with a top-level file `kernel`, or a kernel");
}

static int open_archive(struct unpack *u, int in)
{
	struct archive *a = u->archive;

	if (archive_read_support_format_tar(a) < ARCHIVE_WARN ||
		archive_read_support_filter_gzip(a) < ARCHIVE_WARN ||
		archive_read_support_filter_xz(a) < ARCHIVE_WARN ||
		archive_read_support_filter_zstd(a) < ARCHIVE_WARN)
		return damaged(u);
	/* Reading on behind the end mark reaches the end of the compressed stream, so that a file
	 * cut within its last bytes is found out as well. */
	if (archive_read_set_options(a, "tar:read_concatenated_archives") < ARCHIVE_WARN)
		return damaged(u);
	/* This reads the beginning, and fails when it is of no format above. */
	return archive_read_open_fd(a, in, BLOCK) < ARCHIVE_WARN ? not_an_image(u, in) : 0;
}

static int read_archive(struct unpack *u, int in)
{
	int r = open_archive(u, in);

	if (r < 0)
		return r;
	for (;;) {
		struct archive_entry *e;

		r = archive_read_next_header(u->archive, &e);
		if (r == ARCHIVE_EOF)
			break;
		if (r == ARCHIVE_RETRY)
			continue;
		if (r < ARCHIVE_WARN)
			return damaged(u);
		r = unpack_entry(u, e);
		if (r < 0)
			return r;
	}
	if (u->kernel)
		return 0;
	weft_err_set(u->err, EBADMSG, "has no kernel");
	if (u->misplaced[0])
		return weft_err_hint(u->err, "it has '%s', but the kernel must be at the top level",
			u->misplaced);
	return weft_err_hint(u->err, "the archive needs a top-level file named `kernel`");
}

int weft_unpack(int in, int dir, enum weft_arch arch, const struct weft_unpack_limits *limits,
	struct weft_unpacked *ret, struct weft_err *err)
{
	_cleanup_(archive_freep) struct archive *archive = archive_read_new();
	_cleanup_(freep) char *buf = malloc(BLOCK);
	struct unpack u = {
		.dir = dir, .archive = archive, .limits = limits, .buf = buf, .err = err};
	struct weft_unpacked out = {};
	struct weft_kernel kernel;
	int r;

	if (!archive || !buf)
		return weft_err_set(err, ENOMEM, "unpack: out of memory");
	if (lseek(in, 0, SEEK_SET) < 0)
		return weft_err_set(err, errno, "read it: %m");
	r = is_bare_kernel(in);
	if (r < 0)
		return weft_err_set(err, r, "read it: %s", strerror(-r));
	r = r > 0 ? copy_bare_kernel(&u, in) : read_archive(&u, in);
	if (r < 0)
		return r;
	r = check_kernel(&u, arch, &kernel);
	if (r < 0)
		return r;
	r = read_hints(&u, &out.hints);
	if (r < 0)
		return r;
	out.boot = kernel.boot;
	weft_hints_settle(&out.hints, arch, &kernel);
	out.initrd = u.initrd;
	out.files = u.files1 ? "files1" : u.files ? "files" : NULL;
	out.bytes = u.bytes;
	*ret = out;
	return 0;
}
