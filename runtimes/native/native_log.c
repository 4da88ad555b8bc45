/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/native/native_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "runtimes/cgroup.h"
#include "runtimes/process.h"

/* It drops what it cannot write: that it cannot at all is better told now. */
static int check(const struct weft_native_log *log, struct weft_err *err)
{
	_cleanup_(closep) int fd = open(
		log->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);

	return fd < 0 ? weft_err_set(err, errno, "instance %s: log %s: %m", log->id, log->path) : 0;
}

int weft_native_log_start(const struct weft_native_log *log, pid_t *ret_pid, int *ret_pidfd,
	int *ret_end, struct weft_err *err)
{
	_cleanup_(closep) int from = -1, end = -1, ready = -1;
	const struct weft_cgroup_limits no_limits = {0};
	char max[24];
	const char *const argv[] = {log->program, "path", log->path, "max", max, NULL};
	struct weft_process_spec spec = {.argv = argv,
		.cgroup = log->cgroup,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1};
	int pipes[2], r = check(log, err);

	if (r < 0)
		return r;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return weft_err_set(err, errno, "instance %s: pipe: %m", log->id);
	from = pipes[0];
	end = pipes[1];
	ready = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (ready < 0)
		return weft_err_set(err, errno, "instance %s: /dev/null: %m", log->id);
	snprintf(max, sizeof(max), "%" PRIu64, log->max_bytes);
	/* One pipe for both, so that what is said on them stays in order. Nobody waits for it to be
	 * ready: a pipe keeps what is said until then. */
	const int fds[] = {from, from, ready};

	spec.fds = fds;
	spec.n_fds = 3;
	r = weft_cgroup_create(log->cgroup, &no_limits, err);
	if (r == 0)
		r = weft_process_spawn(&spec, ret_pid, ret_pidfd, err);
	if (r < 0) {
		weft_err_prefix(err, "instance %s: log", log->id);
		return r;
	}
	*ret_end = TAKE_FD(end);
	return 0;
}
