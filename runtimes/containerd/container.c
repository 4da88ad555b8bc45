/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a container: what was asked for, what the image says, and what this host allows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup_mounts.h"
#include "runtimes/containerd/ctrd.h"

#define MAX_NOFILE   1048576
#define SPEC_TYPE    "types.containerd.io/opencontainers/runtime-spec/1/Spec"
#define OPTIONS_TYPE "containerd.runc.v1.Options"

/* --- the wish ------------------------------------------------------------------------------------
 */

static char **copy_strings(const char *const *v)
{
	_cleanup_(strv_freep) char **copy = NULL;
	size_t n = 0;

	while (v[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = strdup(v[i]);
		if (!copy[i])
			return NULL;
	}
	return TAKE_PTR(copy);
}

static bool copy_string(char **ret, const char *s)
{
	*ret = s ? strdup(s) : NULL;
	return *ret || !s;
}

static bool copy_list(char ***ret, const char *const *v)
{
	*ret = v ? copy_strings(v) : NULL;
	return *ret || !v;
}

/* runc says "no such file" of a file of its own making; say which. */
static int check_mount(const struct weft_runtime_mount *m, struct weft_err *err)
{
	if (access(m->source, F_OK) == 0)
		return 0;
	weft_err_set(err, errno, "volume %s: %m", m->source);
	return weft_err_hint(err, "make it on the node, or correct host_path in the descriptor");
}

static int copy_mounts(
	struct ctrd_wish *w, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	w->mounts = calloc(spec->n_mounts + 1, sizeof(*w->mounts));
	if (!w->mounts)
		return weft_err_set(err, ENOMEM, "out of memory");
	for (unsigned i = 0; i < spec->n_mounts; i++) {
		struct weft_runtime_mount *m = &w->mounts[w->n_mounts++];
		int r = check_mount(&spec->mounts[i], err);

		if (r < 0)
			return r;
		m->source = strdup(spec->mounts[i].source);
		m->target = strdup(spec->mounts[i].target);
		m->read_only = spec->mounts[i].read_only;
		if (!m->source || !m->target)
			return weft_err_set(err, ENOMEM, "out of memory");
	}
	return 0;
}

int ctrd_wish_copy(struct ctrd_wish *w, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	w->arch = spec->arch;
	w->memory_mb = spec->memory_mb;
	w->vcpus = spec->vcpus;
	w->limits = spec->limits;
	w->read_only = spec->read_only;
	w->log_max_bytes = spec->log_max_bytes;
	if (!copy_string(&w->image, spec->image) || !copy_string(&w->log_path, spec->log_path) ||
		!copy_string(&w->netns, spec->net.netns) || !copy_string(&w->user, spec->user) ||
		!copy_list(&w->args, spec->args) || !copy_list(&w->env, spec->env) ||
		!copy_list(&w->capabilities, spec->capabilities))
		return weft_err_set(err, ENOMEM, "out of memory");
	return copy_mounts(w, spec, err);
}

void ctrd_wish_free(struct ctrd_wish *w)
{
	for (unsigned i = 0; i < w->n_mounts; i++) {
		free((char *)(uintptr_t)w->mounts[i].source); /* ours: copies */
		free((char *)(uintptr_t)w->mounts[i].target);
	}
	free(w->mounts);
	free(w->image);
	free(w->log_path);
	free(w->netns);
	free(w->user);
	strv_free(w->args);
	strv_free(w->env);
	strv_free(w->capabilities);
}

/* --- output --------------------------------------------------------------------------------------
 */

static char *escape(char *p, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._-~";

	for (; *text; text++) {
		if (strchr(plain, *text))
			*p++ = *text;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*text);
	}
	*p = '\0';
	return p;
}

/* The shim writes to a file by itself when given one, but rotates none; a program that it is given
 * gets the container's own pipes and lives as long as it. Either way nothing passes through us, so
 * nothing is lost while the daemon is away. */
char *ctrd_log_url(const struct weft_runtime *rt, const struct ctrd_wish *w)
{
	const char *logger = rt->logger ? rt->logger : "";
	char *url, *p;

	if (!w->log_path)
		return strdup("");
	url = malloc(64 + 3 * (strlen(logger) + strlen(w->log_path)));
	if (!url)
		return NULL;
	if (!rt->logger) {
		escape(stpcpy(url, "file://"), w->log_path);
		return url;
	}
	p = escape(stpcpy(url, "binary://"), logger);
	p = escape(stpcpy(p, "?path="), w->log_path);
	sprintf(p, "&max=%" PRIu64, w->log_max_bytes);
	return url;
}

/* --- specification -------------------------------------------------------------------------------
 */

/* runc sets the limit with containerd's rights, so containerd's own hard limit bounds it. */
static uint64_t nofile_limit(const struct weft_runtime *rt)
{
	pid_t containerd = weft_grpc_peer(rt->grpc);
	uint64_t max = MAX_NOFILE;
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_max < max)
		max = l.rlim_max;
	if (containerd > 0 && prlimit(containerd, RLIMIT_NOFILE, NULL, &l) == 0 && l.rlim_max < max)
		max = l.rlim_max;
	return max;
}

static bool cpu_is_v2(void)
{
	const struct weft_cgroup_hierarchy *h;
	struct weft_cgroup_mounts m;

	if (weft_cgroup_mounts_read(&m) < 0)
		return false;
	h = weft_cgroup_mounts_find(&m, WEFT_CGROUP_CPU);
	return h && h->v2;
}

