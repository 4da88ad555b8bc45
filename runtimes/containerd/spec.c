/* SPDX-License-Identifier: Apache-2.0 */
/* The OCI runtime specification of a container. Defaults are those every container engine gives:
 * private namespaces, a small set of capabilities, no new privileges, /proc and /sys masked. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

#define PERIOD_US    100000
#define MIN_QUOTA_US 1000 /* the kernel refuses less */
#define V1_SHARES    1024 /* everybody's in v1, as 100 is in v2 */
#define V1_MIN       2
#define V1_MAX       262144
#define MAX_HOSTNAME 63
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const default_capabilities[] = {"CAP_AUDIT_WRITE", "CAP_CHOWN",
	"CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
	"CAP_SETUID", "CAP_SYS_CHROOT", NULL};

static const char *const masked[] = {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
	"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
	"/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap", NULL};

static const char *const readonly[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL};

static const struct {
	const char *destination, *type, *source, *options;
} mounts[] = {
	{"/proc", "proc", "proc", "nosuid,noexec,nodev"},
	{"/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
	{"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"},
	{"/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"},
	{"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"},
	{"/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"},
};

static json_t *strings(const char *const *v)
{
	json_t *a = json_array();

	for (; a && v && *v; v++) {
		/* Not UTF-8: JSON cannot carry it, and leaving it out would change the meaning. */
		if (json_array_append_new(a, json_string(*v)) < 0) {
			json_decref(a);
			return NULL;
		}
	}
	return a;
}

static json_t *split(const char *words)
{
	_cleanup_(freep) char *copy = strdup(words);
	json_t *a = json_array();
	char *save = NULL;

	if (!copy || !a) {
		json_decref(a);
		return NULL;
	}
	for (char *w = strtok_r(copy, ",", &save); w; w = strtok_r(NULL, ",", &save))
		json_array_append_new(a, json_string(w));
	return a;
}

static json_t *mount_entry(
	const char *destination, const char *type, const char *source, const char *options)
{
	return json_pack("{s:s, s:s, s:s, s:o}", "destination", destination, "type", type, "source",
		source, "options", split(options));
}

/* "ro" is about the mount itself; what is mounted below it would stay writable but for "rro". */
static const char *bind_options(const struct ctrd_process *p, const struct weft_runtime_mount *m)
{
	if (!m->read_only)
		return "rbind,rprivate,rw";
	return p->recursive_ro ? "rbind,rprivate,ro,rro" : "rbind,rprivate,ro";
}

static json_t *mount_list(const struct ctrd_process *p)
{
	json_t *a = json_array();

	for (size_t i = 0; a && i < ARRAY_SIZE(mounts); i++)
		json_array_append_new(a, mount_entry(mounts[i].destination, mounts[i].type,
						 mounts[i].source, mounts[i].options));
	for (unsigned i = 0; a && i < p->n_mounts; i++) {
		const struct weft_runtime_mount *m = &p->mounts[i];

		if (json_array_append_new(
			    a, mount_entry(m->target, "bind", m->source, bind_options(p, m))) < 0) {
			json_decref(a);
			return NULL;
		}
	}
	return a;
}

static json_t *namespaces(const char *netns)
{
	json_t *a = json_pack("[{s:s}, {s:s}, {s:s}, {s:s}]", "type", "pid", "type", "ipc", "type",
		"uts", "type", "mount");

	json_array_append_new(a, netns ? json_pack("{s:s, s:s}", "type", "network", "path", netns)
				       : json_pack("{s:s}", "type", "network"));
	return a;
}

/* runc makes a weight of shares by a line that turns 1024 into 39; v2 is told in its own words. */
static json_t *cpu(const struct ctrd_process *p)
{
	uint64_t weight = p->cpu_weight ? p->cpu_weight : 100, shares = weight * V1_SHARES / 100;
	uint64_t quota = (uint64_t)p->cpu_milli * (PERIOD_US / 1000);
	json_t *o;

	if (shares < V1_MIN)
		shares = V1_MIN;
	if (shares > V1_MAX)
		shares = V1_MAX;
	o = json_pack("{s:I}", "shares", (json_int_t)shares);
	if (quota == 0)
		return o;
	json_object_set_new(o, "period", json_integer(PERIOD_US));
	json_object_set_new(o, "quota",
		json_integer((json_int_t)(quota < MIN_QUOTA_US ? MIN_QUOTA_US : quota)));
	return o;
}

static json_t *resources(const struct ctrd_process *p)
{
	json_t *r = json_pack("{s:[{s:b, s:s}], s:{s:i}, s:o}", "devices", "allow", 0, "access",
		"rwm", "pids", "limit", (int)(p->pids ? p->pids : CTRD_MAX_PIDS), "cpu", cpu(p));
	char weight[16];

	if (p->cgroup2 && p->cpu_weight) {
		snprintf(weight, sizeof(weight), "%u", p->cpu_weight);
		json_object_set_new(r, "unified", json_pack("{s:s}", "cpu.weight", weight));
	}
	if (p->memory_bytes)
		json_object_set_new(
			r, "memory", json_pack("{s:I}", "limit", (json_int_t)p->memory_bytes));
	return r;
}

/* Whoever names capabilities wants the process to have them, whatever its user: an ambient set is
 * what survives exec without file capabilities, which no_new_privs switches off. */
static json_t *capability_sets(const struct ctrd_process *p)
{
	static const char *const sets[] = {
		"bounding", "effective", "permitted", "inheritable", "ambient"};
	size_t n = p->capabilities ? ARRAY_SIZE(sets) : 3;
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(o, sets[i],
			strings(p->capabilities ? (const char *const *)p->capabilities
						: default_capabilities));
	return o;
}

static json_t *user(const struct ctrd_user *u)
{
	json_t *o = json_pack("{s:I, s:I}", "uid", (json_int_t)u->uid, "gid", (json_int_t)u->gid);
	json_t *groups;

	if (u->n_groups == 0)
		return o;
	groups = json_array();
	for (unsigned i = 0; i < u->n_groups; i++)
		json_array_append_new(groups, json_integer(u->groups[i]));
	json_object_set_new(o, "additionalGids", groups);
	return o;
}

static json_t *process(const struct ctrd_process *p)
{
	json_t *o = json_pack("{s:b, s:o, s:o, s:o, s:s, s:b, s:o}", "terminal", 0, "user",
		user(&p->user), "args", strings((const char *const *)p->args), "env",
		strings((const char *const *)p->env), "cwd", p->cwd, "noNewPrivileges", 1,
		"capabilities", capability_sets(p));

	if (o && p->nofile)
		json_object_set_new(o, "rlimits",
			json_pack("[{s:s, s:I, s:I}]", "type", "RLIMIT_NOFILE", "hard",
				(json_int_t)p->nofile, "soft", (json_int_t)p->nofile));
	return o;
}

char *ctrd_spec(const struct ctrd_process *p)
{
	_cleanup_(freep) char *cgroup = weft_strf("/%s", p->cgroup);
	char hostname[MAX_HOSTNAME + 1];
	json_auto_t *o = NULL;

	if (!cgroup)
		return NULL;
	snprintf(hostname, sizeof(hostname), "%s", p->id);
	o = json_pack("{s:s, s:o, s:{s:s, s:b}, s:s, s:o, s:{s:s, s:o, s:o, s:o, s:o, s:o}}",
		"ociVersion", "1.0.2", "process", process(p), "root", "path", "rootfs", "readonly",
		p->read_only, "hostname", hostname, "mounts", mount_list(p), "linux", "cgroupsPath",
		cgroup, "resources", resources(p), "namespaces", namespaces(p->netns),
		"maskedPaths", strings(masked), "readonlyPaths", strings(readonly), "seccomp",
		ctrd_seccomp(p->capabilities));
	return o ? json_dumps(o, JSON_COMPACT) : NULL;
}

char *ctrd_spec_exec(const void *spec, size_t size, const char *const *argv)
{
	json_auto_t *o = json_loadb(spec, size, JSON_REJECT_DUPLICATES, NULL);
	json_t *p = json_object_get(o, "process");

	if (!json_is_object(p) || json_object_set_new(p, "args", strings(argv)) < 0)
		return NULL;
	return json_dumps(p, JSON_COMPACT);
}

/* --- environment ---------------------------------------------------------------------------------
 */

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return n == strcspn(b, "=") && strncmp(a, b, n) == 0;
}

