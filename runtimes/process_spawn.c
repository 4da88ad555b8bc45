/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"

#define SBIN    "/usr/local/sbin:/usr/sbin:/sbin"
#define BIN     "/usr/local/bin:/usr/bin:/bin"
#define MAX_FDS 64

/* What the child was doing when it failed; sent back with errno through the status pipe, which a
 * successful exec closes. */
enum step { STEP_PARENT, STEP_CGROUP, STEP_NETNS, STEP_CWD, STEP_FDS, STEP_DROP, STEP_EXEC };

struct failure {
	int step;
	int code;
};

/* All that the child needs, prepared before the fork: it may only make system calls. */
struct plan {
	const struct weft_process_spec *spec;
	char *program; /* argv[0] looked up */
	char *const *env;
	pid_t parent;
	int netns, null;
	int status; /* write end of the status pipe */
};

/* --- child: async-signal-safe only ---------------------------------------------------------------
 */

/* Put the wanted descriptors at 0, 1, 2, 3... and the status pipe behind them; close the rest. */
static int child_fds(struct plan *plan)
{
	const struct weft_process_spec *s = plan->spec;
	int n = 3 + (int)s->n_fds, fds[3 + MAX_FDS + 1];

	for (int i = 0; i < n; i++)
		fds[i] = i == 0   ? s->stdin_fd
			 : i == 1 ? s->stdout_fd
			 : i == 2 ? s->stderr_fd
				  : s->fds[i - 3];
	fds[n] = plan->status;
	/* First out of the way of each other, as a wanted descriptor may have another's number. */
	for (int i = 0; i <= n; i++) {
		fds[i] = fcntl(fds[i] < 0 && i < 3 ? plan->null : fds[i], F_DUPFD_CLOEXEC, n + 1);
		if (fds[i] < 0)
			return -errno;
	}
	plan->status = fds[n];
	for (int i = 0; i < n; i++)
		if (dup2(fds[i], i) < 0)
			return -errno;
	if (dup3(fds[n], n, O_CLOEXEC) < 0)
		return -errno;
	plan->status = n;
	return close_range((unsigned)n + 1, ~0U, 0) < 0 ? -errno : 0;
}

/* Become the user without a way back: the bounding set is emptied as well, so that even user 0
 * has no capability after exec. */
static int child_drop(const struct weft_process_spec *s)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_setgroups, 0, NULL) < 0 ||
		syscall(SYS_setresgid, s->gid, s->gid, s->gid) < 0 ||
		syscall(SYS_setresuid, s->uid, s->uid, s->uid) < 0)
		return -errno;
	if (syscall(SYS_capset, &head, none) < 0)
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* By system call: libc refuses to touch the two signals it keeps for itself, which whoever started
 * us may have ignored. */
static void child_signals(void)
{
	const struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} dfl = {.handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < _NSIG; sig++)
		syscall(SYS_rt_sigaction, sig, &dfl, NULL, sizeof(dfl.mask));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* PDEATHSIG goes with a change of user, so it is set last; a parent that died before is found by
 * our having another now. */
static int child_bind_to_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

static int child_setup(struct plan *plan, enum step *step)
{
	const struct weft_process_spec *s = plan->spec;
	int program, r;

	setsid();
	umask(022);
	*step = STEP_CGROUP;
	r = s->cgroup ? weft_cgroup_join(s->cgroup, 0) : 0;
	if (r < 0)
		return r;
	*step = STEP_NETNS;
	if (plan->netns >= 0 && setns(plan->netns, CLONE_NEWNET) < 0)
		return -errno;
	*step = STEP_CWD;
	if (chdir(s->cwd ? s->cwd : "/") < 0)
		return -errno;
	*step = STEP_FDS;
	r = child_fds(plan);
	if (r < 0)
		return r;
	*step = STEP_EXEC;
	/* Opened as who we are now: the program may lie below a directory closed to the user. */
	program = open(plan->program, O_PATH | O_CLOEXEC);
	if (program < 0)
		return -errno;
	*step = STEP_DROP;
	r = s->drop ? child_drop(s) : 0;
	if (r < 0)
		return r;
	*step = STEP_PARENT;
	r = s->die_with_parent ? child_bind_to_parent(plan->parent) : 0;
	if (r < 0)
		return r;
	child_signals();
	*step = STEP_EXEC;
	execveat(program, "", (char *const *)s->argv, plan->env, AT_EMPTY_PATH);
	/* A script's interpreter has to open it by name. */
	if (errno == ENOENT)
		execve(plan->program, (char *const *)s->argv, plan->env);
	return -errno;
}

static void __attribute__((noreturn)) child_main(struct plan *plan)
{
	struct failure f = {};
	enum step step;

	f.code = -child_setup(plan, &step);
	f.step = (int)step;
	(void)!write(plan->status, &f, sizeof(f));
	_exit(127);
}

/* --- parent --------------------------------------------------------------------------------------
 */

