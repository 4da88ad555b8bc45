/* SPDX-License-Identifier: Apache-2.0 */
/* runc wants numbers, images give names. The names are in the image's /etc/passwd, which is found
 * without mounting anything: the layers that a snapshot would mount are looked through from the top
 * down. A file in an image is opened such that no link in it leads out of its layer. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

#define MAX_LINE 4096
#define MAX_ID   0xfffffffeULL

/* -ENOENT: look in the next layer; -ENODATA: this layer says that there is no such file. */
static int open_in_layer(const char *layer, const char *file)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	_cleanup_(closep) int dir = open(layer, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int fd;

	if (dir < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, dir, file, &how, sizeof(how));
	if (fd < 0) {
		/* overlayfs marks a removed file by a device 0:0, which cannot be opened. */
		if (fstatat(dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode))
			return -ENODATA;
		return -ENOENT;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -ENODATA;
	}
	return fd;
}

static int open_in_layers(const char *colon_separated, const char *file)
{
	_cleanup_(freep) char *copy = strdup(colon_separated);
	char *save = NULL;

	if (!copy)
		return -ENOMEM;
	for (char *l = strtok_r(copy, ":", &save); l; l = strtok_r(NULL, ":", &save)) {
		int fd = open_in_layer(l, file);

		if (fd != -ENOENT)
			return fd;
	}
	return -ENOENT;
}

static int open_in_mounts(Ctrd__Mount *const *mounts, size_t n, const char *file)
{
	const Ctrd__Mount *m = n == 1 ? mounts[0] : NULL;

	if (!m)
		return -ENOTSUP;
	if (strcmp(m->type, "bind") == 0)
		return open_in_layers(m->source, file);
	for (size_t i = 0; strcmp(m->type, "overlay") == 0 && i < m->n_options; i++)
		if (strncmp(m->options[i], "lowerdir=", 9) == 0)
			return open_in_layers(m->options[i] + 9, file);
	return -ENOTSUP;
}

/* The i-th field of a line of passwd or group, in place; NULL. */
static char *field(char *line, unsigned i)
{
	for (char *f = strsep(&line, ":"); f; f = strsep(&line, ":"))
		if (i-- == 0)
			return f;
	return NULL;
}

/* Find the line whose first field is name, or whose third is the number id. Both files have name
 * and number at the same places; the fourth of passwd is the primary group. */
static int find_line(FILE *f, const char *name, uint64_t id, uint64_t *ret_id, uint64_t *ret_group)
{
	char line[MAX_LINE], copy[MAX_LINE];

	while (fgets(line, sizeof(line), f)) {
		const char *first, *group;
		uint64_t n, g = 0;

		line[strcspn(line, "\n")] = '\0';
		if (weft_parse_u64(field(strcpy(copy, line), 2), 0, MAX_ID, &n) < 0)
			continue;
		group = field(strcpy(copy, line), 3);
		if (group)
			(void)weft_parse_u64(group, 0, MAX_ID, &g);
		first = field(strcpy(copy, line), 0);
		if (name ? !first || strcmp(first, name) != 0 : n != id)
			continue;
		*ret_id = n;
		*ret_group = g;
		return 0;
	}
	return -ENOENT;
}

static int lookup(Ctrd__Mount *const *mounts, size_t n, const char *file, const char *name,
	uint64_t id, uint64_t *ret_id, uint64_t *ret_group)
{
	_cleanup_(fclosep) FILE *f = NULL;
	int fd = open_in_mounts(mounts, n, file);

	if (fd < 0)
		return fd;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return -ENOMEM;
	}
	return find_line(f, name, id, ret_id, ret_group);
}

static int unknown(const char *what, const char *name, const char *file, struct weft_err *err)
{
	weft_err_set(err, ENOENT, "the image's %s '%.64s' is not in its /%s", what, name, file);
	return weft_err_hint(err, "give a number in the image's USER, or add the %s", what);
}

int ctrd_user_lookup(const char *user, Ctrd__Mount *const *mounts, size_t n_mounts,
	uint32_t *ret_uid, uint32_t *ret_gid, struct weft_err *err)
{
	_cleanup_(freep) char *name = strdup(*user ? user : "0");
	uint64_t uid = 0, gid = 0, unused;
	char *group;

	if (!name)
		return weft_err_set(err, ENOMEM, "out of memory");
	group = strchr(name, ':');
	if (group)
		*group++ = '\0';
	if (weft_parse_u64(name, 0, MAX_ID, &uid) == 0) {
		/* A number need not be in the file; when it is, its group counts. */
		if (uid != 0)
			(void)lookup(mounts, n_mounts, "etc/passwd", NULL, uid, &uid, &gid);
	} else if (lookup(mounts, n_mounts, "etc/passwd", name, 0, &uid, &gid) < 0) {
		return unknown("user", name, "etc/passwd", err);
	}
	if (group && *group && weft_parse_u64(group, 0, MAX_ID, &gid) < 0 &&
		lookup(mounts, n_mounts, "etc/group", group, 0, &gid, &unused) < 0)
		return unknown("group", group, "etc/group", err);
	*ret_uid = (uint32_t)uid;
	*ret_gid = (uint32_t)gid;
	return 0;
}
