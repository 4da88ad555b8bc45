/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/ctrd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define START_NS 20000000000ULL
#define STOP_NS  10000000000ULL

static void pause_ms(long ms)
{
	const struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

const char *test_ctrd_missing(void)
{
	if (geteuid() != 0)
		return "needs root";
	if (system("PATH=$PATH:/usr/sbin:/sbin; command -v containerd runc ctr >/dev/null") != 0)
		return "containerd, runc or ctr is not installed";
	if (system("grep -q ' / ' /proc/self/mounts") != 0)
		return "runc cannot work in a chroot into a plain directory";
	return NULL;
}

static bool answers(const struct test_ctrd *c)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", c->socket);
	return fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static void __attribute__((noreturn)) exec_containerd(const struct test_ctrd *c)
{
	_cleanup_(freep) char *config = weft_strf("%s/config.toml", c->dir);
	_cleanup_(freep) char *log = weft_strf("%s/containerd.log", c->dir);
	int fd = log ? open(log, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;

	_cleanup_(freep) char *path = weft_strf(
		"%s/bin:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", c->dir);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setenv("PATH", path ? path : "", 1);
	unsetenv("NOTIFY_SOCKET");
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	execlp("containerd", "containerd", "--config", config, (char *)NULL);
	_exit(127);
}

static int write_config(const struct test_ctrd *c)
{
	_cleanup_(freep) char *config = NULL, *path = NULL;

	config = weft_strf("version = 2\nroot = \"%s/root\"\nstate = \"%s/state\"\n"
			   "disabled_plugins = [\"io.containerd.grpc.v1.cri\", "
			   "\"io.containerd.snapshotter.v1.btrfs\", "
			   "\"io.containerd.snapshotter.v1.devmapper\", "
			   "\"io.containerd.snapshotter.v1.zfs\", "
			   "\"io.containerd.snapshotter.v1.aufs\", %s"
			   "\"io.containerd.tracing.processor.v1.otlp\", "
			   "\"io.containerd.internal.v1.tracing\"]\n"
			   "[grpc]\n  address = \"%s\"\n",
		*c->disk ? c->disk : c->dir, c->dir,
		c->native ? "\"io.containerd.snapshotter.v1.overlayfs\", " : "", c->socket);
	path = weft_strf("%s/config.toml", c->dir);
	if (!config || !path)
		return -ENOMEM;
	return weft_write_file(path, config, strlen(config), 0644);
}

int test_ctrd_start(struct test_ctrd *c)
{
	uint64_t end = weft_now_ns() + START_NS;
	int r = write_config(c);

	if (r < 0)
		return r;
	unlink(c->socket);
	c->pid = fork();
	if (c->pid < 0)
		return -errno;
	if (c->pid == 0)
		exec_containerd(c);
	while (!answers(c)) {
		if (weft_now_ns() > end || waitpid(c->pid, NULL, WNOHANG) == c->pid)
			return -ETIMEDOUT;
		pause_ms(10);
	}
	return 0;
}

static int make_disk(struct test_ctrd *c, unsigned mb)
{
	char options[32];

	snprintf(c->disk, sizeof(c->disk), "%s/disk", c->dir);
	snprintf(options, sizeof(options), "size=%um", mb);
	if (mkdir(c->disk, 0755) < 0 || mount("none", c->disk, "tmpfs", 0, options) < 0)
		return -errno;
	return 0;
}

int test_ctrd_setup_on(struct test_ctrd *c, const char *name, unsigned disk_mb)
{
	int r;

	*c = (struct test_ctrd){};
	snprintf(c->dir, sizeof(c->dir), "/tmp/weft-%s-XXXXXX", name);
	if (!mkdtemp(c->dir))
		return -errno;
	r = disk_mb ? make_disk(c, disk_mb) : 0;
	if (r < 0)
		return r;
	snprintf(c->socket, sizeof(c->socket), "%s/containerd.sock", c->dir);
	return test_ctrd_start(c);
}

int test_ctrd_setup(struct test_ctrd *c, const char *name)
{
	return test_ctrd_setup_on(c, name, 0);
}

void test_ctrd_kill(struct test_ctrd *c)
{
	if (c->pid <= 0)
		return;
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	c->pid = 0;
}

/* --- teardown ------------------------------------------------------------------------------------
 */

/* A process one of whose arguments lies in our directory: a shim, a log's writer. */
static bool is_ours(const char *pid, const char *dir)
{
	_cleanup_(freep) char *path = weft_strf("/proc/%s/cmdline", pid);
	_cleanup_(freep) char *text = NULL;
	size_t size;

	if (!path || weft_read_file(path, 65536, &text, &size) < 0)
		return false;
	return (memmem(text, size, "containerd-shim", 15) || memmem(text, size, "weft-log", 8)) &&
	       memmem(text, size, dir, strlen(dir));
}

/* Children first: a shim that is killed leaves its container running. */
static void kill_children(pid_t parent)
{
	_cleanup_(freep) char *path = weft_strf("/proc/%d/task/%d/children", parent, parent);
	_cleanup_(freep) char *text = NULL;
	char *save = NULL;

	if (!path || weft_read_file(path, 65536, &text, NULL) < 0)
		return;
	for (char *w = strtok_r(text, " \n", &save); w; w = strtok_r(NULL, " \n", &save))
		kill(atoi(w), SIGKILL);
}

static unsigned kill_shims(const char *dir)
{
	_cleanup_(closedirp) DIR *proc = opendir("/proc");
	const struct dirent *e;
	unsigned n = 0;

	while (proc && (e = readdir(proc))) {
		if (!isdigit((unsigned char)e->d_name[0]) || !is_ours(e->d_name, dir))
			continue;
		kill_children(atoi(e->d_name));
		kill(atoi(e->d_name), SIGKILL);
		n++;
	}
	return n;
}

static unsigned unmount_all(const char *dir)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;
	unsigned n = 0;

	while (f && (m = getmntent(f)))
		if (strncmp(m->mnt_dir, dir, strlen(dir)) == 0 &&
			umount2(m->mnt_dir, MNT_DETACH) == 0)
			n++;
	if (f)
		endmntent(f);
	return n;
}

void test_ctrd_teardown(struct test_ctrd *c)
{
	uint64_t end = weft_now_ns() + STOP_NS;

	while (kill_shims(c->dir) > 0 && weft_now_ns() < end)
		pause_ms(20);
	if (c->pid > 0) {
		kill(c->pid, SIGTERM);
		while (waitpid(c->pid, NULL, WNOHANG) == 0) {
			if (weft_now_ns() > end)
				kill(c->pid, SIGKILL);
			pause_ms(10);
		}
		c->pid = 0;
	}
	while (unmount_all(c->dir) > 0)
		;
	if (!getenv("WEFT_TEST_KEEP"))
		weft_remove_tree(c->dir);
}

/* --- leftovers -----------------------------------------------------------------------------------
 */

static bool process_left(const struct test_ctrd *c, char *what, size_t size)
{
	_cleanup_(closedirp) DIR *proc = opendir("/proc");
	const struct dirent *e;

	while (proc && (e = readdir(proc))) {
		if (!isdigit((unsigned char)e->d_name[0]) || !is_ours(e->d_name, c->dir))
			continue;
		snprintf(what, size, "process %s", e->d_name);
		return true;
	}
	return false;
}

static bool mount_left(const struct test_ctrd *c, char *what, size_t size)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;
	bool left = false;

	while (f && !left && (m = getmntent(f))) {
		left = strncmp(m->mnt_dir, c->dir, strlen(c->dir)) == 0 &&
		       strcmp(m->mnt_dir, c->disk) != 0;
		if (left)
			snprintf(what, size, "mount %s", m->mnt_dir);
	}
	if (f)
		endmntent(f);
	return left;
}

