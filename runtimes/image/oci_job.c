/* SPDX-License-Identifier: Apache-2.0 */
/* The child is a fork that neither execs nor returns: a single-threaded process may do that. What
 * it runs needs nothing but a path to read and a directory to write to. It is nobody when it looks
 * at the image, starts no processes, and of what root may do it keeps the reading of files alone:
 * images are often root's own. */
#include "runtimes/image/oci_job.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/util.h"
#include "runtimes/image/unikernel_store.h"

#define MAX_ANSWER  (32U << 20)
#define TIMEOUT_US  (600ULL * 1000000)
#define CPU_SECONDS 300

struct weft_oci_job {
	char *path;
	enum weft_arch arch;
	bool inspect;
	pid_t pid; /* 0: reaped */
	int out;
	sd_event_source *readable, *timer;
	char *answer;
	size_t size, room;
	weft_oci_job_done_t done;
	void *userdata;
};

/* --- answer --------------------------------------------------------------------------------------
 */

char *weft_oci_answer_format(const struct weft_oci_image *image, const struct weft_err *err)
{
	json_auto_t *o = NULL;

	if (err && err->code)
		o = json_pack("{s:{s:i, s:s, s:s}}", "error", "code", err->code, "msg", err->msg,
			"hint", err->hint);
	else if (image)
		o = json_pack("{s:{s:s, s:s, s:s}}", "image", "type", image->manifest.media_type,
			"manifest", image->manifest_text, "config", image->config_text);
	else
		o = json_pack("{}");
	return o ? json_dumps(o, JSON_COMPACT) : NULL;
}

static int parse_error(const json_t *e, struct weft_err *err)
{
	const char *msg, *hint;
	int code;

	if (json_unpack((json_t *)(uintptr_t)e, "{s:i, s:s, s:s}", "code", &code, "msg", &msg,
		    "hint", &hint) < 0 ||
		code <= 0 || code > 4095 || !*msg)
		return -EPROTO;
	weft_err_set(err, code, "%s", msg);
	if (*hint)
		weft_err_hint(err, "%s", hint);
	return -code;
}

int weft_oci_answer_parse(const char *text, size_t size, const char *path, enum weft_arch arch,
	struct weft_oci_image **ret, struct weft_err *err)
{
	_cleanup_(freep) char *what = weft_strf("image %s", path);
	const char *type, *manifest, *config;
	size_t manifest_size, config_size;
	json_auto_t *o = NULL;
	json_t *image;
	int r;

	o = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	if (!what || !json_is_object(o))
		return weft_err_set(err, EPROTO, "image %s: its reader gave no answer", path);
	if (json_object_get(o, "error")) {
		r = parse_error(json_object_get(o, "error"), err);
		if (r == -EPROTO)
			weft_err_set(err, EPROTO, "image %s: its reader failed", path);
		return r;
	}
	image = json_object_get(o, "image");
	if (!ret && !image)
		return 0;
	if (!ret || json_unpack(image, "{s:s, s:s%, s:s%}", "type", &type, "manifest", &manifest,
			    &manifest_size, "config", &config, &config_size) < 0)
		return weft_err_set(err, EPROTO, "image %s: its reader gave no answer", path);
	return weft_oci_image_parse(
		what, type, manifest, manifest_size, config, config_size, arch, ret, err);
}

/* --- child ---------------------------------------------------------------------------------------
 */

static int child_drop(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = {};
	const struct rlimit none = {0, 0};
	const unsigned user = WEFT_WORKER_USER;

	caps[0].effective = caps[0].permitted = 1U << CAP_DAC_READ_SEARCH;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || syscall(SYS_setgroups, 0, NULL) < 0 ||
		syscall(SYS_setresgid, user, user, user) < 0 ||
		syscall(SYS_setresuid, user, user, user) < 0 ||
		syscall(SYS_capset, &head, caps) < 0 ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || setrlimit(RLIMIT_NPROC, &none) < 0)
		return -errno;
	return 0;
}

