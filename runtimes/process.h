/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes that outlive the daemon and are found again by the next one: spawned into a
 * network namespace and a cgroup with nothing inherited but what is named, watched by pidfd. */
#ifndef WEFT_RUNTIMES_PROCESS_H
#define WEFT_RUNTIMES_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "ctrl/base/err.h"

struct weft_process_spec {
	const char *const *argv; /* argv[0] is looked up in PATH (with the sbin directories) */
	const char *const *env;  /* the whole environment; NULL: PATH and LANG only */
	const char *cwd;         /* NULL: "/" */
	const char *netns;       /* path of a namespace to enter, NULL: ours */
	const char *cgroup;      /* as weft_cgroup_join(), NULL: ours */
	uid_t uid;               /* with drop: become this user, no groups, no capabilities, */
	gid_t gid;               /* PR_SET_NO_NEW_PRIVS */
	bool drop;
	int stdin_fd;             /* -1: /dev/null */
	int stdout_fd, stderr_fd; /* -1: /dev/null */
	const int *fds; /* passed as descriptors 3, 4, ... in this order; all others close */
	unsigned n_fds;
	bool die_with_parent; /* PR_SET_PDEATHSIG SIGKILL: for short-lived workers */
};

/* Fork and exec in a session of its own, signals reset. Returns when exec has succeeded; a failed
 * exec, setns or chdir is an error here ("exec /usr/bin/qemu: No such file"), and nothing is left.
 * ret_pidfd is close-on-exec. */
int weft_process_spawn(
	const struct weft_process_spec *spec, pid_t *ret_pid, int *ret_pidfd, struct weft_err *err);

/* A process is known across daemons by pid and start time (field 22 of /proc/PID/stat). */
int weft_process_start_time(pid_t pid, uint64_t *ret);
/* pidfd of that very process; -ESRCH when it is gone or the pid belongs to another now. */
int weft_process_open(pid_t pid, uint64_t start_time, int *ret_pidfd);

/* Told once, from the loop, when the process ends. status is as waitpid() says, or -1 when it is
 * not our child and nobody knows. pidfd stays the caller's. A child is
 * reaped. */
struct weft_process_watch;
typedef void (*weft_process_exit_t)(void *userdata, int status);
int weft_process_watch(sd_event *event, int pidfd, weft_process_exit_t cb, void *userdata,
	struct weft_process_watch **ret);
void weft_process_unwatch(struct weft_process_watch *w); /* NULL is fine */

/* "exit status 1", "killed by SIGKILL", "ended" for status -1. Returns buf. */
const char *weft_process_status_text(int status, char *buf, size_t size);

#endif