static bool entry_left(const char *path, bool only_dirs, char *what, size_t size)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.' || (only_dirs && e->d_type != DT_DIR))
			continue;
		snprintf(what, size, "%s/%s", path, e->d_name);
		return true;
	}
	return false;
}

static bool cgroup_left(const char *cgroup, char *what, size_t size)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;
	bool left = false;

	while (f && !left && (m = getmntent(f))) {
		_cleanup_(freep) char *path = weft_strf("%s/%s", m->mnt_dir, cgroup);

		left = strncmp(m->mnt_type, "cgroup", 6) == 0 && path &&
		       entry_left(path, true, what, size);
	}
	if (f)
		endmntent(f);
	return left;
}

static bool leftover(const struct test_ctrd *c, const char *cgroup, char *what, size_t size)
{
	static const char *const dirs[] = {"containerd/runc/weft", "containerd/exec",
		"containerd/import", "state/io.containerd.runtime.v2.task/weft",
		"root/io.containerd.runtime.v2.task/weft"};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		_cleanup_(freep) char *path = weft_strf("%s/%s", c->dir, dirs[i]);

		if (path && entry_left(path, false, what, size))
			return true;
	}
	return process_left(c, what, size) || mount_left(c, what, size) ||
	       cgroup_left(cgroup, what, size);
}

bool test_ctrd_host_leftover(const struct test_ctrd *c, const char *cgroup, char *what, size_t size)
{
	uint64_t end = weft_now_ns() + STOP_NS;

	while (leftover(c, cgroup, what, size)) {
		if (weft_now_ns() > end)
			return true;
		pause_ms(20);
	}
	return false;
}

/* --- ctr -----------------------------------------------------------------------------------------
 */

char *test_ctrd_run(const struct test_ctrd *c, const char *args)
{
	_cleanup_(freep) char *cmd =
		weft_strf("ctr --address %s --namespace weft %s 2>&1", c->socket, args);
	_cleanup_(freep) char *out = calloc(1, 65536);
	FILE *p = cmd && out ? popen(cmd, "re") : NULL;
	size_t n;

	if (!p)
		return NULL;
	n = fread(out, 1, 65535, p);
	out[n] = '\0';
	return pclose(p) == 0 ? TAKE_PTR(out) : NULL;
}

int test_ctrd_lines(const struct test_ctrd *c, const char *args)
{
	_cleanup_(freep) char *out = test_ctrd_run(c, args);
	int n = 0;

	if (!out)
		return -1;
	for (const char *p = out; (p = strchr(p, '\n')); p++)
		n++;
	return n;
}
