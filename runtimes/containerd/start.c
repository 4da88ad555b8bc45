/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"

#define MAX_NOFILE 1048576
#define SPEC_TYPE  "types.containerd.io/opencontainers/runtime-spec/1/Spec"

/* What containerd runs for a virtualization; more runtimes are more lines. */
static const struct handler {
	enum weft_virt virt;
	const char *runtime, *options_type, *binary;
} handlers[] = {
	{WEFT_VIRT_CONTAINER, "io.containerd.runc.v2", "containerd.runc.v1.Options", "runc"},
	/* Debian has no shim for runsc; runc's works with it. NULL: rt->runsc. */
	{WEFT_VIRT_GVISOR, "io.containerd.runc.v2", "containerd.runc.v1.Options", NULL},
};

struct start {
	struct ctrd_op op;
	const struct handler *handler;
	enum weft_arch arch;
	char *image, *log_path, *netns;
	char **args, **env; /* NULL: the image's own */
	uint32_t memory_mb, vcpus;

	char *manifest;
	size_t manifest_size;
	struct weft_oci_image *oci;
	Ctrd__PrepareSnapshotResponse *rootfs;
};

static struct start *start_of(struct ctrd_op *op)
{
	return (struct start *)op;
}

static void release(struct ctrd_op *op)
{
	struct start *s = start_of(op);

	free(s->image);
	free(s->log_path);
	free(s->netns);
	strv_free(s->args);
	strv_free(s->env);
	free(s->manifest);
	weft_oci_image_free(s->oci);
	if (s->rootfs)
		ctrd__prepare_snapshot_response__free_unpacked(s->rootfs, NULL);
}

/* --- task ----------------------------------------------------------------------------------------
 */

static void started(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct ctrd_instance *inst = ctrd_instance_find(op->rt, op->id);

	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_fail(op, res, "instance %s: start", op->id);
		ctrd_op_undo(op);
		return;
	}
	if (inst)
		ctrd_instance_release(inst); /* its end, if that came already, is told later */
	ctrd_op_finish(op, 0);
}

/* Wait is asked for before Start, so that no end is missed. */
static void task_created(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__CreateTaskResponse *m = (const Ctrd__CreateTaskResponse *)res->reply;
	Ctrd__TaskRequest q = CTRD__TASK_REQUEST__INIT;
	struct ctrd_instance *inst;

	if (!m) {
		ctrd_op_fail(op, res, "instance %s: create its task", op->id);
		ctrd_op_undo(op);
		return;
	}
	inst = ctrd_instance_add(op->rt, op->id, m->pid);
	if (!inst) {
		ctrd_op_undo(op);
		return;
	}
	ctrd_instance_watch(inst);
	q.container_id = op->id;
	ctrd_op_call(op, CTRD_TASK_START, &q.base, CTRD_TASK_MS, started);
}

/* The shim writes to a file by itself when given one as URL. */
static char *file_url(const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789/._-~";
	char *url = malloc(strlen("file://") + 3 * strlen(path) + 1), *p;

	if (!url)
		return NULL;
	p = stpcpy(url, "file://");
	for (const char *c = path; *c; c++) {
		if (strchr(plain, *c))
			*p++ = *c;
		else
			p += sprintf(p, "%%%02X", (unsigned char)*c);
	}
	*p = '\0';
	return url;
}

static void container_created(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__CreateTaskRequest q = CTRD__CREATE_TASK_REQUEST__INIT;
	_cleanup_(freep) char *log = NULL;
	struct start *s = start_of(op);

	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_fail(op, res, "instance %s: create its container", op->id);
		ctrd_op_undo(op);
		return;
	}
	log = s->log_path ? file_url(s->log_path) : strdup("");
	if (!log) {
		ctrd_op_undo(op);
		return;
	}
	q.container_id = op->id;
	q.rootfs = s->rootfs->mounts;
	q.n_rootfs = s->rootfs->n_mounts;
	q.out = log;
	q.err = log;
	ctrd_op_call(op, CTRD_TASK_CREATE, &q.base, CTRD_TASK_MS, task_created);
}

