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
#define MAX_PIDS     4096
#define MAX_HOSTNAME 63
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const capabilities[] = {"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE",
	"CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW",
	"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT", NULL};

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

static json_t *mount_list(void)
{
	json_t *a = json_array();

	for (size_t i = 0; a && i < ARRAY_SIZE(mounts); i++)
		json_array_append_new(
			a, json_pack("{s:s, s:s, s:s, s:o}", "destination", mounts[i].destination,
				   "type", mounts[i].type, "source", mounts[i].source, "options",
				   split(mounts[i].options)));
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

static json_t *resources(const struct ctrd_process *p)
{
	json_t *r = json_pack("{s:[{s:b, s:s}], s:{s:i}}", "devices", "allow", 0, "access", "rwm",
		"pids", "limit", MAX_PIDS);
	json_t *cpu = json_pack("{s:i}", "shares", 1024);

	if (p->vcpus) {
		json_object_set_new(cpu, "period", json_integer(PERIOD_US));
		json_object_set_new(cpu, "quota", json_integer((json_int_t)p->vcpus * PERIOD_US));
	}
	json_object_set_new(r, "cpu", cpu);
	if (p->memory_bytes)
		json_object_set_new(
			r, "memory", json_pack("{s:I}", "limit", (json_int_t)p->memory_bytes));
	return r;
}

static json_t *process(const struct ctrd_process *p)
{
	json_t *o = json_pack("{s:b, s:{s:I, s:I}, s:o, s:o, s:s, s:b}", "terminal", 0, "user",
		"uid", (json_int_t)p->uid, "gid", (json_int_t)p->gid, "args",
		strings((const char *const *)p->args), "env", strings((const char *const *)p->env),
		"cwd", p->cwd, "noNewPrivileges", 1);

	if (!o)
		return NULL;
	json_object_set_new(o, "capabilities",
		json_pack("{s:o, s:o, s:o}", "bounding", strings(capabilities), "effective",
			strings(capabilities), "permitted", strings(capabilities)));
	if (p->nofile)
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
	o = json_pack("{s:s, s:o, s:{s:s}, s:s, s:o, s:{s:s, s:o, s:o, s:o, s:o}}", "ociVersion",
		"1.0.2", "process", process(p), "root", "path", "rootfs", "hostname", hostname,
		"mounts", mount_list(), "linux", "cgroupsPath", cgroup, "resources", resources(p),
		"namespaces", namespaces(p->netns), "maskedPaths", strings(masked), "readonlyPaths",
		strings(readonly));
	return o ? json_dumps(o, JSON_COMPACT) : NULL;
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
