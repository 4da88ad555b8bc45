/* SPDX-License-Identifier: Apache-2.0 */
/* A guest boots without network and with little of the CPU, says on its console that it waits for
 * an address, is stopped, and all but its memory, which is a file already, is written beside it. */
#include "runtimes/qemu/warm_job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/process.h"
#include "runtimes/qemu/checkpoint.h"
#include "runtimes/qemu/guest_config.h"
#include "runtimes/qemu/spawn.h"
#include "runtimes/qemu/tap.h"

#define BOOT_MS    180000
#define QMP_MS     30000
#define CPU_WEIGHT 20
#define MAX_TASKS  256
#define CONSOLE    4096 /* of its last words */

struct weft_warm_job {
	char *dir, *tmp, *image_ref, *shape, *cmdline, *ram, *state, *purpose;
	struct weft_qemu_args args;
	struct weft_unikernel *image;
	char *cgroup, *qmp_path;
	int pidfd, console, file;
	uint64_t started_ns;
	sd_event *event;
	sd_event_source *readable, *deadline;
	struct weft_process_watch *watch;
	struct weft_qmp *qmp;
	struct weft_migration *migration;
	bool waits, saved, cancelled;
	char text[CONSOLE + 1];
	size_t text_size;
	struct weft_err err;
	weft_migration_done_t done;
	void *userdata;
};

const char *weft_warm_job_dir(const struct weft_warm_job *job)
{
	return job->dir;
}

uint64_t weft_warm_job_memory(const struct weft_warm_job *job)
{
	return (uint64_t)job->args.memory_mb << 20;
}

const char *weft_warm_job_image(const struct weft_warm_job *job)
{
	return job->image_ref;
}

int weft_warm_clean(const char *cgroup)
{
	return weft_cgroup_destroy(cgroup);
}

/* --- the end -------------------------------------------------------------------------------------
 */

static void kill_qemu(struct weft_warm_job *job)
{
	if (job->pidfd >= 0)
		pidfd_send_signal(job->pidfd, SIGKILL, NULL, 0);
}

bool weft_warm_job_cancel(struct weft_warm_job *job)
{
	if (job->pidfd < 0)
		return false;
	job->cancelled = true;
	kill_qemu(job);
	return true;
}

bool weft_warm_job_cancelled(const struct weft_warm_job *job)
{
	return job->cancelled;
}

/* What comes first is the reason; the end of qemu follows in any case. */
static void fail(struct weft_warm_job *job, int code, const char *why)
{
	if (!job->err.code && !job->saved)
		weft_err_set(&job->err, code, "%s", why);
	kill_qemu(job);
}

static const char *last_line(struct weft_warm_job *job)
{
	char *end = job->text + job->text_size, *start;

	while (end > job->text && (end[-1] == '\n' || end[-1] == '\r'))
		end--;
	*end = '\0';
	start = strrchr(job->text, '\n');
	return start ? start + 1 : job->text;
}

/* qemu is gone and writes no more: now it is what it will be. */
static void name_it(struct weft_warm_job *job)
{
	int r = weft_warm_seal(job->tmp, job->purpose);

	(void)unlink(job->qmp_path);
	if (r < 0)
		weft_err_set(
			&job->err, r, "%s: note down what is there: %s", job->tmp, strerror(-r));
	else if (rename(job->tmp, job->dir) < 0)
		weft_err_set(&job->err, errno, "rename %s to %s: %m", job->tmp, job->dir);
}

static void on_ended(void *userdata, int status)
{
	struct weft_warm_job *job = userdata;
	char how[64];

	if (!job->saved && !job->err.code)
		weft_err_set(&job->err, EIO, "qemu: %s: %.300s",
			weft_process_status_text(status, how, sizeof(how)), last_line(job));
	closep(&job->pidfd);
	job->pidfd = -1;
	(void)weft_cgroup_destroy(job->cgroup);
	if (job->cancelled)
		weft_err_set(&job->err, ECANCELED, "its image was removed");
	else if (job->saved)
		name_it(job);
	if (!job->err.code)
		log_info("image %s: made a checkpoint to start from, in %u ms", job->image_ref,
			(unsigned)((weft_now_ns() - job->started_ns) / 1000000));
	job->done(job->userdata, -job->err.code, &job->err);
}

/* --- saving --------------------------------------------------------------------------------------
 */

static void on_saved(void *userdata, int r, const struct weft_err *err)
{
	struct weft_warm_job *job = userdata;

	if (r < 0) {
		fail(job, r, err->msg);
		return;
	}
	job->saved = true;
	kill_qemu(job);
}

static void on_stands(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_warm_job *job = userdata;

	(void)result;
	if (r == 0)
		r = weft_migration_save(job->event, job->qmp, job->file, true, QMP_MS, on_saved,
			job, &job->migration);
	if (r < 0)
		fail(job, r, err->code ? err->msg : strerror(-r));
}

