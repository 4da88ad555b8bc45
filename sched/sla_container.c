/* SPDX-License-Identifier: Apache-2.0 */
/* How a variant runs: its limits, and what of the host and of the image it gets to see. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "sched/sla_internal.h"

#define CPU_LIMIT_MIN  0.01 /* the kernel's shortest quota */
#define CPU_WEIGHT_MAX 10000U
#define LOG_DEFAULT_MB 64U

/* In the kernel's order; names only, as sched/ asks nothing of the machine. */
static const char *const capability_names[] = {"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER",
	"FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE",
	"NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE",
	"AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
	"BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"};

enum { CONTAINER = 1 << WEFT_VIRT_CONTAINER, GVISOR = 1 << WEFT_VIRT_GVISOR };
enum { UNIKERNEL = 1 << WEFT_VIRT_UNIKERNEL };

bool sla_says(const struct sla_at *at, const char *key)
{
	return json_object_get(at->value, key);
}

int sla_copy_strings(const struct sla_doc *doc, char *const *from, char ***ret)
{
	_cleanup_(strv_freep) char **list = NULL;
	size_t n = 0;

	if (!from)
		return 0;
	while (from[n])
		n++;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return sla_no_memory(doc);
	for (size_t i = 0; i < n; i++) {
		list[i] = strdup(from[i]);
		if (!list[i])
			return sla_no_memory(doc);
	}
	*ret = TAKE_PTR(list);
	return 0;
}