/* --- container -----------------------------------------------------------------------------------
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

static int make_spec(struct start *s, char **ret)
{
	_cleanup_(freep) char *cgroup = weft_strf("%s/%s", s->op.rt->cgroup_root, s->op.id);
	_cleanup_(strv_freep) char **env = NULL;
	const struct weft_oci_process *image = &s->oci->process;
	struct ctrd_process p = {
		.id = s->op.id,
		.cgroup = cgroup,
		.netns = s->netns,
		.args = s->args ? s->args : image->args,
		.cwd = image->cwd,
		.memory_bytes = (uint64_t)s->memory_mb << 20,
		.vcpus = s->vcpus,
		.nofile = nofile_limit(s->op.rt),
	};
	char *spec;
	int r;

	if (!p.args || !p.args[0]) {
		weft_err_set(&s->op.err, EINVAL, "instance %s: image %s does not say what to run",
			s->op.id, s->image);
		return weft_err_hint(&s->op.err, "give the service's descriptor a cmd");
	}
	r = ctrd_user_lookup(
		image->user, s->rootfs->mounts, s->rootfs->n_mounts, &p.uid, &p.gid, &s->op.err);
	if (r < 0)
		return weft_err_prefix(&s->op.err, "instance %s", s->op.id);
	p.env = env = ctrd_env(image->env, s->env, s->op.id);
	spec = cgroup && env ? ctrd_spec(&p) : NULL;
	if (!spec)
		return weft_err_set(&s->op.err, EINVAL,
			"instance %s: its arguments or environment are not UTF-8", s->op.id);
	*ret = spec;
	return 0;
}

static uint8_t *pack_options(const struct start *s, size_t *ret_size)
{
	Ctrd__RuncOptions o = CTRD__RUNC_OPTIONS__INIT;
	uint8_t *data;

	o.root = s->op.rt->runc_dir;
	o.binary_name =
		s->handler->binary ? (char *)(uintptr_t)s->handler->binary : s->op.rt->runsc;
	data = malloc(ctrd__runc_options__get_packed_size(&o));
	if (data)
		*ret_size = ctrd__runc_options__pack(&o, data);
	return data;
}

static void send_container(struct start *s, char *spec, uint8_t *options, size_t options_size)
{
	static char instance_key[] = CTRD_INSTANCE_LABEL, signal_key[] = CTRD_STOP_SIGNAL_LABEL;
	Ctrd__CreateContainerRequest q = CTRD__CREATE_CONTAINER_REQUEST__INIT;
	Ctrd__Label instance = CTRD__LABEL__INIT, stop = CTRD__LABEL__INIT;
	Ctrd__Label *labels[] = {&instance, &stop};
	Ctrd__Any any_spec = CTRD__ANY__INIT, any_options = CTRD__ANY__INIT;
	Ctrd__Container c = CTRD__CONTAINER__INIT;
	Ctrd__Runtime runtime = CTRD__RUNTIME__INIT;
	static char spec_type[] = SPEC_TYPE;
	char number[16];

	snprintf(number, sizeof(number), "%d", s->oci->process.stop_signal);
	instance.key = instance_key;
	instance.value = s->op.id;
	stop.key = signal_key;
	stop.value = number;
	any_spec.type_url = spec_type;
	any_spec.value.data = (uint8_t *)spec;
	any_spec.value.len = strlen(spec);
	any_options.type_url = (char *)(uintptr_t)s->handler->options_type;
	any_options.value.data = options;
	any_options.value.len = options_size;
	runtime.name = (char *)(uintptr_t)s->handler->runtime;
	runtime.options = &any_options;
	c.id = s->op.id;
	c.labels = labels;
	c.n_labels = ARRAY_SIZE(labels);
	c.image = s->image;
	c.runtime = &runtime;
	c.spec = &any_spec;
	c.snapshotter = s->op.rt->snapshotter;
	c.snapshot_key = s->op.id;
	q.container = &c;
	ctrd_op_call(&s->op, CTRD_CONTAINER_CREATE, &q.base, CTRD_QUICK_MS, container_created);
}

static void create_container(struct start *s)
{
	_cleanup_(freep) uint8_t *options = NULL;
	_cleanup_(freep) char *spec = NULL;
	size_t size = 0;

	options = pack_options(s, &size);
	if (!options || make_spec(s, &spec) < 0) {
		ctrd_op_undo(&s->op);
		return;
	}
	send_container(s, spec, options, size);
}

/* --- snapshot ------------------------------------------------------------------------------------
 */

