/* SPDX-License-Identifier: Apache-2.0 */
/* exec: one more process in an instance, in its namespaces and limits and as its user. Its output
 * comes through a named pipe that the shim opens; stdout and stderr share it, so what arrives is in
 * the order in which the shim read it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"
#include "runtimes/job.h"

#define MAX_OUTPUT   65536
#define KILL_MS      10000
#define PREFIX       "weft-exec-"
#define PROCESS_TYPE "types.containerd.io/opencontainers/runtime-spec/1/Process"

struct exec {
	struct ctrd_op op;
	weft_runtime_executed_t executed;
	char **argv;
	unsigned timeout_ms;
	char name[48]; /* of the process, in containerd */
	int fd;        /* of the pipe, -1: closed */
	sd_event_source *readable, *deadline;
	struct weft_grpc_call *wait;
	bool there;   /* containerd knows the process, or may */
	bool started; /* its Start has answered */
	bool ended;   /* its Wait has answered */
	bool killed;  /* by us */
	struct weft_job *job;
	uint32_t status;
	char output[MAX_OUTPUT];
	size_t size;
};

static struct exec *exec_of(struct ctrd_op *op)
{
	return (struct exec *)op;
}

static char *pipe_path(const struct exec *x)
{
	return weft_strf("%s/exec/%s@%s", x->op.rt->dir, x->name, x->op.id);
}

/* Where weft-runsc notes the pid of a process in a sandbox. */
static char *inner_pid_path(const struct exec *x)
{
	const struct weft_runtime *rt = x->op.rt;

	return weft_strf("%s/%s.exec/%s.pid", rt->runc_dir, rt->namespace_, x->name);
}

static void close_pipe(struct exec *x)
{
	x->readable = sd_event_source_disable_unref(x->readable);
	closep(&x->fd);
	x->fd = -1;
}

/* Nothing of it is left: a later daemon need not look for it. By its pipe it would, so that goes
 * last. */
static void remove_files(struct exec *x)
{
	_cleanup_(freep) char *pipe = pipe_path(x), *pid = inner_pid_path(x);

	if (pid)
		(void)unlink(pid);
	if (pipe)
		(void)unlink(pipe);
	x->there = false;
}

static void release(struct ctrd_op *op)
{
	struct exec *x = exec_of(op);

	close_pipe(x);
	if (!x->there)
		remove_files(x);
	weft_job_free(x->job);
	sd_event_source_disable_unref(x->deadline);
	weft_grpc_cancel(x->wait);
	strv_free(x->argv);
}

/* --- output --------------------------------------------------------------------------------------
 */

/* What is too much is read all the same, or the process would stand still. */
static ssize_t read_some(struct exec *x)
{
	size_t room = sizeof(x->output) - x->size;
	char rest[4096] = "";
	ssize_t n;

	if (room == 0)
		return read(x->fd, rest, sizeof(rest));
	n = read(x->fd, x->output + x->size, room);
	if (n > 0)
		x->size += (size_t)n;
	return n;
}

static void drain(struct exec *x)
{
	ssize_t n = 1;

	while (x->fd >= 0 && (n > 0 || (n < 0 && errno == EINTR)))
		n = read_some(x);
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source;
	(void)fd;
	(void)revents;
	drain(userdata);
	return 0;
}

/* Opened for writing as well, or the loop would spin on a pipe that has no writer yet. */
static int open_pipe(struct exec *x, const char *path)
{
	struct weft_runtime *rt = x->op.rt;

	if (mkfifo(path, 0600) < 0)
		return -errno;
	x->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (x->fd < 0)
		return -errno;
	return sd_event_add_io(rt->event, &x->readable, x->fd, EPOLLIN, on_readable, x);
}

/* --- end -----------------------------------------------------------------------------------------
 */

static void answer(struct exec *x, int r)
{
	weft_runtime_executed_t executed = x->executed;
	void *userdata = x->op.userdata;
	struct weft_err err = x->op.err;
	_cleanup_(freep) char *output = NULL;
	size_t size;
	int status = (int)x->status;

	drain(x);
	size = x->size;
	output = malloc(size + 1);
	if (output) {
		memcpy(output, x->output, size);
		output[size] = '\0';
	} else if (r == 0) {
		r = weft_err_set(&err, ENOMEM, "instance %s: exec: out of memory", x->op.id);
	}
	if (r < 0 && !err.code)
		weft_err_set(&err, r, "instance %s: exec: %s", x->op.id, strerror(-r));
	ctrd_op_free(&x->op);
	if (executed)
		executed(userdata, r, &err, status, output ? output : "", output ? size : 0);
}