static void save(struct weft_warm_job *job)
{
	int r = weft_checkpoint_create(job->state, job->shape, &job->file, &job->err);

	if (r < 0) {
		kill_qemu(job);
		return;
	}
	r = weft_qmp_execute(job->qmp, "stop", NULL, QMP_MS, on_stands, job);
	if (r < 0)
		fail(job, r, "its monitor does not answer");
}

/* --- booting -------------------------------------------------------------------------------------
 */

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	fail(userdata, ETIMEDOUT,
		"the guest did not say in time that it waits for an address (\"" WEFT_GUEST_WAITS
		"\")");
	return 0;
}

static int on_console(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct weft_warm_job *job = userdata;
	ssize_t n;

	(void)revents;
	if (job->text_size > CONSOLE / 2) {
		memmove(job->text, job->text + CONSOLE / 4, job->text_size - CONSOLE / 4);
		job->text_size -= CONSOLE / 4;
	}
	n = read(fd, job->text + job->text_size, CONSOLE - job->text_size);
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			sd_event_source_set_enabled(source, SD_EVENT_OFF);
		return 0;
	}
	for (ssize_t i = 0; i < n; i++) /* a guest may write what it likes */
		if (!job->text[job->text_size + (size_t)i])
			job->text[job->text_size + (size_t)i] = ' ';
	job->text_size += (size_t)n;
	job->text[job->text_size] = '\0';
	if (job->waits || !job->qmp || job->err.code || !strstr(job->text, WEFT_GUEST_WAITS))
		return 0;
	job->waits = true;
	sd_event_source_set_enabled(job->deadline, SD_EVENT_OFF);
	save(job);
	return 0;
}

static void on_runs(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	(void)result;
	if (r < 0)
		fail(userdata, r, err->msg);
}

static void on_ready(void *userdata)
{
	struct weft_warm_job *job = userdata;

	if (weft_qmp_execute(job->qmp, "cont", NULL, QMP_MS, on_runs, job) < 0)
		fail(job, EIO, "its monitor does not answer");
}

/* Its last words have come before, and may not have been read yet. */
static void shut_down(struct weft_warm_job *job)
{
	char why[256];

	on_console(job->readable, job->console, EPOLLIN, job);
	snprintf(why, sizeof(why), "the guest shut down: %.200s", last_line(job));
	fail(job, EIO, why);
}

static void on_event(void *userdata, const char *name, const json_t *data)
{
	(void)data;
	if (strcmp(name, "GUEST_PANICKED") == 0)
		fail(userdata, EIO, "the guest panicked");
	else if (strcmp(name, "SHUTDOWN") == 0)
		shut_down(userdata);
}

static void on_closed(void *userdata, int r, const struct weft_err *err)
{
	/* When qemu ends, its end says more. */
	if (r != -ECONNRESET)
		fail(userdata, r, err->msg);
}

/* --- start ---------------------------------------------------------------------------------------
 */

static int make_places(struct weft_warm_job *job, struct weft_err *err)
{
	_cleanup_(freep) char *parent = strdup(job->dir);
	char *slash = parent ? strrchr(parent, '/') : NULL;
	int r;

	if (!slash)
		return weft_err_set(err, ENOMEM, "out of memory");
	*slash = '\0';
	job->tmp = weft_strf("%s.part", job->dir);
	job->ram = weft_strf("%s.part/ram", job->dir);
	job->state = weft_strf("%s.part/state", job->dir);
	if (!job->tmp || !job->ram || !job->state)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = weft_remove_tree(job->tmp);
	if (r == 0)
		r = weft_mkdir_p(job->tmp, 0700);
	return r < 0 ? weft_err_set(err, r, "%s: %s", job->tmp, strerror(-r)) : 0;
}

static int make_cgroup(struct weft_warm_job *job, struct weft_err *err)
{
	const struct weft_cgroup_limits limits = {
		.memory_bytes = (uint64_t)(job->args.memory_mb + WEFT_QEMU_OVERHEAD_MB) << 20,
		.cpu_weight = CPU_WEIGHT,
		.pids = MAX_TASKS + job->args.vcpus,
	};

	return weft_cgroup_create(job->cgroup, &limits, err);
}