static Ctrd__PrepareSnapshotResponse *copy_mounts(const ProtobufCMessage *m)
{
	size_t size = protobuf_c_message_get_packed_size(m);
	_cleanup_(freep) uint8_t *data = malloc(size + 1);

	if (!data)
		return NULL;
	protobuf_c_message_pack(m, data);
	return ctrd__prepare_snapshot_response__unpack(NULL, size, data);
}

static void exists(struct ctrd_op *op)
{
	weft_err_set(&op->err, EEXIST, "instance %s exists in containerd already", op->id);
	weft_err_hint(&op->err, "delete it first, or give the new one another name");
	ctrd_op_finish(op, -EEXIST);
}

static void got_snapshot(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct start *s = start_of(op);

	if (res->status == WEFT_GRPC_ALREADY_EXISTS) {
		exists(op);
		return;
	}
	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_fail(op, res, "instance %s: make its root file system", op->id);
		ctrd_op_undo(op);
		return;
	}
	s->rootfs = copy_mounts(res->reply);
	if (s->rootfs)
		create_container(s);
	else
		ctrd_op_undo(op);
}

/* Until the container refers to it, only the label keeps it from the garbage collector. */
static void prepare_snapshot(struct start *s)
{
	static char key[] = "containerd.io/gc.root", value[] = "weft";
	Ctrd__PrepareSnapshotRequest q = CTRD__PREPARE_SNAPSHOT_REQUEST__INIT;
	Ctrd__Label label = CTRD__LABEL__INIT, *labels = &label;

	label.key = key;
	label.value = value;
	q.snapshotter = s->op.rt->snapshotter;
	q.key = s->op.id;
	q.parent = s->oci->chain_id;
	q.labels = &labels;
	q.n_labels = 1;
	ctrd_op_call(&s->op, CTRD_SNAPSHOT_PREPARE, &q.base, CTRD_QUICK_MS, got_snapshot);
}

/* From here on all there is of that id is ours, and may be undone. */
static void looked(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	if (res->status == WEFT_GRPC_OK)
		exists(op);
	else if (res->status == WEFT_GRPC_NOT_FOUND)
		prepare_snapshot(start_of(op));
	else
		ctrd_op_finish(op, ctrd_op_fail(op, res, "instance %s: look for it", op->id));
}

static void look(struct start *s)
{
	Ctrd__ContainerIdRequest q = CTRD__CONTAINER_ID_REQUEST__INIT;

	q.id = s->op.id;
	ctrd_op_call(&s->op, CTRD_CONTAINER_GET, &q.base, CTRD_QUICK_MS, looked);
}

/* --- image ---------------------------------------------------------------------------------------
 */

static void fail_image(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	int r = ctrd_op_fail(op, res, "instance %s: image %s", op->id, start_of(op)->image);

	if (res->status == WEFT_GRPC_NOT_FOUND)
		weft_err_hint(&op->err, "the image was removed from containerd: deploy again");
	ctrd_op_finish(op, r);
}

static void got_config(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct start *s = start_of(op);
	char what[192];
	int r;

	if (res->status != WEFT_GRPC_OK) {
		fail_image(op, res);
		return;
	}
	snprintf(what, sizeof(what), "image %s", s->image);
	r = weft_oci_image_parse(what, NULL, s->manifest, s->manifest_size,
		op->text ? op->text : "", op->text_size, s->arch, &s->oci, &op->err);
	if (r < 0)
		ctrd_op_finish(op, r);
	else
		look(s);
}

