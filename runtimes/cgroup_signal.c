/* SPDX-License-Identifier: Apache-2.0 */
/* A signal for all processes of a control group. SIGSTOP and SIGCONT pause a group on any host,
 * with a freezer or without. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/cgroup_mounts.h"

#define ROUNDS_MAX 16
#define PIDS_MAX   4096

struct pids {
	pid_t pid[PIDS_MAX];
	unsigned n;
};

static bool has(const struct pids *p, pid_t pid)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->pid[i] == pid)
			return true;
	return false;
}

/* Signal those that have not had it yet; returns how many. */
static int round_of(const char *file, int signal, struct pids *had)
{
	_cleanup_(fclosep) FILE *f = fopen(file, "re");
	int pid, fresh = 0;

	if (!f)
		return -errno;
	/* A process of another pid namespace reads as 0, which kill() would take for our group. */
	while (fscanf(f, "%d", &pid) == 1) {
		if (pid <= 1 || had->n == PIDS_MAX || has(had, pid))
			continue;
		had->pid[had->n++] = pid;
		fresh += kill(pid, signal) == 0;
	}
	return fresh;
}

int weft_cgroup_signal(const char *path, int signal)
{
	_cleanup_(freep) struct pids *had = calloc(1, sizeof(*had));
	const struct weft_cgroup_hierarchy *h;
	struct weft_cgroup_mounts m;
	char file[600];
	int r;

	if (!weft_cgroup_path_valid(path))
		return -EINVAL;
	if (!had)
		return -ENOMEM;
	r = weft_cgroup_mounts_read(&m);
	if (r < 0)
		return r;
	h = weft_cgroup_mounts_find(&m, WEFT_CGROUP_CPUACCT);
	if (!h)
		return -ENOENT;
	r = weft_cgroup_mounts_path(h, path, "cgroup.procs", file, sizeof(file));
	/* Whoever was not stopped yet may have forked meanwhile. */
	for (unsigned i = 0; r >= 0 && i < ROUNDS_MAX; i++) {
		r = round_of(file, signal, had);
		if (r == 0)
			return 0;
	}
	return r < 0 ? r : -EAGAIN;
}
