/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

struct weft_job {
	int pidfd; /* -1 once reaped */
	int out;   /* read end of its stdout */
	struct weft_process_watch *watch;
	sd_event_source *readable, *timer;
	struct weft_job_result result;
	char *buf;
	size_t max;
	weft_job_done_t done;
	void *userdata;
};

/* Read what is there now. A full buffer with more to come is an overflow: the job is killed, and
 * its end is reported as usual. */
static void drain(struct weft_job *job)
{
	for (;;) {
		ssize_t n = read(
			job->out, job->buf + job->result.size, job->max + 1 - job->result.size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
		job->result.size += (size_t)n;
		if (job->result.size > job->max) {
			job->result.size = job->max;
			job->result.overflow = true;
			pidfd_send_signal(job->pidfd, SIGKILL, NULL, 0);
			break;
		}
	}
	sd_event_source_set_enabled(job->readable, SD_EVENT_OFF);
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source;
	(void)fd;
	(void)revents;
	drain(userdata);
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_job *job = userdata;

	(void)source;
	(void)usec;
	job->result.timed_out = true;
	pidfd_send_signal(job->pidfd, SIGKILL, NULL, 0);
	return 0;
}

static void on_exit_of_job(void *userdata, int status)
{
	struct weft_job *job = userdata;

	drain(job); /* the end of the process may be seen before its last words */
	closep(&job->pidfd);
	job->pidfd = -1;
	job->timer = sd_event_source_disable_unref(job->timer);
	job->buf[job->result.size] = '\0';
	job->result.output = job->buf;
	job->result.status = status;
	job->done(job->userdata, &job->result);
}

static int watch(struct weft_job *job, sd_event *event, unsigned timeout_ms)
{
	int r;

	r = sd_event_add_io(event, &job->readable, job->out, EPOLLIN, on_readable, job);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(
		event, &job->timer, CLOCK_MONOTONIC, timeout_ms * 1000ULL, 1000, on_timeout, job);
	if (r < 0)
		return r;
	return weft_process_watch(event, job->pidfd, on_exit_of_job, job, &job->watch);
}

int weft_job_run(sd_event *event, const struct weft_process_spec *spec, size_t max_output,
	unsigned timeout_ms, weft_job_done_t done, void *userdata, struct weft_job **ret,
	struct weft_err *err)
{
	_cleanup_(weft_job_freep) struct weft_job *job = calloc(1, sizeof(*job));
	_cleanup_(closep) int in = -1;
	struct weft_process_spec s = *spec;
	int pipefd[2], r;
	pid_t pid;

	if (!job)
		return weft_err_set(err, ENOMEM, "run %s: %m", spec->argv[0]);
	job->pidfd = job->out = -1;
	job->max = max_output;
	job->done = done;
	job->userdata = userdata;
	job->buf = malloc(max_output + 1);
	if (!job->buf)
		return weft_err_set(err, ENOMEM, "run %s: %m", spec->argv[0]);
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return weft_err_set(err, errno, "run %s: pipe: %m", spec->argv[0]);
	job->out = pipefd[0];
	in = pipefd[1];
	if (fcntl(job->out, F_SETFL, O_NONBLOCK) < 0)
		return weft_err_set(err, errno, "run %s: pipe: %m", spec->argv[0]);

	s.stdout_fd = in;
	if (s.stderr_fd == WEFT_JOB_STDERR_TOO)
		s.stderr_fd = in;
	s.die_with_parent = true;
	r = weft_process_spawn(&s, &pid, &job->pidfd, err);
	if (r < 0)
		return r;
	r = watch(job, event, timeout_ms);
	if (r < 0)
		return weft_err_set(err, r, "run %s: watch it: %s", spec->argv[0], strerror(-r));
	*ret = TAKE_PTR(job);
	return 0;
}

void weft_job_kill(struct weft_job *job)
{
	if (job->pidfd >= 0)
		pidfd_send_signal(job->pidfd, SIGKILL, NULL, 0);
}

void weft_job_free(struct weft_job *job)
{
	siginfo_t si;

	if (!job)
		return;
	weft_process_unwatch(job->watch);
	sd_event_source_disable_unref(job->readable);
	sd_event_source_disable_unref(job->timer);
	if (job->pidfd >= 0) {
		pidfd_send_signal(job->pidfd, SIGKILL, NULL, 0);
		while (waitid(P_PIDFD, (id_t)job->pidfd, &si, WEXITED) < 0 && errno == EINTR)
			;
	}
	closep(&job->pidfd);
	closep(&job->out);
	free(job->buf);
	free(job);
}