static int result(const struct exec *x)
{
	return x->op.err.code ? -x->op.err.code : 0;
}

static void forget(struct ctrd_op *op);

static void forgotten(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct exec *x = exec_of(op);

	if (res->status == WEFT_GRPC_UNAVAILABLE && !op->err.code)
		ctrd_op_fail(op, res, "instance %s: exec", op->id);
	if (res->status != WEFT_GRPC_UNAVAILABLE)
		remove_files(x);
	answer(x, result(x));
}

/* It has ended; the shim closes its pipes and containerd forgets it. */
static void delete_process(struct exec *x)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	q.container_id = x->op.id;
	q.exec_id = x->name;
	ctrd_op_call(&x->op, CTRD_TASK_DELETE_PROCESS, &q.base, CTRD_TASK_MS, forgotten);
}

static void on_wait_end(void *userdata, const struct weft_grpc_result *res)
{
	const Ctrd__WaitTaskResponse *m = (const Ctrd__WaitTaskResponse *)res->reply;
	struct exec *x = userdata;
	struct ctrd_op *op = &x->op;

	x->wait = NULL;
	x->ended = true;
	if (m)
		x->status = m->exit_status;
	else if (!op->err.code && res->status == WEFT_GRPC_NOT_FOUND)
		weft_err_set(&op->err, ENOENT, "instance %s: exec: it has ended", op->id);
	else if (!op->err.code)
		ctrd_op_fail(op, res, "instance %s: exec", op->id);
	if (!x->started)
		return; /* Start has not answered; it goes on from there */
	if (res->status == WEFT_GRPC_UNAVAILABLE)
		forget(op);
	else
		delete_process(x);
}

/* --- killing -------------------------------------------------------------------------------------
 */

static void inner_killed(void *userdata, const struct weft_job_result *result)
{
	(void)userdata;
	(void)result; /* Wait answers */
}

/* Of a process in a sandbox containerd knows but the one that waits for it; killing that one would
 * leave it running. -ENOENT: it is none. */
