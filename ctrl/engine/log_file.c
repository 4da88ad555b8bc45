/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a log that may have been rotated a moment ago. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/engine/internal.h"

#define MAX_LOG_BYTES   (1U << 20)
#define MAX_AFTER_BYTES (256U << 10) /* in one answer */
#define TRIES           4

/* When what is beside the log now was rotated there; 0: nothing is. */
static uint64_t rotated_at(const char *old)
{
	struct stat st;

	if (stat(old, &st) < 0)
		return 0;
	return (uint64_t)st.st_ctim.tv_sec * 1000000000U + (uint64_t)st.st_ctim.tv_nsec;
}

/* The last max bytes of a file, at the end of buf. A file that is not there is empty. */
static ssize_t read_tail(const char *path, char *buf, size_t max, uint64_t *ret_end)
{
	_cleanup_(fclosep) FILE *f = fopen(path, "re");
	size_t n;
	long end;

	*ret_end = 0;
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	if (fseek(f, -(long)max, SEEK_END) < 0)
		rewind(f);
	n = fread(buf, 1, max, f);
	end = ftell(f);
	if (ferror(f) || end < 0)
		return -EIO;
	*ret_end = (uint64_t)end;
	memmove(buf + max - n, buf, n);
	return (ssize_t)n;
}

ssize_t engine_log_tail(const char *path, char *buf, size_t max, struct log_place *ret_end)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", path);
	uint64_t end = 0, unused;
	ssize_t n = 0, before = 0;

	if (!old)
		return -ENOMEM;
	/* Again if it was rotated meanwhile: place and text have to be of the same file. */
	for (int i = 0; i < TRIES; i++) {
		ret_end->rotated = rotated_at(old);
		n = read_tail(path, buf, max, &end);
		if (n < 0 || rotated_at(old) == ret_end->rotated)
			break;
	}
	if (n < 0)
		return n;
	ret_end->offset = end;
	/* Rotating is renaming: what is missed in the one is in the other. */
	if ((size_t)n < max)
		before = read_tail(old, buf, max - (size_t)n, &unused);
	if (before < 0)
		before = 0;
	memmove(buf, buf + max - (size_t)n - (size_t)before, (size_t)(n + before));
	return n + before;
}

static ssize_t read_from(
	const char *path, uint64_t offset, char *buf, size_t max, uint64_t *ret_size)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	ssize_t n;

	*ret_size = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret_size = (uint64_t)st.st_size;
	n = pread(fd, buf, max, (off_t)offset);
	return n < 0 ? -errno : n;
}

/* One that is emptied before its copy has its name is being rotated: the rest will be there. */
static bool is_rotating(const char *old)
{
	_cleanup_(freep) char *tmp = weft_strf("%s.tmp", old);

	return tmp && access(tmp, F_OK) == 0;
}

ssize_t engine_log_after(const char *path, struct log_place *place, char *buf, size_t max)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", path);
	uint64_t size, now;
	ssize_t n = 0;

	if (!old)
		return -ENOMEM;
	for (int i = 0; i < TRIES; i++) {
		now = rotated_at(old);
		if (now != place->rotated) {
			n = read_from(old, place->offset, buf, max, &size);
			if (n != 0 || rotated_at(old) != now) {
				place->offset += n > 0 ? (uint64_t)n : 0;
				return n;
			}
			*place = (struct log_place){.rotated = now};
		}
		n = read_from(path, place->offset, buf, max, &size);
		if (n < 0 || rotated_at(old) != now)
			continue;
		if (size < place->offset && !is_rotating(old) && rotated_at(old) == now)
			place->offset = 0; /* somebody has emptied it */
		place->offset += (uint64_t)n;
		return n;
	}
	return n < 0 ? n : 0;
}

/* --- requests ------------------------------------------------------------------------------------
 */

static char *log_path(struct weft_engine *e, const char *name, struct weft_err *err)
{
	const struct instance *inst = instance_find(e, name);
	_cleanup_(freep) char *path = NULL;

	if (!inst && !weft_name_valid(name, 128)) {
		view_no_instance(name, err);
		return NULL;
	}
	if (inst && inst->borrowed) {
		weft_err_set(err, ENOENT, "instance %s was not started here: weft has no log of it",
			name);
		weft_err_hint(err, "whoever started it has");
		return NULL;
	}
	path = weft_strf("%s/logs/%s.log", e->config.state_dir, name);
	if (!path)
		weft_err_set(err, ENOMEM, "out of memory");
	else if (!inst && access(path, F_OK) < 0)
		view_no_instance(name, err);
	else
		return TAKE_PTR(path);
	return NULL;
}

static int unreadable(const char *name, const char *path, ssize_t n, struct weft_err *err)
{
	return weft_err_set(err, (int)n, "instance %s: log %s: %s", name, path, strerror((int)-n));
}