static int spawn(struct weft_warm_job *job, struct weft_err *err)
{
	_cleanup_(closep) int monitor = -1, config = -1, out = -1;
	int taps[WEFT_MAX_QUEUES], pipefd[2], r;
	struct weft_qemu_spawn s = {
		.args = &job->args,
		.image_dir = job->image->dir,
		.cgroup = job->cgroup,
		.taps = taps,
	};
	pid_t pid;

	r = weft_qemu_listen(job->tmp, &monitor, &job->qmp_path, err);
	if (r < 0)
		return r;
	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return weft_err_set(err, errno, "pipe: %m");
	job->console = pipefd[0];
	out = pipefd[1];
	if (fcntl(job->console, F_SETFL, O_NONBLOCK) < 0)
		return weft_err_set(err, errno, "pipe: %m");
	r = weft_guest_config_file(NULL, NULL, &config);
	if (r < 0)
		return weft_err_set(err, r, "the guest's configuration: %s", strerror(-r));
	r = weft_tap_nowhere(job->args.queues, taps, err);
	if (r < 0)
		return r;
	s.monitor = monitor;
	s.output = out;
	s.config = config;
	r = weft_qemu_spawn(&s, &pid, &job->pidfd, err);
	for (unsigned i = 0; i < job->args.queues; i++)
		close(taps[i]);
	return r;
}

static int watch(struct weft_warm_job *job, struct weft_err *err)
{
	static const struct weft_qmp_callbacks callbacks = {on_ready, on_event, on_closed};
	int r;

	r = sd_event_add_io(job->event, &job->readable, job->console, EPOLLIN, on_console, job);
	if (r >= 0)
		r = sd_event_add_time_relative(job->event, &job->deadline, CLOCK_MONOTONIC,
			BOOT_MS * 1000ULL, 100000, on_deadline, job);
	if (r >= 0)
		r = weft_process_watch(job->event, job->pidfd, on_ended, job, &job->watch);
	if (r < 0)
		return weft_err_set(err, r, "watch qemu: %s", strerror(-r));
	return weft_qmp_connect(job->event, job->qmp_path, QMP_MS, &callbacks, job, &job->qmp, err);
}

int weft_warm_job_start(struct weft_warm_job *job, sd_event *event,
	struct weft_unikernel_store *images, const char *cgroup, weft_migration_done_t done,
	void *userdata, struct weft_err *err)
{
	int r;

	job->event = sd_event_ref(event);
	job->done = done;
	job->userdata = userdata;
	job->started_ns = weft_now_ns();
	job->cgroup = strdup(cgroup);
	if (!job->cgroup)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = weft_unikernel_load(images, job->image_ref, &job->image, err);
	if (r == 0)
		r = make_places(job, err);
	if (r == 0)
		r = make_cgroup(job, err);
	if (r < 0)
		return r;
	job->args.image = &job->image->what;
	job->args.ram = job->ram;
	r = spawn(job, err);
	return r < 0 ? r : watch(job, err);
}

int weft_warm_job_new(
	const struct weft_warm_want *want, const char *dir, struct weft_warm_job **ret)
{
	_cleanup_(freep) struct weft_warm_job *job = calloc(1, sizeof(*job));

	if (!job)
		return -ENOMEM;
	job->pidfd = job->console = job->file = -1;
	job->dir = strdup(dir);
	job->image_ref = strdup(want->image);
	job->shape = strdup(want->shape);
	job->cmdline = strdup(want->cmdline);
	job->purpose = weft_warm_purpose(want);
	job->args = (struct weft_qemu_args){
		.id = "checkpoint",
		.machine = want->args->machine,
		.cmdline = job->cmdline,
		.log_path = "/dev/fd/1", /* the console goes where its messages go: to us */
		.memory_mb = want->args->memory_mb,
		.vcpus = want->args->vcpus,
		.kvm = want->args->kvm,
		.queues = want->args->queues,
		.mac = {2, 0, 0, 0, 0, 1},
		.mtu = want->args->mtu,
		.config = true,
		.ram_shared = true,
		.drop = want->args->drop,
	};
	if (!job->dir || !job->image_ref || !job->shape || !job->cmdline || !job->purpose) {
		weft_warm_job_free(TAKE_PTR(job));
		return -ENOMEM;
	}
	*ret = TAKE_PTR(job);
	return 0;
}

void weft_warm_job_free(struct weft_warm_job *job)
{
	siginfo_t si;

	if (!job)
		return;
	weft_qmp_free(job->qmp);
	weft_migration_free(job->migration);
	weft_process_unwatch(job->watch);
	sd_event_source_disable_unref(job->readable);
	sd_event_source_disable_unref(job->deadline);
	if (job->pidfd >= 0) {
		kill_qemu(job);
		while (waitid(P_PIDFD, (id_t)job->pidfd, &si, WEXITED) < 0 && errno == EINTR)
			;
	}
	closep(&job->pidfd);
	closep(&job->console);
	closep(&job->file);
	if (job->cgroup)
		(void)weft_cgroup_destroy(job->cgroup);
	if (job->tmp)
		weft_remove_tree(job->tmp);
	weft_unikernel_free(job->image);
	sd_event_unref(job->event);
	free(job->dir);
	free(job->tmp);
	free(job->image_ref);
	free(job->shape);
	free(job->cmdline);
	free(job->purpose);
	free(job->ram);
	free(job->state);
	free(job->cgroup);
	free(job->qmp_path);
	free(job);
}
