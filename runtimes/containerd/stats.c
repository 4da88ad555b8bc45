/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance uses. Its cgroup has all that runs for it, gVisor's gofer and sentry too, but
 * not what containerd keeps beside it: the shim and the log's writer are counted apart. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/containerd/ctrd.h"

#define MAX_TEXT 65536
#define SHIM     "containerd-shim" /* as the kernel keeps it, cut at 15 characters */
#define LOGGER   "weft-log"

/* --- helpers -------------------------------------------------------------------------------------
 */

struct process {
	char comm[32];
	pid_t parent;
	uint64_t ticks;
};

static int read_process(pid_t pid, struct process *ret)
{
	unsigned long long utime, stime;
	_cleanup_(freep) char *text = NULL;
	const char *open, *close;
	char path[64];
	int parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (weft_read_file(path, MAX_TEXT, &text, NULL) < 0)
		return -ESRCH;
	open = strchr(text, '(');
	close = strrchr(text, ')'); /* a name may have some of its own */
	if (!open || !close ||
		sscanf(close + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &parent,
			&utime, &stime) != 3)
		return -EBADMSG;
	snprintf(ret->comm, sizeof(ret->comm), "%.*s", (int)(close - open - 1), open + 1);
	ret->parent = parent;
	ret->ticks = utime + stime;
	return 0;
}

static pid_t find_child(pid_t parent, const char *thread)
{
	_cleanup_(freep) char *path = weft_strf("/proc/%d/task/%s/children", parent, thread);
	_cleanup_(freep) char *text = NULL;
	char *save = NULL;

	if (!path || weft_read_file(path, MAX_TEXT, &text, NULL) < 0)
		return 0;
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		struct process p;
		uint64_t pid;

		if (weft_parse_u64(w, 1, INT32_MAX, &pid) == 0 &&
			read_process((pid_t)pid, &p) == 0 && strcmp(p.comm, LOGGER) == 0)
			return (pid_t)pid;
	}
	return 0;
}

/* Children are listed by the thread that made them. */
static pid_t find_logger(pid_t shim)
{
	_cleanup_(freep) char *path = weft_strf("/proc/%d/task", shim);
	_cleanup_(closedirp) DIR *dir = path ? opendir(path) : NULL;
	const struct dirent *e;
	pid_t found = 0;

	while (dir && !found && (e = readdir(dir)))
		if (isdigit((unsigned char)e->d_name[0]))
			found = find_child(shim, e->d_name);
	return found;
}

static void find_helpers(struct ctrd_instance *inst)
{
	struct process p;

	inst->helpers_known = true;
	/* comm is cut at 15 characters */
	if (read_process((pid_t)inst->pid, &p) < 0 || p.parent <= 1)
		return;
	inst->helpers[0] = p.parent;
	if (read_process(inst->helpers[0], &p) < 0 || strncmp(p.comm, "containerd-shim", 15) != 0) {
		inst->helpers[0] = 0;
		return;
	}
	inst->helpers[1] = find_logger(inst->helpers[0]);
}

/* Memory of its own: what it maps of its program it shares with all its like. */
static uint64_t own_memory(pid_t pid)
{
	_cleanup_(freep) char *text = NULL;
	unsigned long resident, shared;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	if (weft_read_file(path, MAX_TEXT, &text, NULL) < 0 ||
		sscanf(text, "%*u %lu %lu", &resident, &shared) != 2 || shared > resident)
		return 0;
	return (uint64_t)(resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void read_helpers(struct ctrd_instance *inst, struct weft_runtime_stats *s)
{
	const uint64_t tick_ns = 1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK);

	if (!inst->helpers_known)
		find_helpers(inst);
	for (size_t i = 0; i < ARRAY_SIZE(inst->helpers); i++) {
		struct process p;

		/* A pid may be another's by now; without its shim an instance is init's child. */
		if (inst->helpers[i] == 0 || read_process(inst->helpers[i], &p) < 0 ||
			strcmp(p.comm, i == 0 ? SHIM : LOGGER) != 0)
			continue;
		s->helper_cpu_ns += p.ticks * tick_ns;
		s->helper_memory_bytes += own_memory(inst->helpers[i]);
	}
}

int ctrd_stats(struct weft_runtime *rt, const char *id, struct weft_runtime_stats *ret)
{
	struct ctrd_instance *inst = ctrd_instance_find(rt, id);
	struct weft_runtime_stats stats = {};
	int r;

	if (!inst || inst->over || inst->held)
		return -ENOENT;
	if (!inst->cgroup) {
		r = weft_cgroup_of_pid((pid_t)inst->pid, &inst->cgroup);
		if (r < 0)
			return r;
	}
	stats.pid = inst->pid;
	r = weft_cgroup_read(inst->cgroup, &stats.cpu_ns, &stats.memory_bytes);
	if (r < 0)
		return r;
	read_helpers(inst, &stats);
	*ret = stats;
	return 0;
}
