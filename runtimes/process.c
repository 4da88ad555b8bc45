/* SPDX-License-Identifier: Apache-2.0 */
/* Telling processes apart and learning of their end; process_spawn.c starts them. */
#include "runtimes/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

/* State letter and start time of /proc/PID/stat. The command name may hold blanks and parentheses,
 * so fields are counted from the last ')'. */
static int read_stat(pid_t pid, char *ret_state, uint64_t *ret_start)
{
	_cleanup_(freep) char *text = NULL;
	unsigned long long start;
	char path[64], state, *p;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = weft_read_file(path, 4096, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1,
			  " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			  "%*s %*s %llu",
			  &state, &start) != 2)
		return -EIO;
	*ret_state = state;
	*ret_start = start;
	return 0;
}

int weft_process_start_time(pid_t pid, uint64_t *ret)
{
	char state;

	return read_stat(pid, &state, ret);
}

int weft_process_open(pid_t pid, uint64_t start_time, int *ret_pidfd)
{
	_cleanup_(closep) int fd = -1;
	uint64_t start;
	char state;
	int r;

	if (pid <= 0)
		return -ESRCH;
	/* The descriptor first: what is found to be the right process afterwards stays it. */
	fd = pidfd_open(pid, 0);
	if (fd < 0)
		return errno == EINVAL ? -ESRCH : -errno; /* EINVAL: a thread's id */
	r = read_stat(pid, &state, &start);
	if (r < 0)
		return r;
	/* A zombie has ended, though nobody may ever reap it. */
	if (start != start_time || state == 'Z' || state == 'X')
		return -ESRCH;
	*ret_pidfd = TAKE_FD(fd);
	return 0;
}

struct weft_process_watch {
	sd_event_source *source;
	int pidfd;
	weft_process_exit_t cb;
	void *userdata;
};

/* The status as waitpid() gives it; -1 when it is not our child or was reaped by somebody else. */
static int reap(int pidfd)
{
	siginfo_t si = {};
	int r;

	do
		r = waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG);
	while (r < 0 && errno == EINTR);
	if (r < 0 || si.si_pid == 0)
		return -1;
	switch (si.si_code) {
	case CLD_EXITED:
		return W_EXITCODE(si.si_status, 0);
	case CLD_DUMPED:
		return si.si_status | WCOREFLAG;
	default:
		return W_EXITCODE(0, si.si_status);
	}
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct weft_process_watch *w = userdata;

	(void)source;
	(void)revents;
	/* One-shot: the callback may unwatch, so w is not touched after it. */
	w->cb(w->userdata, reap(fd));
	return 0;
}

int weft_process_watch(sd_event *event, int pidfd, weft_process_exit_t cb, void *userdata,
	struct weft_process_watch **ret)
{
	struct weft_process_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->pidfd = pidfd;
	w->cb = cb;
	w->userdata = userdata;
	r = sd_event_add_io(event, &w->source, pidfd, EPOLLIN, on_pidfd, w);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->source, SD_EVENT_ONESHOT);
	if (r < 0) {
		weft_process_unwatch(w);
		return r;
	}
	*ret = w;
	return 0;
}

void weft_process_unwatch(struct weft_process_watch *w)
{
	if (!w)
		return;
	sd_event_source_disable_unref(w->source);
	free(w);
}

const char *weft_process_status_text(int status, char *buf, size_t size)
{
	const char *name;

	if (status == -1) {
		snprintf(buf, size, "ended");
	} else if (WIFEXITED(status)) {
		snprintf(buf, size, "exit status %d", WEXITSTATUS(status));
	} else {
		name = sigabbrev_np(WTERMSIG(status));
		if (name)
			snprintf(buf, size, "killed by SIG%s%s", name,
				WCOREDUMP(status) ? " (core dumped)" : "");
		else
			snprintf(buf, size, "killed by signal %d", WTERMSIG(status));
	}
	return buf;
}
