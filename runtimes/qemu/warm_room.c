/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints that go: those that nobody can use any more, and those for which there is no room. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/warm_job.h"

typedef void (*visit_t)(void *userdata, const char *path, const char *name);

static void visit_image(const char *image_dir, visit_t visit, void *userdata)
{
	_cleanup_(freep) char *warm = weft_strf("%s/warm", image_dir);
	_cleanup_(closedirp) DIR *dir = warm ? opendir(warm) : NULL;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		_cleanup_(freep) char *path = NULL;

		if (e->d_name[0] == '.')
			continue;
		path = weft_strf("%s/%s", warm, e->d_name);
		if (path)
			visit(userdata, path, e->d_name);
	}
}

static void visit_all(const char *images_dir, visit_t visit, void *userdata)
{
	_cleanup_(closedirp) DIR *dir = opendir(images_dir);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		_cleanup_(freep) char *path = weft_strf("%s/%s", images_dir, e->d_name);

		if (path && e->d_name[0] != '.')
			visit_image(path, visit, userdata);
	}
}

/* Those of earlier boots fit nobody any more, and what was not finished never will be. */
static void remove_old(void *userdata, const char *path, const char *name)
{
	if (strncmp(name, userdata, 8) != 0 || strstr(name, ".part"))
		weft_remove_tree(path);
}

void weft_warm_remove_old(const char *images_dir)
{
	char boot[64];

	if (weft_boot_id(boot, sizeof(boot)) == 0)
		visit_all(images_dir, remove_old, boot);
}

int weft_warm_remove(const char *dir)
{
	_cleanup_(freep) char *gone = weft_strf("%s.gone.part", dir);

	if (gone)
		(void)weft_remove_tree(gone);
	return weft_remove_tree(gone && rename(dir, gone) == 0 ? gone : dir);
}

/* --- room ----------------------------------------------------------------------------------------
 */

struct sum {
	const char *keep;
	uint64_t bytes;
	struct timespec oldest;
	char *path; /* the one that was not used for the longest time */
};

static uint64_t bytes_on_disk(const char *path)
{
	static const char *const files[] = {"ram", "state"};
	uint64_t bytes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_(freep) char *file = weft_strf("%s/%s", path, files[i]);
		struct stat st;

		if (file && lstat(file, &st) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

static void add_up(void *userdata, const char *path, const char *name)
{
	struct sum *s = userdata;
	struct stat st;

	(void)name;
	s->bytes += bytes_on_disk(path);
	if (strcmp(path, s->keep) == 0 || lstat(path, &st) < 0)
		return;
	if (s->path && (st.st_mtim.tv_sec > s->oldest.tv_sec ||
			       (st.st_mtim.tv_sec == s->oldest.tv_sec &&
				       st.st_mtim.tv_nsec >= s->oldest.tv_nsec)))
		return;
	free(s->path);
	s->path = strdup(path);
	s->oldest = st.st_mtim;
}

int weft_warm_trim(
	const char *images_dir, uint64_t max_bytes, const char *keep, struct weft_err *err)
{
	for (;;) {
		struct sum s = {.keep = keep};
		_cleanup_(freep) char *path = NULL;
		int r;

		visit_all(images_dir, add_up, &s);
		path = s.path;
		if (s.bytes <= max_bytes)
			return 0;
		log_info("checkpoints take %llu MiB: %s goes", (unsigned long long)(s.bytes >> 20),
			path ? path : keep);
		r = weft_warm_remove(path ? path : keep);
		if (r < 0)
			return weft_err_set(err, r, "checkpoint %s: remove it: %s",
				path ? path : keep, strerror(-r));
		if (!path)
			return weft_err_set(err, E2BIG,
				"it takes %llu MiB, more than all of them may take",
				(unsigned long long)(s.bytes >> 20));
	}
}
