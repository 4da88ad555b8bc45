/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a log that may have been rotated a moment ago. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/engine/internal.h"

/* The last max bytes of a file, at the end of buf. A file that is not there is empty. */
static ssize_t read_tail(const char *path, char *buf, size_t max)
{
	_cleanup_(fclosep) FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return errno == ENOENT ? 0 : -errno;
	if (fseek(f, -(long)max, SEEK_END) < 0)
		rewind(f);
	n = fread(buf, 1, max, f);
	if (ferror(f))
		return -EIO;
	memmove(buf + max - n, buf, n);
	return (ssize_t)n;
}

ssize_t engine_log_tail(const char *path, char *buf, size_t max)
{
	_cleanup_(freep) char *old = weft_strf("%s.1", path);
	ssize_t n = old ? read_tail(path, buf, max) : -ENOMEM, before = 0;

	if (n < 0)
		return n;
	/* Rotating is renaming: what is missed in the one is in the other. */
	if ((size_t)n < max)
		before = read_tail(old, buf, max - (size_t)n);
	if (before < 0)
		before = 0;
	memmove(buf, buf + max - (size_t)n - (size_t)before, (size_t)(n + before));
	return n + before;
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
