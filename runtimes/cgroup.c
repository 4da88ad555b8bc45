/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup_mounts.h"

#define PERIOD_US     100000
#define MIN_QUOTA_US  1000 /* the kernel refuses less */
#define WEIGHT        100  /* everybody's in v2, as are 1024 shares in v1 */
#define SHARES        1024
#define DESTROY_NS    1000000000ULL
#define MAX_SUBGROUPS 8 /* depth of groups that an instance makes inside its own */

static int write_value(const struct weft_cgroup_hierarchy *h, const char *path, const char *file,
	const char *value)
{
	_cleanup_(closep) int fd = -1;
	char name[600];
	int r;

	r = weft_cgroup_mounts_path(h, path, file, name, sizeof(name));
	if (r < 0)
		return r;
	fd = open(name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return weft_write_all(fd, value, strlen(value));
}

static int read_value(const struct weft_cgroup_hierarchy *h, const char *path, const char *file,
	char *buf, size_t size)
{
	_cleanup_(closep) int fd = -1;
	char name[600];
	ssize_t n;
	int r;

	r = weft_cgroup_mounts_path(h, path, file, name, sizeof(name));
	if (r < 0)
		return r;
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

/* --- create --------------------------------------------------------------------------------------
 */

/* v2 gives a group only the controllers its parent hands down. One at a time, and failures wait for
 * the limit that needs the controller: it says better what is missing. */
static void hand_down(const struct weft_cgroup_hierarchy *h, const char *parent)
{
	static const char *const enable[] = {"+cpu", "+memory", "+pids"};

	for (size_t i = 0; i < ARRAY_SIZE(enable); i++)
		(void)write_value(h, parent, "cgroup.subtree_control", enable[i]);
}

/* mkdir -p inside one hierarchy; *ret_made says whether the group itself is new. */
static int make_group(const struct weft_cgroup_hierarchy *h, const char *path, bool *ret_made)
{
	char part[256] = "", dir[600];

	for (const char *end = path; *end; end += *end == '/') {
		int r;

		if (h->v2)
			hand_down(h, part);
		end += strcspn(end, "/");
		memcpy(part, path, (size_t)(end - path));
		part[end - path] = '\0';
		r = weft_cgroup_mounts_path(h, part, NULL, dir, sizeof(dir));
		if (r < 0)
			return r;
		r = mkdir(dir, 0755);
		if (r < 0 && errno != EEXIST)
			return -errno;
		*ret_made = r == 0;
	}
	return 0;
}

static int set_limit(const struct weft_cgroup_mounts *m, const char *path,
	enum weft_cgroup_controller controller, const char *what, const char *v1_file,
	const char *v1_value, const char *v2_file, const char *v2_value, bool wanted,
	struct weft_err *err)
{
	const struct weft_cgroup_hierarchy *h = weft_cgroup_mounts_find(m, controller);
	int r;

	if (!h && !wanted)
		return 0;
	if (!h) {
		weft_err_set(err, ENOTSUP, "cgroup %s: this host has no %s controller", path, what);
		weft_err_hint(err, "enable it (see /proc/cgroups), or deploy without that limit");
		return -ENOTSUP;
	}
	r = write_value(h, path, h->v2 ? v2_file : v1_file, h->v2 ? v2_value : v1_value);
	if (r == -ENOENT && !wanted)
		return 0; /* v2 did not hand the controller down: no limit either */
	if (r == -ENOENT && h->v2) {
		weft_err_set(err, ENOTSUP, "cgroup %s: the %s controller is not handed down to it",
			path, what);
		weft_err_hint(err,
			"add +%s to cgroup.subtree_control of its parents; they must hold no "
			"processes",
			what);
		return -ENOTSUP;
	}
	if (r < 0)
		return weft_err_set(err, r, "cgroup %s: set %s to %s: %s", path,
			h->v2 ? v2_file : v1_file, h->v2 ? v2_value : v1_value, strerror(-r));
	return 0;
}

static int set_weight(
	const struct weft_cgroup_mounts *m, const char *path, uint32_t weight, struct weft_err *err)
{
	uint32_t shares = (weight ? weight : WEIGHT) * SHARES / WEIGHT;
	char v1[16], v2[16];

	snprintf(v1, sizeof(v1), "%" PRIu32, shares < 2 ? 2 : shares);
	snprintf(v2, sizeof(v2), "%" PRIu32, weight ? weight : WEIGHT);
	return set_limit(m, path, WEFT_CGROUP_CPU, "cpu", "cpu.shares", v1, "cpu.weight", v2,
		weight > 0, err);
}

static int set_limits(const struct weft_cgroup_mounts *m, const char *path,
	const struct weft_cgroup_limits *limits, struct weft_err *err)
{
	uint64_t quota = (uint64_t)limits->cpu_milli * (PERIOD_US / 1000);
	char v1[32], v2[64];
	int r;

	if (quota > 0 && quota < MIN_QUOTA_US)
		quota = MIN_QUOTA_US;
	snprintf(v1, sizeof(v1), "%" PRId64, quota ? (int64_t)quota : -1);
	if (quota)
		snprintf(v2, sizeof(v2), "%" PRIu64 " %d", quota, PERIOD_US);
	else
		snprintf(v2, sizeof(v2), "max %d", PERIOD_US);
	r = set_limit(m, path, WEFT_CGROUP_CPU, "cpu", "cpu.cfs_quota_us", v1, "cpu.max", v2,
		quota > 0, err);
	if (r < 0)
		return r;
	r = set_weight(m, path, limits->cpu_weight, err);
	if (r < 0)
		return r;

	snprintf(v1, sizeof(v1), "%" PRId64,
		limits->memory_bytes ? (int64_t)limits->memory_bytes : -1);
	r = set_limit(m, path, WEFT_CGROUP_MEMORY, "memory", "memory.limit_in_bytes", v1,
		"memory.max", limits->memory_bytes ? v1 : "max", limits->memory_bytes > 0, err);
	if (r < 0)
		return r;

	snprintf(v1, sizeof(v1), "%" PRIu32, limits->pids);
	return set_limit(m, path, WEFT_CGROUP_PIDS, "pids", "pids.max", limits->pids ? v1 : "max",
		"pids.max", limits->pids ? v1 : "max", limits->pids > 0, err);
}

static int create_all(const struct weft_cgroup_mounts *m, const char *path,
	const struct weft_cgroup_limits *limits, bool *made, struct weft_err *err)
{
	for (unsigned i = 0; i < m->n; i++) {
		int r = make_group(&m->h[i], path, &made[i]);

		if (r < 0)
			return weft_err_set(err, r, "cgroup %s: create it below %s: %s", path,
				m->h[i].dir, strerror(-r));
	}
	return set_limits(m, path, limits, err);
}

int weft_cgroup_create(
	const char *path, const struct weft_cgroup_limits *limits, struct weft_err *err)
{
	const struct weft_cgroup_limits none = {};
	struct weft_cgroup_mounts m;
	bool made[ARRAY_SIZE(m.h)] = {};
	char dir[600];
	int r;

	if (!weft_cgroup_path_valid(path))
		return weft_err_set(err, EINVAL, "cgroup path \"%s\" is not valid", path);
	r = weft_cgroup_mounts_read(&m);
	if (r < 0) {
		weft_err_set(err, r, "cgroup %s: no cgroup hierarchy is mounted", path);
		weft_err_hint(err, "mount one: mount -t cgroup2 none /sys/fs/cgroup");
		return r;
	}
	r = create_all(&m, path, limits ? limits : &none, made, err);
	for (unsigned i = 0; r < 0 && i < m.n; i++)
		if (made[i] && weft_cgroup_mounts_path(&m.h[i], path, NULL, dir, sizeof(dir)) == 0)
			(void)rmdir(dir);
	return r;
}

/* --- join and read -------------------------------------------------------------------------------
 */

int weft_cgroup_join(const char *path, pid_t pid)
{
	struct weft_cgroup_mounts m;
	char text[16], *p = text + sizeof(text) - 1;
	unsigned long v = (unsigned long)pid;
	int r;

	if (pid < 0 || !weft_cgroup_path_valid(path))
		return -EINVAL;
	/* By hand: snprintf() is not for a child between fork and exec. */
	*p = '\0';
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);

	r = weft_cgroup_mounts_read(&m);
	for (unsigned i = 0; r == 0 && i < m.n; i++)
		r = write_value(&m.h[i], path, "cgroup.procs", p);
	return r;
}

static int read_cpu(const struct weft_cgroup_mounts *m, const char *path, uint64_t *ret)
{
	const struct weft_cgroup_hierarchy *h = weft_cgroup_mounts_find(m, WEFT_CGROUP_CPUACCT);
	unsigned long long v;
	char buf[1024], *p;
	int r;

	if (!h)
		return -ENOENT;
	r = read_value(h, path, h->v2 ? "cpu.stat" : "cpuacct.usage", buf, sizeof(buf));
	if (r < 0)
		return r;
	p = h->v2 ? strstr(buf, "usage_usec ") : buf;
	if (!p || sscanf(p, h->v2 ? "usage_usec %llu" : "%llu", &v) != 1)
		return -EIO;
	*ret = h->v2 ? v * 1000 : v;
	return 0;
}

static int read_memory(const struct weft_cgroup_mounts *m, const char *path, uint64_t *ret)
{
	const struct weft_cgroup_hierarchy *h = weft_cgroup_mounts_find(m, WEFT_CGROUP_MEMORY);
	unsigned long long v;
	char buf[64];
	int r;

	if (!h)
		return -ENOENT;
	r = read_value(
		h, path, h->v2 ? "memory.current" : "memory.usage_in_bytes", buf, sizeof(buf));
	if (r < 0)
		return r;
	if (sscanf(buf, "%llu", &v) != 1)
		return -EIO;
	*ret = v;
	return 0;
}

int weft_cgroup_read(const char *path, uint64_t *ret_cpu_ns, uint64_t *ret_memory)
{
	uint64_t cpu = 0, memory = 0;
	struct weft_cgroup_mounts m;
	int r;

	if (!weft_cgroup_path_valid(path))
		return -EINVAL;
	r = weft_cgroup_mounts_read(&m);
	if (r < 0)
		return r;
	r = read_cpu(&m, path, &cpu);
	if (r < 0)
		return r;
	/* The group exists, as CPU time was read; a host without memory accounting says 0. */
	r = ret_memory ? read_memory(&m, path, &memory) : 0;
	if (r < 0 && r != -ENOENT)
		return r;
	if (ret_cpu_ns)
		*ret_cpu_ns = cpu;
	if (ret_memory)
		*ret_memory = memory;
	return 0;
}

int weft_cgroup_oom_kills(const char *path, uint64_t *ret)
{
	const struct weft_cgroup_hierarchy *h;
	struct weft_cgroup_mounts m;
	unsigned long long v;
	char buf[1024], *p;
	int r;

	if (!weft_cgroup_path_valid(path))
		return -EINVAL;
	r = weft_cgroup_mounts_read(&m);
	if (r < 0)
		return r;
	h = weft_cgroup_mounts_find(&m, WEFT_CGROUP_MEMORY);
	if (!h)
		return -ENOENT;
	r = read_value(h, path, h->v2 ? "memory.events" : "memory.oom_control", buf, sizeof(buf));
	if (r < 0)
		return r;
	/* "oom_kill N" on a line of its own; "oom_kill_disable 0" is another one */
	p = strstr(buf, "oom_kill ");
	if (!p || sscanf(p, "oom_kill %llu", &v) != 1)
		return -ENOENT;
	*ret = v;
	return 0;
}

int weft_cgroup_of_pid(pid_t pid, char **ret)
{
	const struct weft_cgroup_hierarchy *h;
	_cleanup_(freep) char *text = NULL;
	struct weft_cgroup_mounts m;
	char file[64], *save = NULL;
	int r;

	r = weft_cgroup_mounts_read(&m);
	if (r < 0)
		return r;
	h = weft_cgroup_mounts_find(&m, WEFT_CGROUP_CPUACCT);
	if (!h)
		return -ENOENT;
	snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	r = weft_read_file(file, 64 * 1024, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	/* "2:cpu,cpuacct:/group" in v1, "0::/group" in v2 */
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
		size_t n = strlen(h->root);
		_cleanup_(freep) char *copy = NULL;

		if (!path)
			continue;
		*path++ = '\0';
		snprintf(file, sizeof(file), ",%.60s,", list + 1);
		if (h->v2 ? list[1] != '\0' || line[0] != '0' : !strstr(file, ",cpuacct,"))
			continue;
		/* A bind mount shows the hierarchy from its root on. */
		if (n > 1 && strncmp(path, h->root, n) == 0 && (path[n] == '/' || !path[n]))
			path += n;
		path += strspn(path, "/");
		if (!weft_cgroup_path_valid(path))
			return -ENOENT; /* the root: no group of its own */
		copy = strdup(path);
		if (!copy)
			return -ENOMEM;
		*ret = TAKE_PTR(copy);
		return 0;
	}
	return -ENOENT;
}

/* --- destroy -------------------------------------------------------------------------------------
 */

static void kill_procs(int dir)
{
	_cleanup_(fclosep) FILE *f = NULL;
	int fd, pid;

	fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	f = fdopen(fd, "r");
	if (!f) {
		close(fd);
		return;
	}
	/* A process of another pid namespace reads as 0, which kill() would take for our group. */
	while (fscanf(f, "%d", &pid) == 1)
		if (pid > 1 && pid != getpid())
			kill(pid, SIGKILL);
}

/* What stands still does not even die. v1's freezer is a hierarchy of its own. */
static void thaw(int dir)
{
	static const struct {
		const char *file, *value;
	} thawed[] = {{"freezer.state", "THAWED"}, {"cgroup.freeze", "0"}};

	for (size_t i = 0; i < ARRAY_SIZE(thawed); i++) {
		_cleanup_(closep) int fd = openat(dir, thawed[i].file, O_WRONLY | O_CLOEXEC);

		if (fd >= 0)
			(void)weft_write_all(fd, thawed[i].value, strlen(thawed[i].value));
	}
}

/* Kill what is in the group `name` of parent and below it, and remove it: -EBUSY while the killed
 * are still leaving. */
static int destroy_group(int parent, const char *name, unsigned depth)
{
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *e;
	int fd;

	if (depth > MAX_SUBGROUPS)
		return -ELOOP;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -errno;
	}
	thaw(fd);
	kill_procs(fd);
	while ((e = readdir(dir))) {
		int r;

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		r = destroy_group(fd, e->d_name, depth + 1);
		if (r < 0)
			return r;
	}
	return unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/* In every hierarchy there is: runtimes make groups also in those that we do not use. */
static int destroy_everywhere(const char *path)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;
	int r = f ? 0 : -errno;

	while (f && (m = getmntent(f))) {
		_cleanup_(freep) char *dir = NULL;
		int q;

		if (strcmp(m->mnt_type, "cgroup") != 0 && strcmp(m->mnt_type, "cgroup2") != 0)
			continue;
		dir = weft_strf("%s/%s", m->mnt_dir, path);
		q = dir ? destroy_group(AT_FDCWD, dir, 0) : -ENOMEM;
		if (q < 0 && r == 0)
			r = q;
	}
	if (f)
		endmntent(f);
	return r;
}

int weft_cgroup_destroy(const char *path)
{
	uint64_t deadline = weft_now_ns() + DESTROY_NS;
	struct timespec pause = {.tv_nsec = 200000};
	int r;

	if (!weft_cgroup_path_valid(path))
		return -EINVAL;
	for (;;) {
		r = destroy_everywhere(path);
		if (r != -EBUSY || weft_now_ns() >= deadline)
			return r;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 10000000)
			pause.tv_nsec *= 2;
	}
}