static int kill_inner(struct exec *x)
{
	const struct weft_runtime *rt = x->op.rt;
	_cleanup_(freep) char *root = weft_strf("%s/%s", rt->runc_dir, rt->namespace_);
	_cleanup_(freep) char *path = inner_pid_path(x), *pid = NULL;
	const char *argv[] = {
		rt->runsc, "--root", root, "kill", "-pid", NULL, x->op.id, "KILL", NULL};
	struct weft_process_spec spec = {
		.argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
	struct weft_err err = {};

	if (!rt->runsc || !root || !path || weft_read_file(path, 32, &pid, NULL) < 0)
		return -ENOENT;
	argv[5] = pid;
	weft_job_free(TAKE_PTR(x->job));
	return weft_job_run(rt->event, &spec, 4096, KILL_MS, inner_killed, x, &x->job, &err);
}

/* --- what we cannot wait for ---------------------------------------------------------------------
 */

static void leftover_ended(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	(void)res; /* Delete knows whether it is still there */
	delete_process(exec_of(op));
}

static void leftover_killed(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;

	(void)res; /* so does Wait whether it has ended */
	q.container_id = op->id;
	q.exec_id = exec_of(op)->name;
	ctrd_op_call(op, CTRD_TASK_WAIT, &q.base, CTRD_QUICK_MS, leftover_ended);
}

static void end_leftover(struct ctrd_op *op)
{
	Ctrd__KillTaskRequest q = CTRD__KILL_TASK_REQUEST__INIT;

	(void)kill_inner(exec_of(op));
	q.container_id = op->id;
	q.exec_id = exec_of(op)->name;
	q.signal = SIGKILL;
	ctrd_op_call(op, CTRD_TASK_KILL, &q.base, CTRD_QUICK_MS, leftover_killed);
}

/* containerd went away: whoever waits is told, and the process is ended when it is back. */
static void forget(struct ctrd_op *op)
{
	struct exec *x = exec_of(op);
	weft_runtime_executed_t executed = x->executed;
	void *userdata = op->userdata;
	struct weft_err err = op->err;

	if (!x->there) {
		answer(x, result(x));
		return;
	}
	x->executed = NULL;
	close_pipe(x);
	ctrd_op_park(op, end_leftover);
	if (executed)
		executed(userdata, -err.code, &err, 0, "", 0);
}

static void on_killed(void *userdata, const struct weft_grpc_result *res)
{
	(void)userdata;
	(void)res; /* Wait answers */
}

static void end_process(struct exec *x)
{
	struct weft_grpc_spec spec = {.timeout_ms = CTRD_QUICK_MS, .on_end = on_killed};
	Ctrd__KillTaskRequest q = CTRD__KILL_TASK_REQUEST__INIT;
	struct weft_grpc_call *call;

	if (kill_inner(x) == 0 || ctrd_begin(x->op.rt, CTRD_TASK_KILL, &spec, &call) < 0)
		return;
	q.container_id = x->op.id;
	q.exec_id = x->name;
	q.signal = SIGKILL;
	weft_grpc_send(call, &q.base, true);
}

/* --- begin ---------------------------------------------------------------------------------------
 */

static void started(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct exec *x = exec_of(op);

	x->started = true;
	if (res->status == WEFT_GRPC_UNAVAILABLE) {
		ctrd_op_fail(op, res, "instance %s: exec", op->id);
		weft_grpc_cancel(TAKE_PTR(x->wait));
		forget(op);
	} else if (res->status != WEFT_GRPC_OK) {
		if (!op->err.code)
			ctrd_op_fail(op, res, "instance %s: exec %s", op->id, x->argv[0]);
		weft_grpc_cancel(TAKE_PTR(x->wait));
		delete_process(x);
	} else if (x->ended) {
		delete_process(x);
	} else if (x->killed) {
		end_process(x);
	}
}

static int wait_for_it(struct exec *x)
{
	struct weft_grpc_spec spec = {.on_end = on_wait_end, .userdata = x};
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	int r = ctrd_begin(x->op.rt, CTRD_TASK_WAIT, &spec, &x->wait);

	if (r < 0) {
		x->wait = NULL;
		return r;
	}
	q.container_id = x->op.id;
	q.exec_id = x->name;
	weft_grpc_send(x->wait, &q.base, true);
	return 0;
}

static void added(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct exec *x = exec_of(op);

	if (res->status == WEFT_GRPC_UNAVAILABLE) {
		ctrd_op_fail(op, res, "instance %s: exec", op->id);
		forget(op);
		return;
	}
	if (res->status != WEFT_GRPC_OK) {
		x->there = false;
		ctrd_op_fail(op, res, "instance %s: exec %s", op->id, x->argv[0]);
		answer(x, result(x));
		return;
	}
	if (wait_for_it(x) < 0) {
		weft_err_set(&op->err, ENOMEM, "instance %s: exec: out of memory", op->id);
		delete_process(x);
		return;
	}
	q.container_id = op->id;
	q.exec_id = x->name;
	ctrd_op_call(op, CTRD_TASK_START, &q.base, CTRD_TASK_MS, started);
}

static void add_process(struct exec *x, char *pipe, char *process)
{
	static char type[] = PROCESS_TYPE;
	Ctrd__ExecProcessRequest q = CTRD__EXEC_PROCESS_REQUEST__INIT;
	Ctrd__Any spec = CTRD__ANY__INIT;

	spec.type_url = type;
	spec.value.data = (uint8_t *)process;
	spec.value.len = strlen(process);
	q.container_id = x->op.id;
	q.exec_id = x->name;
	q.out = pipe;
	q.err = pipe;
	q.spec = &spec;
	x->there = true;
	ctrd_op_call(&x->op, CTRD_TASK_EXEC, &q.base, CTRD_TASK_MS, added);
}

static void got_container(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ContainerResponse *m = (const Ctrd__ContainerResponse *)res->reply;
	const Ctrd__Any *spec = m && m->container ? m->container->spec : NULL;
	_cleanup_(freep) char *process = NULL, *pipe = NULL;
	struct exec *x = exec_of(op);
	int r;

	if (!m) {
		r = ctrd_op_fail(op, res, "instance %s: exec", op->id);
		answer(x, r);
		return;
	}
	process = spec ? ctrd_spec_exec(
				 spec->value.data, spec->value.len, (const char *const *)x->argv)
		       : NULL;
	if (!process) {
		answer(x, weft_err_set(&op->err, EINVAL,
				  "instance %s: exec: its arguments are not UTF-8", op->id));
		return;
	}
	pipe = pipe_path(x);
	r = pipe ? open_pipe(x, pipe) : -ENOMEM;
	if (r < 0)
		answer(x, weft_err_set(&op->err, r, "instance %s: exec: pipe %s: %s", op->id,
				  pipe ? pipe : "", strerror(-r)));
	else
		add_process(x, pipe, process);
}

/* It goes on as always: the end is awaited, and the process has to be forgotten. */
static void kill_it(struct exec *x)
{
	if (x->ended)
		return;
	x->killed = true;
	if (x->started)
		end_process(x);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct exec *x = userdata;

	(void)source;
	(void)usec;
	if (!x->ended && !x->op.err.code)
		weft_err_set(&x->op.err, ETIMEDOUT,
			"instance %s: exec %s: killed, as it took more than %u ms", x->op.id,
			x->argv[0], x->timeout_ms);
	kill_it(x);
	return 0;
}

void ctrd_exec_end(struct weft_runtime *rt, void *userdata)
{
	struct ctrd_op *op;

	TAILQ_FOREACH(op, &rt->ops, link)
	if (op->release == release && op->userdata == userdata && exec_of(op)->executed)
		break;
	if (!op)
		return;
	if (!exec_of(op)->ended && !op->err.code)
		weft_err_set(&op->err, ECANCELED,
			"instance %s: exec %s: killed, nobody waits for it", op->id,
			exec_of(op)->argv[0]);
	kill_it(exec_of(op));
}

static int set_up(struct exec *x, const char *const *argv)
{
	size_t n = 0;

	while (argv[n])
		n++;
	x->argv = calloc(n + 1, sizeof(*x->argv));
	for (size_t i = 0; x->argv && i < n; i++) {
		x->argv[i] = strdup(argv[i]);
		if (!x->argv[i])
			return -ENOMEM;
	}
	if (!x->argv)
		return -ENOMEM;
	return sd_event_add_time_relative(x->op.rt->event, &x->deadline, CLOCK_MONOTONIC,
		x->timeout_ms * 1000ULL, 1000, on_deadline, x);
}

int ctrd_exec(struct weft_runtime *rt, const char *id, const char *const *argv, unsigned timeout_ms,
	weft_runtime_executed_t done, void *userdata, struct weft_err *err)
{
	Ctrd__ContainerIdRequest q = CTRD__CONTAINER_ID_REQUEST__INIT;
	struct ctrd_op *op;
	struct exec *x;

	if (!weft_name_valid(id, CTRD_MAX_ID) || !argv[0])
		return weft_err_set(err, EINVAL, "instance %s: exec: %s", id,
			argv[0] ? "not a valid name" : "no command");
	op = ctrd_op_new(rt, sizeof(*x), id);
	if (!op)
		return weft_err_set(err, ENOMEM, "instance %s: exec: out of memory", id);
	x = exec_of(op);
	x->fd = -1;
	x->executed = done;
	x->timeout_ms = timeout_ms;
	op->userdata = userdata;
	op->release = release;
	snprintf(x->name, sizeof(x->name), PREFIX "%" PRIx64 "-%u", rt->token, rt->n_execs++);
	if (set_up(x, argv) < 0) {
		ctrd_op_free(op);
		return weft_err_set(err, ENOMEM, "instance %s: exec: out of memory", id);
	}
	q.id = op->id;
	ctrd_op_call(op, CTRD_CONTAINER_GET, &q.base, CTRD_QUICK_MS, got_container);
	return 0;
}

/* --- after an earlier daemon ---------------------------------------------------------------------
 */

/* Its pipes tell of the processes that it left: NAME@INSTANCE. They go with the processes. */
static void end_later(struct weft_runtime *rt, const char *file)
{
	const char *at = strchr(file, '@');
	struct ctrd_op *op = at ? ctrd_op_new(rt, sizeof(struct exec), at + 1) : NULL;

	if (!op)
		return;
	exec_of(op)->fd = -1;
	exec_of(op)->there = true;
	op->release = release;
	snprintf(exec_of(op)->name, sizeof(exec_of(op)->name), "%.*s", (int)(at - file), file);
	ctrd_op_park(op, end_leftover);
}

int ctrd_exec_init(struct weft_runtime *rt)
{
	_cleanup_(freep) char *path = weft_strf("%s/exec", rt->dir);
	_cleanup_(closedirp) DIR *dir = path ? opendir(path) : NULL;
	const struct dirent *e;

	rt->token = weft_realtime_ms() << 20 | (weft_now_ns() & 0xfffff);
	while (dir && (e = readdir(dir)))
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
			end_later(rt, e->d_name);
	return path ? weft_mkdir_p(path, 0700) : -ENOMEM;
}