/* What would be without effect is refused: whoever writes it counts on it. */
static int check_applies(const struct sla_at *at, enum weft_virt virt)
{
	static const struct {
		const char *key;
		unsigned virts;
	} keys[] = {
		{"runtime", CONTAINER},
		{"user", CONTAINER | GVISOR},
		{"capabilities", CONTAINER | GVISOR},
		{"read_only", CONTAINER | GVISOR},
		{"volumes", CONTAINER | GVISOR | UNIKERNEL},
		{"warm_start", UNIKERNEL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct sla_at member;

		if (sla_member(at, keys[i].key, &member) && !(keys[i].virts & 1U << virt) &&
			/* no volumes is what it has; no capabilities would be a promise */
			!(strcmp(keys[i].key, "volumes") == 0 &&
				json_array_size(member.value) == 0) &&
			!json_is_false(member.value))
			return sla_fail_name(&member, "means nothing to virtualization %s",
				weft_virt_name(virt));
	}
	return 0;
}

/* --- limits --------------------------------------------------------------------------------------
 */

static int parse_cpu_limit(const struct sla_at *at, struct weft_sla_variant *v)
{
	struct sla_at member;
	double cpus;

	if (!sla_member(at, "cpu_limit", &member))
		return 0;
	cpus = json_number_value(member.value);
	if (cpus != 0 && (cpus < CPU_LIMIT_MIN || cpus > SLA_VCPUS_MAX))
		return sla_fail(&member, "must be %g to %u CPUs, or 0 for no limit, is %g",
			CPU_LIMIT_MIN, SLA_VCPUS_MAX, cpus);
	v->cpu_milli = (uint32_t)lround(cpus * 1000);
	return 0;
}

static int parse_limits(const struct sla_at *at, struct weft_sla_variant *v)
{
	int r = parse_cpu_limit(at, v);

	v->log_max_mb = LOG_DEFAULT_MB;
	if (r == 0)
		r = sla_uint(at, "cpu_weight", 1, CPU_WEIGHT_MAX, &v->cpu_weight);
	if (r == 0)
		r = sla_uint(at, "pids_limit", 0, SLA_PIDS_MAX, &v->pids);
	if (r == 0)
		r = sla_uint(at, "log_limit", 0, SLA_LOG_MAX, &v->log_max_mb);
	return r;
}

/* --- user, capabilities, runtime -----------------------------------------------------------------
 */

static int check_plain(const struct sla_at *at)
{
	const char *s = json_string_value(at->value);

	if (*s == '\0')
		return sla_fail(at, "must not be empty");
	for (; *s; s++)
		if ((uint8_t)*s <= 0x20 || *s == 0x7f)
			return sla_fail(at, "must not contain spaces or control characters");
	return 0;
}

static int parse_user(const struct sla_at *at, struct weft_sla_variant *v)
{
	struct sla_at member;
	int r;

	if (!sla_member(at, "user", &member))
		return 0;
	r = check_plain(&member);
	return r < 0 ? r : sla_string(at, "user", SLA_SHORT_MAX, &v->user);
}

static int parse_runtime(const struct sla_at *at, struct weft_sla_variant *v)
{
	struct sla_at member;
	const char *s;

	if (!sla_member(at, "runtime", &member))
		return 0;
	s = json_string_value(member.value);
	if (!weft_name_valid(s, SLA_SHORT_MAX)) {
		sla_fail(&member, "\"%s\" is no runtime's name", sla_quote(s).text);
		return weft_err_hint(at->doc->err,
			"a program that understands what runc does (\"crun\"), or a shim of "
			"containerd's (\"io.containerd.kata.v2\")");
	}
	return sla_string(at, "runtime", SLA_SHORT_MAX, &v->runtime);
}

/* "CAP_NET_ADMIN" or "NET_ADMIN"; kept with the prefix, as runtimes want it. */
static int parse_capability(const struct sla_at *at, char **ret)
{
	const char *s = json_string_value(at->value);

	if (strncmp(s, "CAP_", 4) == 0)
		s += 4;
	for (size_t i = 0; i < ARRAY_SIZE(capability_names); i++) {
		if (strcmp(s, capability_names[i]) != 0)
			continue;
		*ret = weft_strf("CAP_%s", s);
		return *ret ? 0 : sla_no_memory(at->doc);
	}
	sla_fail(at, "unknown capability \"%s\"", sla_quote(json_string_value(at->value)).text);
	return weft_err_hint(at->doc->err, "names as in capabilities(7): \"CAP_NET_ADMIN\"");
}

/* [] is a list, too: of none. */
static int parse_capabilities(const struct sla_at *at, struct weft_sla_variant *v)
{
	_cleanup_(strv_freep) char **list = NULL;
	struct sla_at member;
	size_t n;

	if (!sla_member(at, "capabilities", &member))
		return 0;
	n = json_array_size(member.value);
	if (n > SLA_ITEMS_MAX)
		return sla_fail(&member, "must have at most %u entries, has %zu", SLA_ITEMS_MAX, n);
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return sla_no_memory(at->doc);
	for (size_t i = 0; i < n; i++) {
		struct sla_at item = sla_element(&member, i);
		int r = parse_capability(&item, &list[i]);

		if (r < 0)
			return r;
	}
	v->capabilities = TAKE_PTR(list);
	return 0;
}

/* --- volumes -------------------------------------------------------------------------------------
 */

static int parse_path(const struct sla_at *at, const char *key, char **ret)
{
	struct sla_at member = {at->doc, at, key, 0, json_object_get(at->value, key)};
	const char *s;

	if (!member.value)
		return sla_fail(&member, "required, but missing");
	s = json_string_value(member.value);
	if (*s != '/')
		return sla_fail(&member, "must be an absolute path, is \"%s\"", sla_quote(s).text);
	for (const char *p = s; *p; p++)
		if ((uint8_t)*p < 0x20 || *p == 0x7f)
			return sla_fail(&member, "must not contain control characters");
	for (const char *p = strstr(s, "/.."); p; p = strstr(p + 1, "/.."))
		if (p[3] == '\0' || p[3] == '/')
			return sla_fail(
				&member, "must not lead upwards, is \"%s\"", sla_quote(s).text);
	return sla_string(at, key, SLA_PATH_MAX, ret);
}

/* A container that runs without its data is worse than none. Oakestra itself gives unikernels no
 * volumes, so descriptors for those may have some. */
static int parse_csi(const struct sla_at *csi, enum weft_virt virt)
{
	if (virt == WEFT_VIRT_UNIKERNEL)
		return 0;
	sla_fail(csi, "CSI volumes are not mounted by weft");
	return weft_err_hint(csi->doc->err, "name a directory of the node instead: \"host_path\"");
}

static int parse_volume(const struct sla_at *at, struct weft_sla_variant *v)
{
	struct sla_at csi, target = {at->doc, at, "mount_path", 0, NULL};
	int r = sla_check(at, &sla_volume_keys);
	struct weft_sla_volume *volume;

	if (r == 0 && sla_member(at, "csi_driver", &csi) && !sla_says(at, "host_path"))
		return parse_csi(&csi, v->virt);
	volume = &v->volumes[v->n_volumes++];
	if (r == 0)
		r = parse_path(at, "host_path", &volume->source);
	if (r == 0)
		r = parse_path(at, "mount_path", &volume->target);
	if (r < 0)
		return r;
	if (volume->target[strspn(volume->target, "/")] == '\0')
		return sla_fail(&target, "must not be the root itself");
	for (size_t i = 0; i + 1 < v->n_volumes; i++)
		if (strcmp(v->volumes[i].target, volume->target) == 0)
			return sla_fail(&target, "another volume is mounted at \"%s\" already",
				sla_quote(volume->target).text);
	volume->read_only = json_is_true(json_object_get(at->value, "read_only"));
	return 0;
}

static int parse_volumes(const struct sla_at *at, struct weft_sla_variant *v)
{
	struct sla_at list;
	size_t n;
	int r = 0;

	if (!sla_member(at, "volumes", &list) || json_array_size(list.value) == 0)
		return 0;
	n = json_array_size(list.value);
	if (n > SLA_VOLUMES_MAX)
		return sla_fail(&list, "must have at most %u entries, has %zu", SLA_VOLUMES_MAX, n);
	v->volumes = calloc(n, sizeof(*v->volumes));
	if (!v->volumes)
		return sla_no_memory(at->doc);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct sla_at item = sla_element(&list, i);

		r = parse_volume(&item, v);
	}
	return r;
}

