/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"

char *weft_strf(const char *fmt, ...)
{
	char *s = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : s;
}

uint64_t weft_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

uint64_t weft_realtime_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000ULL + (uint64_t)t.tv_nsec / 1000000ULL;
}

int weft_read_file(const char *path, size_t max, char **ret, size_t *ret_size)
{
	_cleanup_(freep) char *buf = NULL;
	_cleanup_(closep) int fd = -1;
	size_t size = 0, room = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n;

		if (room - size < 2) {
			size_t more = room ? room * 2 : 4096;
			char *p = realloc(buf, more);

			if (!p)
				return -ENOMEM;
			buf = p;
			room = more;
		}
		n = read(fd, buf + size, room - size - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
		if (size > max)
			return -E2BIG;
	}
	buf[size] = '\0';
	*ret = TAKE_PTR(buf);
	if (ret_size)
		*ret_size = size;
	return 0;
}

int weft_boot_id(char *buf, size_t size)
{
	_cleanup_(freep) char *text = NULL;
	int r = weft_read_file("/proc/sys/kernel/random/boot_id", 128, &text, NULL);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	snprintf(buf, size, "%s", text);
	return 0;
}

int weft_write_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size > 0) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

int weft_write_file(const char *path, const void *data, size_t size, unsigned mode)
{
	const char *slash = strrchr(path, '/');
	_cleanup_(freep) char *tmp = weft_strf(
		"%.*s" WEFT_TMP_PREFIX "XXXXXX", slash ? (int)(slash + 1 - path) : 0, path);
	_cleanup_(closep) int fd = -1;
	int r;

	if (!tmp)
		return -ENOMEM;
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = weft_write_all(fd, data, size);
	if (r == 0 && (fchmod(fd, mode) < 0 || rename(tmp, path) < 0))
		r = -errno;
	if (r < 0)
		unlink(tmp);
	return r;
}

static int make_dir(const char *path, unsigned mode)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(path, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int weft_mkdir_p(const char *path, unsigned mode)
{
	_cleanup_(freep) char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *p = copy; *p; p++) {
		int r;

		if (*p != '/' || p == copy)
			continue;
		*p = '\0';
		r = make_dir(copy, mode);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_dir(copy, mode);
}

static int remove_at(int dirfd, const char *name, dev_t dev, int depth);

static int remove_entries(int fd, dev_t dev, int depth)
{
	_cleanup_(closedirp) DIR *dir = fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!dir) {
		close(fd);
		return -errno;
	}
	while ((e = readdir(dir))) {
		int q;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		q = remove_at(dirfd(dir), e->d_name, dev, depth + 1);
		if (q < 0 && r == 0)
			r = q;
	}
	return r;
}

static int remove_at(int parent, const char *name, dev_t dev, int depth)
{
	struct stat st;
	int fd, r;

	if (depth > 256)
		return -ELOOP;
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return unlinkat(parent, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	if (dev && st.st_dev != dev)
		return -EXDEV;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = remove_entries(fd, st.st_dev, depth);
	if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT && r == 0)
		r = -errno;
	return r;
}

int weft_remove_tree(const char *path)
{
	return remove_at(AT_FDCWD, path, 0, 0);
}

void weft_remove_leftovers(const char *dir)
{
	_cleanup_(closedirp) DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		_cleanup_(freep) char *path = NULL;

		if (strncmp(e->d_name, WEFT_TMP_PREFIX, strlen(WEFT_TMP_PREFIX)) != 0)
			continue;
		path = weft_strf("%s/%s", dir, e->d_name);
		if (path)
			(void)weft_remove_tree(path);
	}
}

int weft_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	unsigned long long v;
	char *end;

	if (!s || !isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (*end)
		return -EINVAL;
	if (errno == ERANGE || v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

/* Bytes of the UTF-8 character that starts with this byte, 0: none does. */
static size_t utf8_wanted(unsigned char lead)
{
	if (lead < 0x80)
		return 1;
	if (lead >= 0xc2 && lead <= 0xdf)
		return 2;
	if (lead >= 0xe0 && lead <= 0xef)
		return 3;
	return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

/* Of the n bytes that a character wants, how many are there? n, or the index of the first bad one:
 * overlong forms, surrogates and what is above U+10FFFF show in the second byte. */
static size_t utf8_there(const unsigned char *s, size_t n)
{
	unsigned char low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;

	for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
		if (s[i] < low || s[i] > high)
			return i;
	return n;
}

static char *clean(char *text, const char *kept)
{
	unsigned char *s = (unsigned char *)text;

	while (*s) {
		size_t n = utf8_wanted(*s), there = utf8_there(s, n);

		if (n > there && !s[there]) {
			*s = '\0';
			break;
		}
		if (n == 0 || n > there)
			*s = '?';
		else if (n == 1 && iscntrl(*s) && !strchr(kept, *s))
			*s = *s == '\t' || *s == '\n' ? ' ' : '?';
		s += n > 0 && n == there ? n : 1;
	}
	return text;
}

char *weft_text_clean(char *s)
{
	return clean(s, "\t\n");
}

char *weft_text_clean_line(char *s)
{
	return clean(s, "");
}

bool weft_name_valid(const char *s, size_t max)
{
	size_t n;

	if (!s || !isalnum((unsigned char)s[0]))
		return false;
	n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
	return s[n] == '\0' && n <= max;
}

int weft_mac_parse(const char *s, uint8_t ret[6])
{
	unsigned b[6], any = 0;
	uint8_t mac[6];
	int end = 0;

	/* sscanf() alone would take blanks, signs and single digits. */
	if (strlen(s) != 17 || strspn(s, "0123456789abcdefABCDEF:") != 17 ||
		sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
			&end) != 6 ||
		end != 17)
		return -EINVAL;
	for (int i = 0; i < 6; i++) {
		mac[i] = (uint8_t)b[i];
		any |= b[i];
	}
	if (!any || mac[0] & 1)
		return -EINVAL;
	memcpy(ret, mac, sizeof(mac));
	return 0;
}