static int find_program(const char *name, char **ret, struct weft_err *err)
{
	const char *env = getenv("PATH");
	_cleanup_(freep) char *dirs = NULL, *found = NULL;
	char *save = NULL;
	int code = ENOENT;

	if (strchr(name, '/')) {
		found = strdup(name);
		if (!found)
			return weft_err_set(err, ENOMEM, "exec %s: %m", name);
		*ret = TAKE_PTR(found);
		return 0;
	}
	dirs = weft_strf("%s:%s", env && *env ? env : BIN, SBIN);
	if (!dirs)
		return weft_err_set(err, ENOMEM, "exec %s: %m", name);
	for (char *d = strtok_r(dirs, ":", &save); d; d = strtok_r(NULL, ":", &save)) {
		_cleanup_(freep) char *path = weft_strf("%s/%s", d, name);
		struct stat st;

		if (!path)
			return weft_err_set(err, ENOMEM, "exec %s: %m", name);
		if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (access(path, X_OK) < 0) {
			code = errno;
			continue;
		}
		*ret = TAKE_PTR(path);
		return 0;
	}
	weft_err_set(err, code, "exec %s: %s", name,
		code == ENOENT ? "no such program in PATH" : strerror(code));
	if (code == ENOENT)
		weft_err_hint(err, "install it, or give its full path");
	return -code;
}

static int explain(const struct plan *plan, const struct failure *f, struct weft_err *err)
{
	const struct weft_process_spec *s = plan->spec;
	const char *why = strerror(f->code);

	switch ((enum step)f->step) {
	case STEP_PARENT:
		return weft_err_set(
			err, f->code, "exec %s: bind it to its parent: %s", plan->program, why);
	case STEP_CGROUP:
		return weft_err_set(err, f->code, "exec %s: enter cgroup %s: %s", plan->program,
			s->cgroup, why);
	case STEP_NETNS:
		return weft_err_set(err, f->code, "exec %s: enter network namespace %s: %s",
			plan->program, s->netns, why);
	case STEP_CWD:
		return weft_err_set(err, f->code, "exec %s: change to directory %s: %s",
			plan->program, s->cwd ? s->cwd : "/", why);
	case STEP_FDS:
		return weft_err_set(
			err, f->code, "exec %s: pass descriptors: %s", plan->program, why);
	case STEP_DROP:
		return weft_err_set(
			err, f->code, "exec %s: drop privileges: %s", plan->program, why);
	case STEP_EXEC:
		break;
	}
	return weft_err_set(err, f->code, "exec %s: %s", plan->program, why);
}

static int prepare(const struct weft_process_spec *spec, struct plan *plan, struct weft_err *err)
{
	int r;

	if (spec->n_fds > MAX_FDS)
		return weft_err_set(err, E2BIG, "exec %s: too many descriptors", spec->argv[0]);
	r = find_program(spec->argv[0], &plan->program, err);
	if (r < 0)
		return r;
	plan->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (plan->null < 0)
		return weft_err_set(err, errno, "exec %s: /dev/null: %m", plan->program);
	if (spec->netns) {
		plan->netns = open(spec->netns, O_RDONLY | O_CLOEXEC);
		if (plan->netns < 0)
			return weft_err_set(err, errno, "exec %s: network namespace %s: %m",
				plan->program, spec->netns);
	}
	return 0;
}

/* With all signals blocked across it, so that no handler of ours runs in the child. */
static pid_t fork_blocked(void)
{
	sigset_t all, before;
	pid_t pid;
	int saved;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		return 0;
	saved = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = saved;
	return pid;
}

static int start(struct plan *plan, pid_t *ret_pid, int *ret_pidfd, struct weft_err *err)
{
	_cleanup_(closep) int status = -1, pidfd = -1;
	struct failure f;
	int pipefd[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) < 0)
		return weft_err_set(err, errno, "exec %s: pipe: %m", plan->program);
	status = pipefd[0];
	plan->status = pipefd[1];
	plan->parent = getpid();
	pid = fork_blocked();
	if (pid == 0)
		child_main(plan);
	n = pid < 0 ? weft_err_set(err, errno, "exec %s: fork: %m", plan->program) : 0;
	close(pipefd[1]);
	if (n < 0)
		return (int)n;

	do
		n = read(status, &f, sizeof(f));
	while (n < 0 && errno == EINTR);
	if (n == 0) {
		/* A child that died before exec closes the pipe as well: its pidfd then tells. */
		pidfd = pidfd_open(pid, 0);
		if (pidfd >= 0) {
			*ret_pid = pid;
			*ret_pidfd = TAKE_FD(pidfd);
			return 0;
		}
		f = (struct failure){.step = STEP_EXEC, .code = errno};
		kill(pid, SIGKILL);
	} else if (n != sizeof(f)) {
		f = (struct failure){.step = STEP_EXEC, .code = EIO};
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return explain(plan, &f, err);
}

int weft_process_spawn(
	const struct weft_process_spec *spec, pid_t *ret_pid, int *ret_pidfd, struct weft_err *err)
{
	static char path[] = "PATH=" BIN ":" SBIN, lang[] = "LANG=C.UTF-8";
	char *const plain[] = {path, lang, NULL};
	struct plan plan = {.spec = spec, .netns = -1, .null = -1, .status = -1};
	int r;

	plan.env = spec->env ? (char *const *)spec->env : plain;
	r = prepare(spec, &plan, err);
	if (r == 0)
		r = start(&plan, ret_pid, ret_pidfd, err);
	closep(&plan.netns);
	closep(&plan.null);
	free(plan.program);
	return r;
}
