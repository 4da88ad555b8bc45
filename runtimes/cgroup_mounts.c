/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/cgroup_mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

static const struct {
	const char *name;
	enum weft_cgroup_controller bit;
} controller_names[] = {
	{"cpu", WEFT_CGROUP_CPU},
	{"cpuacct", WEFT_CGROUP_CPUACCT},
	{"memory", WEFT_CGROUP_MEMORY},
	{"pids", WEFT_CGROUP_PIDS},
};

/* Cut the next word that ends in one of delims off *p; NULL at the end. */
static char *next_word(char **p, const char *delims)
{
	char *word = *p + strspn(*p, delims);

	if (!*word)
		return NULL;
	*p = word + strcspn(word, delims);
	if (**p)
		*(*p)++ = '\0';
	return word;
}

static unsigned controllers_in(char *list, const char *delims)
{
	unsigned found = 0;

	for (char *word; (word = next_word(&list, delims));)
		for (size_t i = 0; i < ARRAY_SIZE(controller_names); i++)
			if (strcmp(word, controller_names[i].name) == 0)
				found |= controller_names[i].bit;
	return found;
}

/* Copy with mountinfo's \ooo escapes undone. */
static int unescape(const char *s, char *buf, size_t size)
{
	size_t n = 0;

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (n + 1 >= size)
			return -ENAMETOOLONG;
		if (c == '\\' && strspn(s + 1, "01234567") >= 3) {
			c = (unsigned char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		}
		buf[n++] = (char)c;
	}
	buf[n] = '\0';
	return 0;
}

void weft_cgroup_mounts_line(struct weft_cgroup_mounts *m, char *line)
{
	struct weft_cgroup_hierarchy *h;
	char *root = NULL, *dir = NULL, *type, *word, *options;
	unsigned used = 0;
	bool v2, have_v2 = false;

	for (unsigned i = 0; i < 5; i++) {
		word = next_word(&line, " ");
		if (!word)
			return;
		root = i == 3 ? word : root;
		dir = word;
	}
	while ((word = next_word(&line, " ")) && strcmp(word, "-") != 0)
		;
	type = next_word(&line, " ");
	if (!word || !type || !next_word(&line, " "))
		return;
	v2 = strcmp(type, "cgroup2") == 0;
	if (!v2 && strcmp(type, "cgroup") != 0)
		return;
	options = next_word(&line, " \n");

	for (unsigned i = 0; i < m->n; i++) {
		used |= m->h[i].controllers;
		have_v2 |= m->h[i].v2;
	}
	if (m->n == ARRAY_SIZE(m->h) || (v2 && have_v2))
		return;
	h = &m->h[m->n];
	h->v2 = v2;
	h->controllers = v2 || !options ? 0 : controllers_in(options, ",") & ~used;
	if (!v2 && !h->controllers)
		return;
	if (unescape(dir, h->dir, sizeof(h->dir)) < 0 ||
		unescape(root, h->root, sizeof(h->root)) < 0)
		return;
	m->n++;
}

/* Feed a file's lines to weft_cgroup_mounts_line(). Lines longer than the buffer are skipped: they
 * belong to overlays with many layers, never to a cgroup. */
static int read_lines(const char *file, struct weft_cgroup_mounts *m)
{
	_cleanup_(closep) int fd = open(file, O_RDONLY | O_CLOEXEC);
	bool skipping = false;
	size_t have = 0;
	char buf[4096];

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = read(fd, buf + have, sizeof(buf) - have);
		char *start = buf, *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		have += (size_t)n;
		while ((end = memchr(start, '\n', have))) {
			*end = '\0';
			if (!skipping)
				weft_cgroup_mounts_line(m, start);
			skipping = false;
			have -= (size_t)(end + 1 - start);
			start = end + 1;
		}
		if (have == sizeof(buf)) {
			skipping = true;
			have = 0;
		}
		memmove(buf, start, have);
	}
}

static unsigned v2_controllers(const struct weft_cgroup_hierarchy *h)
{
	_cleanup_(closep) int fd = -1;
	char file[300], list[512];
	ssize_t n;

	if (weft_cgroup_mounts_path(h, "", "cgroup.controllers", file, sizeof(file)) < 0)
		return 0;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, list, sizeof(list) - 1);
	if (n < 0)
		return 0;
	list[n] = '\0';
	return controllers_in(list, " \n");
}

int weft_cgroup_mounts_read(struct weft_cgroup_mounts *ret)
{
	struct weft_cgroup_mounts m = {};
	unsigned used = 0, n = 0;
	int r;

	r = read_lines("/proc/self/mountinfo", &m);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < m.n; i++)
		used |= m.h[i].controllers;
	for (unsigned i = 0; i < m.n; i++) {
		struct weft_cgroup_hierarchy *h = &m.h[i];

		if (h->v2) {
			/* v2's cpu.stat counts CPU time whatever controllers there are. */
			h->controllers = (v2_controllers(h) | WEFT_CGROUP_CPUACCT) & ~used;
			if (!h->controllers)
				continue;
		}
		if (n != i)
			m.h[n] = *h;
		n++;
	}
	m.n = n;
	if (n == 0)
		return -ENOENT;
	*ret = m;
	return 0;
}

const struct weft_cgroup_hierarchy *weft_cgroup_mounts_find(
	const struct weft_cgroup_mounts *m, enum weft_cgroup_controller controller)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->h[i].controllers & controller)
			return &m->h[i];
	return NULL;
}

int weft_cgroup_mounts_path(const struct weft_cgroup_hierarchy *h, const char *path,
	const char *file, char *buf, size_t size)
{
	const char *part[] = {h->dir, path, file};
	size_t at = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
		size_t n = part[i] ? strlen(part[i]) : 0;

		if (n == 0)
			continue;
		if (at + n + 2 > size)
			return -ENAMETOOLONG;
		if (at > 0)
			buf[at++] = '/';
		memcpy(buf + at, part[i], n);
		at += n;
	}
	if (at == 0)
		return -EINVAL;
	buf[at] = '\0';
	return 0;
}

bool weft_cgroup_path_valid(const char *path)
{
	if (!path || !*path || strlen(path) > 200)
		return false;
	for (;;) {
		size_t n = strcspn(path, "/");

		if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && memcmp(path, "..", 2) == 0))
			return false;
		path += n;
		if (!*path++)
			return true;
	}
}
