/* SPDX-License-Identifier: Apache-2.0 */
/* Telling processes apart and learning of their end; process_spawn.c starts them. */
#include "runtimes/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

/* What weft wants of /proc/PID/stat. */
struct stat_line {
	char state;
	unsigned long long start_time; /* field 22 */
	int exit_code;                 /* field 52: as waitpid() says, of a zombie */
};

/* The command name may hold blanks and parentheses, so fields are counted from the last ')'. */
static int read_stat(pid_t pid, struct stat_line *ret)
{
	_cleanup_(freep) char *text = NULL;
	struct stat_line line = {};
	char path[64], *p, *save = NULL;
	int r, field = 3;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = weft_read_file(path, 4096, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	p = strrchr(text, ')');
	if (!p)
		return -EIO;
	for (p = strtok_r(p + 1, " \n", &save); p; p = strtok_r(NULL, " \n", &save), field++) {
		if (field == 3)
			line.state = *p;
		else if (field == 22)
			line.start_time = strtoull(p, NULL, 10);
		else if (field == 52)
			line.exit_code = atoi(p);
	}
	if (field <= 52)
		return -EIO;
	*ret = line;
	return 0;
}

int weft_process_start_time(pid_t pid, uint64_t *ret)
{
	struct stat_line line;
	int r = read_stat(pid, &line);

	if (r == 0)
		*ret = line.start_time;
	return r;
}

int weft_process_open(pid_t pid, uint64_t start_time, int *ret_pidfd)
{
	_cleanup_(closep) int fd = -1;
	struct stat_line line;
	int r;

	if (pid <= 0)
		return -ESRCH;
	/* The descriptor first: what is found to be the right process afterwards stays it. */
	fd = pidfd_open(pid, 0);
	if (fd < 0)
		return errno == EINVAL ? -ESRCH : -errno; /* EINVAL: a thread's id */
	r = read_stat(pid, &line);
	if (r < 0)
		return r;
	/* A zombie has ended, though nobody may ever reap it. */
	if (line.start_time != start_time || line.state == 'Z' || line.state == 'X')
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

/* Linux 6.15: a pidfd tells how its process ended once that is reaped. Not in Debian 12's uapi. */
struct pidfd_info_v0 {
	uint64_t mask, cgroupid;
	uint32_t pid, tgid, ppid, ids[8];
	int32_t exit_code;
};
#define PIDFD_GET_INFO_V0 _IOWR(0xFF, 11, struct pidfd_info_v0)
#define PIDFD_INFO_EXIT   (1ULL << 3)

static int status_by_pidfd(int pidfd)
{
	struct pidfd_info_v0 info = {.mask = PIDFD_INFO_EXIT};

	if (ioctl(pidfd, PIDFD_GET_INFO_V0, &info) < 0 || !(info.mask & PIDFD_INFO_EXIT))
		return -1;
	return info.exit_code;
}

/* The process of a pidfd is a zombie as long as its parent has not reaped it. */
static int status_of_zombie(int pidfd)
{
	_cleanup_(freep) char *text = NULL;
	struct stat_line line;
	char path[64], *p;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (weft_read_file(path, 4096, &text, NULL) < 0)
		return -1;
	p = strstr(text, "\nPid:");
	pid = p ? atoi(p + 5) : -1;
	if (pid <= 0 || read_stat(pid, &line) < 0 || line.state != 'Z')
		return -1;
	return line.exit_code;
}

/* The status as waitpid() gives it; -1 when it is not our child and nobody knows. */
static int reap(int pidfd)
{
	siginfo_t si = {};
	int r;

	do
		r = waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG);
	while (r < 0 && errno == EINTR);
	if (r < 0 && errno == ECHILD) {
		r = status_of_zombie(pidfd);
		return r >= 0 ? r : status_by_pidfd(pidfd);
	}
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