/* --- all of it -----------------------------------------------------------------------------------
 */

int sla_parse_container(const struct sla_at *at, struct weft_sla_variant *v)
{
	int r = check_applies(at, v->virt);

	if (r == 0)
		r = parse_limits(at, v);
	if (r == 0)
		r = parse_user(at, v);
	if (r == 0)
		r = parse_capabilities(at, v);
	if (r == 0)
		r = parse_runtime(at, v);
	if (r == 0)
		r = parse_volumes(at, v);
	v->read_only = json_is_true(json_object_get(at->value, "read_only"));
	v->warm_start = sla_says(at, "warm_start")
				? json_is_true(json_object_get(at->value, "warm_start"))
				: -1;
	return r;
}

static int copy_volumes(
	const struct sla_doc *doc, struct weft_sla_variant *v, const struct weft_sla_variant *base)
{
	v->volumes = calloc(base->n_volumes, sizeof(*v->volumes));
	if (!v->volumes)
		return sla_no_memory(doc);
	for (size_t i = 0; i < base->n_volumes; i++) {
		struct weft_sla_volume *copy = &v->volumes[v->n_volumes++];

		copy->source = strdup(base->volumes[i].source);
		copy->target = strdup(base->volumes[i].target);
		copy->read_only = base->volumes[i].read_only;
		if (!copy->source || !copy->target)
			return sla_no_memory(doc);
	}
	return 0;
}

int sla_inherit_container(const struct sla_at *at, struct weft_sla_variant *v,
	const struct weft_sla_variant *base, bool same_images)
{
	int r = 0;

	if (!sla_says(at, "cpu_limit"))
		v->cpu_milli = base->cpu_milli;
	if (!sla_says(at, "cpu_weight"))
		v->cpu_weight = base->cpu_weight;
	if (!sla_says(at, "pids_limit"))
		v->pids = base->pids;
	if (!sla_says(at, "log_limit"))
		v->log_max_mb = base->log_max_mb;
	if (!same_images)
		return 0;
	if (!sla_says(at, "read_only"))
		v->read_only = base->read_only;
	if (!sla_says(at, "user") && base->user) {
		v->user = strdup(base->user);
		r = v->user ? 0 : sla_no_memory(at->doc);
	}
	if (r == 0 && !sla_says(at, "capabilities"))
		r = sla_copy_strings(at->doc, base->capabilities, &v->capabilities);
	if (r == 0 && !sla_says(at, "volumes") && base->n_volumes > 0)
		r = copy_volumes(at->doc, v, base);
	return r;
}

void sla_free_container(struct weft_sla_variant *v)
{
	for (size_t i = 0; i < v->n_volumes; i++) {
		free(v->volumes[i].source);
		free(v->volumes[i].target);
	}
	free(v->volumes);
	strv_free(v->capabilities);
	free(v->user);
	free(v->runtime);
}