/* What a terminal and JSON can take. */
static void clean_text(char *buf, size_t n)
{
	for (char *zero = buf; (zero = memchr(zero, '\0', (size_t)(buf + n - zero)));)
		*zero = '?';
	buf[n] = '\0';
	weft_text_clean(buf);
}

/* Where the last n lines begin. */
static const char *last_lines(const char *text, size_t size, unsigned n)
{
	const char *p = text + size;

	if (n == 0)
		return p;
	if (p > text && p[-1] == '\n')
		p--;
	while (p > text && (p[-1] != '\n' || --n > 0))
		p--;
	return p;
}

static int get_tail(struct weft_engine *e, const char *name, unsigned lines, char **ret,
	struct log_place *ret_end, struct weft_err *err)
{
	_cleanup_(freep) char *path = log_path(e, name, err);
	_cleanup_(freep) char *buf = malloc(MAX_LOG_BYTES + 1);
	ssize_t n;

	if (!path)
		return -err->code;
	if (!buf)
		return weft_err_set(err, ENOMEM, "out of memory");
	n = engine_log_tail(path, buf, MAX_LOG_BYTES, ret_end);
	if (n < 0)
		return unreadable(name, path, n, err);
	clean_text(buf, (size_t)n);
	*ret = strdup(last_lines(buf, strlen(buf), lines));
	return *ret ? 0 : weft_err_set(err, ENOMEM, "out of memory");
}

int weft_engine_logs(
	struct weft_engine *e, const char *name, unsigned lines, char **ret, struct weft_err *err)
{
	struct log_place end = {0};

	return get_tail(e, name, lines, ret, &end, err);
}

/* Whole lines, as long as more may come. */
static size_t whole_lines(const char *buf, size_t n, bool all)
{
	const char *end = all || n == MAX_AFTER_BYTES ? NULL : memrchr(buf, '\n', n);

	if (end)
		return (size_t)(end - buf) + 1;
	return all || n == MAX_AFTER_BYTES ? n : 0;
}

static bool is_behind(const char *path, const struct log_place *place)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", path);

	return !old || rotated_at(old) != place->rotated;
}

static int get_after(struct weft_engine *e, const char *name, struct log_place *place, char **ret,
	struct weft_err *err)
{
	_cleanup_(freep) char *path = log_path(e, name, err);
	_cleanup_(freep) char *buf = malloc(MAX_AFTER_BYTES + 1);
	ssize_t n;
	size_t whole;

	if (!path)
		return -err->code;
	if (!buf)
		return weft_err_set(err, ENOMEM, "out of memory");
	n = engine_log_after(path, place, buf, MAX_AFTER_BYTES);
	if (n < 0)
		return unreadable(name, path, n, err);
	/* What is the last of a rotated file goes on in the next, wherever that cuts it. */
	whole = whole_lines(buf, (size_t)n, is_behind(path, place) || !instance_find(e, name));
	place->offset -= (size_t)n - whole;
	clean_text(buf, whole);
	*ret = TAKE_PTR(buf);
	return 0;
}

int weft_engine_logs_after(struct weft_engine *e, const char *name, const char *after,
	unsigned lines, json_t **ret, struct weft_err *err)
{
	struct log_place place = {0};
	_cleanup_(freep) char *text = NULL;
	char at[48];
	int used = 0, r;

	if (*after && (sscanf(after, "%" SCNu64 "-%" SCNu64 "%n", &place.rotated, &place.offset,
			       &used) != 2 ||
			      after[used] || place.offset > INT64_MAX))
		return weft_err_set(
			err, EINVAL, "after: \"%.40s\" is not what an answer had in \"at\"", after);
	r = *after ? get_after(e, name, &place, &text, err)
		   : get_tail(e, name, lines, &text, &place, err);
	if (r < 0)
		return r;
	snprintf(at, sizeof(at), "%" PRIu64 "-%" PRIu64, place.rotated, place.offset);
	*ret = json_pack("{s:s, s:s, s:s}", "id", name, "at", at, "text", text);
	return *ret ? 0 : weft_err_set(err, ENOMEM, "out of memory");
}

/* "shop.web.1.log" and "shop.web.1.log.1" are of shop.web.1. */
static bool is_of_nobody(struct weft_engine *e, const char *file)
{
	_cleanup_(freep) char *name = strdup(file);
	char *end = name ? strstr(name, ".log") : NULL;

	if (!end)
		return false;
	for (char *next; (next = strstr(end + 1, ".log"));)
		end = next;
	*end = '\0';
	return !instance_find(e, name);
}

void engine_logs_collect(struct weft_engine *e)
{
	_cleanup_(freep) char *path = weft_strf("%s/logs", e->config.state_dir);
	_cleanup_(closedirp) DIR *dir = path ? opendir(path) : NULL;
	time_t before = time(NULL) - (time_t)e->config.image_keep_s;
	struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' &&
			fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			st.st_mtime < before && is_of_nobody(e, entry->d_name))
			unlinkat(dirfd(dir), entry->d_name, 0);
}