static int child_work(const struct weft_oci_job *job, const struct weft_oci_image *image,
	const char *dir, pid_t parent, struct weft_oci_image **ret, struct weft_err *err)
{
	_cleanup_(closep) int fd = -1;
	bool root = geteuid() == 0;
	int r;

	if (!job->inspect) {
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || (root && fchown(fd, WEFT_WORKER_USER, WEFT_WORKER_USER) < 0))
			return weft_err_set(
				err, errno, "image %s: directory %s: %m", job->path, dir);
	}
	r = root ? child_drop() : 0;
	if (r < 0)
		return weft_err_set(err, r, "image %s: its reader cannot give up privileges: %s",
			job->path, strerror(-r));
	/* Becoming somebody else takes this away. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(1);
	if (job->inspect)
		return weft_oci_inspect(job->path, job->arch, ret, err);
	return weft_oci_extract(job->path, image, fd, err);
}

static void __attribute__((noreturn)) child_main(const struct weft_oci_job *job,
	const struct weft_oci_image *image, const char *dir, int out, pid_t parent)
{
	const struct rlimit cpu = {CPU_SECONDS, CPU_SECONDS};
	_cleanup_(freep) char *answer = NULL;
	struct weft_oci_image *found = NULL;
	struct weft_err err = {};
	sigset_t none;

	/* Nothing of the daemon's: no descriptors, no signal masks; and no life of its own. */
	if (dup2(out, 3) != 3 || close_range(4, ~0U, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		_exit(1);
	for (int sig = 1; sig < SIGRTMIN; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_CPU, &cpu);
	child_work(job, image, dir, parent, &found, &err);
	answer = weft_oci_answer_format(found, &err);
	_exit(answer && weft_write_all(3, answer, strlen(answer)) == 0 ? 0 : 1);
}

/* --- parent --------------------------------------------------------------------------------------
 */

static void reap(struct weft_oci_job *job)
{
	if (job->pid <= 0)
		return;
	kill(job->pid, SIGKILL); /* it has closed its pipe, and has nothing more to do */
	while (waitpid(job->pid, NULL, 0) < 0 && errno == EINTR)
		;
	job->pid = 0;
}

static void finish(struct weft_oci_job *job)
{
	weft_oci_job_done_t done = job->done;
	struct weft_oci_image *image = NULL;
	void *userdata = job->userdata;
	struct weft_err err = {};
	int r;

	job->readable = sd_event_source_disable_unref(job->readable);
	job->timer = sd_event_source_disable_unref(job->timer);
	reap(job);
	r = weft_oci_answer_parse(job->answer ? job->answer : "", job->size, job->path, job->arch,
		job->inspect ? &image : NULL, &err);
	done(userdata, r, &err, image);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_oci_job *job = userdata;

	(void)source;
	(void)usec;
	job->size = 0;
	finish(job);
	return 0;
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct weft_oci_job *job = userdata;
	ssize_t n;

	(void)source;
	(void)revents;
	if (job->size == job->room) {
		size_t room = job->room ? job->room * 2 : 65536;
		char *p = room > MAX_ANSWER ? NULL : realloc(job->answer, room);

		if (!p) {
			job->size = 0;
			finish(job);
			return 0;
		}
		job->answer = p;
		job->room = room;
	}
	n = read(fd, job->answer + job->size, job->room - job->size);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0)
		job->size += (size_t)n;
	else
		finish(job);
	return 0;
}

static int start(struct weft_oci_job *job, const struct weft_oci_image *image, const char *dir)
{
	pid_t parent = getpid();
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	job->out = p[0];
	fflush(stdout);
	job->pid = fork();
	if (job->pid == 0)
		child_main(job, image, dir, p[1], parent);
	close(p[1]);
	return job->pid < 0 ? -errno : 0;
}

static int run(sd_event *event, const char *path, enum weft_arch arch,
	const struct weft_oci_image *image, const char *dir, weft_oci_job_done_t done,
	void *userdata, struct weft_oci_job **ret)
{
	_cleanup_(weft_oci_job_freep) struct weft_oci_job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return -ENOMEM;
	job->out = -1;
	job->arch = arch;
	job->inspect = !image;
	job->done = done;
	job->userdata = userdata;
	job->path = strdup(path);
	if (!job->path)
		return -ENOMEM;
	r = start(job, image, dir);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &job->readable, job->out, EPOLLIN, on_readable, job);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(
		event, &job->timer, CLOCK_MONOTONIC, TIMEOUT_US, 1000000, on_timeout, job);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(job);
	return 0;
}

int weft_oci_job_inspect(sd_event *event, const char *path, enum weft_arch arch,
	weft_oci_job_done_t done, void *userdata, struct weft_oci_job **ret)
{
	return run(event, path, arch, NULL, NULL, done, userdata, ret);
}

int weft_oci_job_extract(sd_event *event, const char *path, const struct weft_oci_image *image,
	const char *dir, weft_oci_job_done_t done, void *userdata, struct weft_oci_job **ret)
{
	return run(event, path, WEFT_ARCH_AMD64, image, dir, done, userdata, ret);
}

void weft_oci_job_free(struct weft_oci_job *job)
{
	if (!job)
		return;
	sd_event_source_disable_unref(job->readable);
	sd_event_source_disable_unref(job->timer);
	reap(job);
	closep(&job->out);
	free(job->answer);
	free(job->path);
	free(job);
}
