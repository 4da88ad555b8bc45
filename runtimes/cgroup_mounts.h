/* SPDX-License-Identifier: Apache-2.0 */
/* Where this host's control group hierarchies are mounted. Nothing here allocates or uses stdio, so
 * that a child may call it between fork and exec. */
#ifndef WEFT_RUNTIMES_CGROUP_MOUNTS_H
#define WEFT_RUNTIMES_CGROUP_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>

enum weft_cgroup_controller {
	WEFT_CGROUP_CPU = 1 << 0,
	WEFT_CGROUP_CPUACCT = 1 << 1,
	WEFT_CGROUP_MEMORY = 1 << 2,
	WEFT_CGROUP_PIDS = 1 << 3,
	WEFT_CGROUP_ALL = (1 << 4) - 1,
};

struct weft_cgroup_hierarchy {
	char dir[256];        /* mount point */
	char root[256];       /* the group shown there, "/" unless it is a bind mount */
	unsigned controllers; /* of enum weft_cgroup_controller, those used in this hierarchy */
	bool v2;
};

struct weft_cgroup_mounts {
	struct weft_cgroup_hierarchy h[5]; /* at most one each in v1, and v2 */
	unsigned n;
};

/* Look the hierarchies up that have one of our controllers; each controller appears once. v2 is
 * listed when it has a controller of ours or when no v1 hierarchy counts CPU time. -ENOENT: none.
 */
int weft_cgroup_mounts_read(struct weft_cgroup_mounts *ret);

/* Take note of one line of mountinfo (changed in place), ignoring what is no cgroup mount. */
void weft_cgroup_mounts_line(struct weft_cgroup_mounts *m, char *line);

/* The hierarchy with this controller, or NULL. */
const struct weft_cgroup_hierarchy *weft_cgroup_mounts_find(
	const struct weft_cgroup_mounts *m, enum weft_cgroup_controller controller);

/* "DIR/PATH/FILE" into buf, without /FILE when file is NULL; -ENAMETOOLONG. */
int weft_cgroup_mounts_path(const struct weft_cgroup_hierarchy *h, const char *path,
	const char *file, char *buf, size_t size);

/* Is path a group below the root: not empty, no empty, "." or ".." component? */
bool weft_cgroup_path_valid(const char *path);

#endif