static int make_spec(struct ctrd_op *op, const struct ctrd_wish *w,
	const struct weft_oci_process *image, Ctrd__Mount *const *rootfs, size_t n_rootfs,
	char **ret)
{
	_cleanup_(freep) char *cgroup = weft_strf("%s/%s", op->rt->cgroup_root, op->id);
	_cleanup_(strv_freep) char **env = ctrd_env(image->env, w->env, op->id);
	struct ctrd_process p = {
		.id = op->id,
		.cgroup = cgroup,
		.netns = w->netns,
		.args = w->args ? w->args : image->args,
		.env = env,
		.cwd = image->cwd,
		.capabilities = w->capabilities,
		.read_only = w->read_only,
		.mounts = w->mounts,
		.n_mounts = w->n_mounts,
		.recursive_ro = w->handler.recursive_ro,
		.memory_bytes = (uint64_t)w->memory_mb << 20,
		.cpu_milli = w->limits.cpu_milli ? w->limits.cpu_milli : w->vcpus * 1000,
		.cpu_weight = w->limits.cpu_weight,
		.pids = w->limits.pids,
		.cgroup2 = cpu_is_v2(),
		.nofile = nofile_limit(op->rt),
	};
	char *spec;
	int r;

	if (!p.args || !p.args[0]) {
		weft_err_set(&op->err, EINVAL, "instance %s: image %s does not say what to run",
			op->id, w->image);
		return weft_err_hint(&op->err, "give the service's descriptor a cmd");
	}
	r = ctrd_user_lookup(w->user ? w->user : image->user, rootfs, n_rootfs, &p.user, &op->err);
	if (r < 0)
		return weft_err_prefix(&op->err, "instance %s", op->id);
	spec = cgroup && env ? ctrd_spec(&p) : NULL;
	if (!spec)
		return weft_err_set(&op->err, EINVAL,
			"instance %s: its arguments, environment or volumes are not UTF-8", op->id);
	*ret = spec;
	return 0;
}

static uint8_t *pack_options(
	const struct weft_runtime *rt, const struct ctrd_handler *h, size_t *ret_size)
{
	Ctrd__RuncOptions o = CTRD__RUNC_OPTIONS__INIT;
	uint8_t *data;

	o.root = rt->runc_dir;
	o.binary_name = (char *)(uintptr_t)h->binary;
	data = malloc(ctrd__runc_options__get_packed_size(&o));
	if (data)
		*ret_size = ctrd__runc_options__pack(&o, data);
	return data;
}

/* --- record --------------------------------------------------------------------------------------
 */

static void send_container(struct ctrd_op *op, const struct ctrd_wish *w, const char *spec,
	uint8_t *options, size_t options_size, int stop_signal, ctrd_step_t next)
{
	static char instance_key[] = CTRD_INSTANCE_LABEL, signal_key[] = CTRD_STOP_SIGNAL_LABEL;
	static char spec_type[] = SPEC_TYPE, options_type[] = OPTIONS_TYPE;
	Ctrd__CreateContainerRequest q = CTRD__CREATE_CONTAINER_REQUEST__INIT;
	Ctrd__Label instance = CTRD__LABEL__INIT, stop = CTRD__LABEL__INIT;
	Ctrd__Label *labels[] = {&instance, &stop};
	Ctrd__Any any_spec = CTRD__ANY__INIT, any_options = CTRD__ANY__INIT;
	Ctrd__Container c = CTRD__CONTAINER__INIT;
	Ctrd__Runtime runtime = CTRD__RUNTIME__INIT;
	char number[16];

	snprintf(number, sizeof(number), "%d", stop_signal);
	instance.key = instance_key;
	instance.value = op->id;
	stop.key = signal_key;
	stop.value = number;
	any_spec.type_url = spec_type;
	any_spec.value.data = (uint8_t *)(uintptr_t)spec; /* only read */
	any_spec.value.len = strlen(spec);
	any_options.type_url = options_type;
	any_options.value.data = options;
	any_options.value.len = options_size;
	runtime.name = (char *)(uintptr_t)w->handler.runtime;
	runtime.options = options ? &any_options : NULL;
	c.id = op->id;
	c.labels = labels;
	c.n_labels = ARRAY_SIZE(labels);
	c.image = w->image;
	c.runtime = &runtime;
	c.spec = &any_spec;
	c.snapshotter = op->snapshots;
	c.snapshot_key = op->id;
	q.container = &c;
	ctrd_op_call(op, CTRD_CONTAINER_CREATE, &q.base, CTRD_QUICK_MS, next);
}

int ctrd_container_create(struct ctrd_op *op, const struct ctrd_wish *w,
	const struct weft_oci_image *image, Ctrd__Mount *const *rootfs, size_t n_rootfs,
	ctrd_step_t next)
{
	_cleanup_(freep) uint8_t *options = NULL;
	_cleanup_(freep) char *spec = NULL;
	size_t size = 0;
	int r;

	if (w->handler.runc) {
		options = pack_options(op->rt, &w->handler, &size);
		if (!options)
			return weft_err_set(&op->err, ENOMEM, "instance %s: out of memory", op->id);
	}
	r = make_spec(op, w, &image->process, rootfs, n_rootfs, &spec);
	if (r == 0)
		send_container(op, w, spec, options, size, image->process.stop_signal, next);
	return r;
}