static bool named_in(const char *var, char *const *v, size_t n)
{
	for (size_t i = 0; v && i < n && v[i]; i++)
		if (same_name(var, v[i]))
			return true;
	return false;
}

static bool append_env(char **env, size_t *n, const char *var)
{
	env[*n] = strdup(var);
	return env[(*n)++] != NULL;
}

char **ctrd_env(char *const *image, char *const *ours, const char *hostname)
{
	_cleanup_(strv_freep) char **env = NULL;
	_cleanup_(freep) char *host = weft_strf("HOSTNAME=%.*s", MAX_HOSTNAME, hostname);
	size_t n_image = 0, n_ours = 0, n = 0;
	bool ok = host != NULL;

	while (image && image[n_image])
		n_image++;
	while (ours && ours[n_ours])
		n_ours++;
	env = calloc(n_image + n_ours + 3, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; ok && i < n_image; i++)
		if (!named_in(image[i], ours, n_ours))
			ok = append_env(env, &n, image[i]);
	for (size_t i = 0; ok && i < n_ours; i++)
		ok = append_env(env, &n, ours[i]);
	if (ok && !named_in(DEFAULT_PATH, env, n))
		ok = append_env(env, &n, DEFAULT_PATH);
	if (ok && !named_in(host, env, n))
		ok = append_env(env, &n, host);
	return ok ? TAKE_PTR(env) : NULL;
}
