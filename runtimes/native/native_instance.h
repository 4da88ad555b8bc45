/* SPDX-License-Identifier: Apache-2.0 */
/* The native runtime's running instances: found by id, known across daemons by their record, swept
 * away when their process ends. */
#ifndef WEFT_RUNTIMES_NATIVE_INSTANCE_H
#define WEFT_RUNTIMES_NATIVE_INSTANCE_H

#include <systemd/sd-event.h>

#include "runtimes/deferred.h"
#include "runtimes/native/native_record.h"
#include "runtimes/process.h"
#include "runtimes/runtime.h"

/* A running process that is watched. */
struct weft_native {
	struct weft_runtime *rt;
	struct weft_native *next;
	char *id;
	struct weft_native_record rec;
	int pidfd;
	struct weft_process_watch *watch;
	sd_event_source *grace;
	int log_pidfd; /* the log's writer; -1: none */
	struct weft_process_watch *log_watch;
	bool over;  /* its process has ended, the log is still to be written out */
	int status; /* ... with this, */
	bool oom;
	sd_event_source *patience; /* for that long at most */
	struct weft_deferred *
		*waiting; /* stop and delete calls that want to know when it is gone */
	size_t n_waiting;
};

struct weft_runtime {
	sd_event *event;
	char *dir;    /* records live here */
	char *logger; /* weft-log; NULL: no libexec_dir, logs are files and not rotated */
	char *cgroup_root;
	weft_runtime_event_t on_event;
	void *userdata;
	struct weft_deferred_set owed;
	struct weft_native *instances;
	struct weft_native_exec *execs; /* under way */
};

/* A running instance of this daemon, or NULL. */
struct weft_native *weft_native_find(struct weft_runtime *rt, const char *id);

/* The instance, running and watched, also when only its record says so. -ENOENT: not running. */
int weft_native_get(struct weft_runtime *rt, const char *id, struct weft_native **ret);

/* A new process, and the writer of its log: pid 0 and pidfd -1, none. */
struct weft_native_new {
	const char *id, *cgroup;
	pid_t pid, log_pid;
	int pidfd, log_pidfd;
};
/* Record it and watch it: what happens to it from here on is told by on_event. Both descriptors are
 * consumed in any case. */
int weft_native_add(struct weft_runtime *rt, const struct weft_native_new *n);

/* Answer d when the instance has ended and nothing of it is left; its end is no event then. */
int weft_native_wait(struct weft_native *inst, struct weft_deferred *d);

/* Remove what an instance without a process leaves: what it forked, its cgroup, its record. */
int weft_native_sweep(struct weft_runtime *rt, const char *id);

/* Where its cgroup is or would be; the caller frees it. -EINVAL: no valid id. */
int weft_native_cgroup(struct weft_runtime *rt, const char *id, char **ret);
/* Likewise, of its log's writer. */
char *weft_native_log_cgroup(const char *cgroup);

void weft_native_free_all(struct weft_runtime *rt); /* forget them; they run on */

#endif