static void got_manifest(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	struct weft_oci_descriptor config;
	struct start *s = start_of(op);
	int r;

	if (res->status != WEFT_GRPC_OK) {
		fail_image(op, res);
		return;
	}
	s->manifest = op->text ? TAKE_PTR(op->text) : strdup("");
	s->manifest_size = op->text_size;
	r = s->manifest ? weft_oci_manifest_config(
				  s->image, s->manifest, s->manifest_size, &config, &op->err)
			: -ENOMEM;
	if (r < 0)
		ctrd_op_finish(op, r);
	else
		ctrd_op_read(op, config.digest, got_config);
}

static void got_image(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	const Ctrd__ImageResponse *m = (const Ctrd__ImageResponse *)res->reply;

	if (!m || !m->image || !m->image->target)
		fail_image(op, res);
	else
		ctrd_op_read(op, m->image->target->digest, got_manifest);
}

static void got_snapshotter(struct ctrd_op *op, const struct weft_grpc_result *res)
{
	Ctrd__GetImageRequest q = CTRD__GET_IMAGE_REQUEST__INIT;

	if (res->status != WEFT_GRPC_OK) {
		ctrd_op_finish(op, ctrd_op_fail(op, res, "instance %s: start", op->id));
		return;
	}
	q.name = start_of(op)->image;
	ctrd_op_call(op, CTRD_IMAGE_GET, &q.base, CTRD_QUICK_MS, got_image);
}

/* --- entry ---------------------------------------------------------------------------------------
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

static const struct handler *find_handler(const struct weft_runtime *rt, enum weft_virt virt)
{
	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
		if (handlers[i].virt == virt)
			return handlers[i].binary || rt->runsc ? &handlers[i] : NULL;
	return NULL;
}

static int copy_spec(struct start *s, const struct weft_runtime_spec *spec)
{
	s->arch = spec->arch;
	s->memory_mb = spec->memory_mb;
	s->vcpus = spec->vcpus;
	s->image = strdup(spec->image);
	s->log_path = spec->log_path ? strdup(spec->log_path) : NULL;
	s->netns = spec->net.netns ? strdup(spec->net.netns) : NULL;
	s->args = spec->args ? copy_strings(spec->args) : NULL;
	s->env = spec->env ? copy_strings(spec->env) : NULL;
	return !s->image || (spec->log_path && !s->log_path) || (spec->net.netns && !s->netns) ||
			       (spec->args && !s->args) || (spec->env && !s->env)
		       ? -ENOMEM
		       : 0;
}

int ctrd_start(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	const struct handler *handler = find_handler(rt, spec->virt);
	struct ctrd_op *op;

	if (!handler)
		return weft_err_set(err, ENOTSUP, "instance %s: containerd cannot run a %s here",
			spec->id, weft_virt_name(spec->virt));
	if (!weft_name_valid(spec->id, CTRD_MAX_ID))
		return weft_err_set(err, EINVAL, "instance %s: not a valid name", spec->id);
	if (!spec->image)
		return weft_err_set(
			err, EINVAL, "instance %s: a container needs an image", spec->id);
	if (ctrd_instance_find(rt, spec->id))
		return weft_err_set(err, EEXIST, "instance %s runs already", spec->id);
	op = ctrd_op_new(rt, sizeof(struct start), spec->id);
	if (!op)
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", spec->id);
	op->done = done;
	op->userdata = userdata;
	op->release = release;
	start_of(op)->handler = handler;
	if (copy_spec(start_of(op), spec) < 0) {
		ctrd_op_free(op);
		return weft_err_set(err, ENOMEM, "instance %s: out of memory", spec->id);
	}
	ctrd_op_snapshotter(op, got_snapshotter);
	return 0;
}
