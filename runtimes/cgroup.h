/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups of what we start, and one reader for the numbers of every runtime. Works on v1,
 * v2 and hybrid hosts: controllers are looked up in /proc/self/mountinfo, never assumed. A path is
 * relative to each hierarchy's root, without slashes around: "weft/shop.web.1". */
#ifndef WEFT_RUNTIMES_CGROUP_H
#define WEFT_RUNTIMES_CGROUP_H

#include <stdint.h>
#include <sys/types.h>

#include "ctrl/base/err.h"

struct weft_cgroup_limits {
	uint64_t memory_bytes; /* 0: none */
	uint32_t cpu_milli;    /* quota in thousandths of a CPU, 0: none */
	uint32_t cpu_weight;   /* 1..10000 as in v2; 0: everybody's 100 */
	uint32_t pids;         /* 0: none */
};

/* Create in every hierarchy that has one of cpu, cpuacct, memory, pids and set the limits. Existing
 * groups are kept and their limits set again. */
int weft_cgroup_create(
	const char *path, const struct weft_cgroup_limits *limits, struct weft_err *err);
/* Move a process (0: the caller, as in a child before exec: async-signal-safe) into it. */
int weft_cgroup_join(const char *path, pid_t pid);
/* CPU time in ns and memory in bytes used by all in it; -ENOENT. Either pointer may be NULL. */
int weft_cgroup_read(const char *path, uint64_t *ret_cpu_ns, uint64_t *ret_memory);
/* How often the kernel killed one of its processes for memory; -ENOENT: unknown. */
int weft_cgroup_oom_kills(const char *path, uint64_t *ret);
/* Send a signal to everything in it, until nobody is left that has not got it. */
int weft_cgroup_signal(const char *path, int signal);
/* SIGKILL everything in it (repeatedly, until empty or 1 s), then remove it. Unknown: 0. */
int weft_cgroup_destroy(const char *path);
/* The cgroup of a process in the hierarchy that counts CPU time, as a path for weft_cgroup_read();
 * the caller frees it. */
int weft_cgroup_of_pid(pid_t pid, char **ret);

#endif
