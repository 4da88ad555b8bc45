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

/* A line of passwd or group. Both have name and number at the same places; the fourth field is the
 * primary group in the one, the members in the other. */
struct line {
	char text[MAX_LINE];
	const char *name, *members;
	uint64_t id, group;
};

static bool parse_line(struct line *l)
{
	char copy[MAX_LINE];
	const char *group;

	l->text[strcspn(l->text, "\n")] = '\0';
	if (weft_parse_u64(field(strcpy(copy, l->text), 2), 0, MAX_ID, &l->id) < 0)
		return false;
	group = field(strcpy(copy, l->text), 3);
	l->group = 0;
	if (group)
		(void)weft_parse_u64(group, 0, MAX_ID, &l->group);
	l->members = strrchr(l->text, ':') + 1; /* there is an id, so there is one */
	l->name = field(l->text, 0);
	return l->name != NULL;
}

static FILE *open_file(Ctrd__Mount *const *mounts, size_t n, const char *file)
{
	int fd = open_in_mounts(mounts, n, file);
	FILE *f;

	if (fd < 0)
		return NULL;
	f = fdopen(fd, "r");
	if (!f)
		close(fd);
	return f;
}

/* The line with this name or, when that is NULL, with this number. */
static int lookup(Ctrd__Mount *const *mounts, size_t n, const char *file, const char *name,
	uint64_t id, struct line *ret)
{
	_cleanup_(fclosep) FILE *f = open_file(mounts, n, file);

	while (f && fgets(ret->text, sizeof(ret->text), f))
		if (parse_line(ret) && (name ? strcmp(ret->name, name) == 0 : ret->id == id))
			return 0;
	return -ENOENT;
}

static bool is_member(const char *members, const char *name)
{
	size_t n = strlen(name);

	for (; *members; members += strcspn(members, ","), members += *members == ',')
		if (strcspn(members, ",") == n && strncmp(members, name, n) == 0)
			return true;
	return false;
}

static void find_groups(Ctrd__Mount *const *mounts, size_t n, const char *name, struct ctrd_user *u)
{
	_cleanup_(fclosep) FILE *f = open_file(mounts, n, "etc/group");
	struct line l;

	while (f && fgets(l.text, sizeof(l.text), f) && u->n_groups < CTRD_MAX_GROUPS)
		if (parse_line(&l) && l.id != u->gid && is_member(l.members, name))
			u->groups[u->n_groups++] = (uint32_t)l.id;
}

static int unknown(const char *what, const char *name, const char *file, struct weft_err *err)
{
	weft_err_set(err, ENOENT, "%s '%.64s' is not in the image's /%s", what, name, file);
	return weft_err_hint(err, "give a number as user, or add the %s to the image", what);
}

int ctrd_user_lookup(const char *user, Ctrd__Mount *const *mounts, size_t n_mounts,
	struct ctrd_user *ret, struct weft_err *err)
{
	_cleanup_(freep) char *name = strdup(*user ? user : "0");
	struct ctrd_user u = {};
	bool number, known;
	struct line l;
	uint64_t id = 0;
	char *group;

	if (!name)
		return weft_err_set(err, ENOMEM, "out of memory");
	group = strchr(name, ':');
	if (group)
		*group++ = '\0';
	/* A number need not be in the file; when it is, its groups count. */
	number = weft_parse_u64(name, 0, MAX_ID, &id) == 0;
	known = lookup(mounts, n_mounts, "etc/passwd", number ? NULL : name, id, &l) == 0;
	if (!known && !number)
		return unknown("user", name, "etc/passwd", err);
	u.uid = (uint32_t)(number ? id : l.id);
	u.gid = known ? (uint32_t)l.group : 0;
	if (!group || !*group) {
		if (known)
			find_groups(mounts, n_mounts, l.name, &u);
	} else if (weft_parse_u64(group, 0, MAX_ID, &id) == 0) {
		u.gid = (uint32_t)id;
	} else if (lookup(mounts, n_mounts, "etc/group", group, 0, &l) == 0) {
		u.gid = (uint32_t)l.id;
	} else {
		return unknown("group", group, "etc/group", err);
	}
	*ret = u;
	return 0;
}
