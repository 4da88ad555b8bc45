/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/containerd/ctrd.h"
#include "runtimes/registry/http.h"

#define DEFAULT_SOCKET "/run/containerd/containerd.sock"

/* runc makes the parent group in every hierarchy there is, also in those that weft does not use,
 * and leaves it. With an instance in it, it cannot be removed, and stays. Only done when we end:
 * earlier it could vanish under a start that goes on. */
static void remove_parent_cgroups(const char *cgroup)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;

	while (f && (m = getmntent(f))) {
		_cleanup_(freep) char *path = strncmp(m->mnt_type, "cgroup", 6) == 0
						      ? weft_strf("%s/%s", m->mnt_dir, cgroup)
						      : NULL;

		if (path)
			(void)rmdir(path);
	}
	if (f)
		endmntent(f);
}

static void free_ops(struct ctrd_ops *ops)
{
	struct ctrd_op *op;

	while ((op = TAILQ_FIRST(ops)))
		ctrd_op_free(op);
}

static void ctrd_free(struct weft_runtime *rt)
{
	struct ctrd_instance *inst;

	if (!rt)
		return;
	free_ops(&rt->ops);
	free_ops(&rt->imports);
	free_ops(&rt->pulls);
	weft_http_free(rt->http);
	sd_event_source_disable_unref(rt->http_idle);
	free_ops(&rt->parked);
	ctrd_image_forget(rt, NULL);
	while ((inst = TAILQ_FIRST(&rt->instances)))
		ctrd_instance_free(inst);
	weft_grpc_cancel(rt->events);
	weft_grpc_free(rt->grpc);
	sd_event_source_disable_unref(rt->resync);
	sd_event_unref(rt->event);
	if (rt->cgroup_root)
		remove_parent_cgroups(rt->cgroup_root);
	free(rt->socket);
	free(rt->namespace_);
	free(rt->cgroup_root);
	free(rt->dir);
	free(rt->runc_dir);
	free(rt->runsc);
	free(rt->logger);
	free(rt->registries);
	ctrd_leases_free(rt);
	free(rt);
}
WEFT_DEFINE_CLEANUP(struct weft_runtime *, ctrd_free);

static int connect_grpc(struct weft_runtime *rt, struct weft_err *err)
{
	const char *metadata[] = {"containerd-namespace", rt->namespace_, NULL};
	const struct weft_grpc_config config = {
		.event = rt->event,
		.socket = rt->socket,
		.metadata = metadata,
		.on_connection = ctrd_on_connection,
		.userdata = rt,
	};
	int r = weft_grpc_new(&config, &rt->grpc);

	if (r < 0)
		return weft_err_set(err, r, "containerd socket %s: %s", rt->socket, strerror(-r));
	return 0;
}

static int copy_config(struct weft_runtime *rt, const struct weft_runtime_config *config)
{
	int r;

	rt->event = sd_event_ref(config->event);
	rt->on_event = config->on_event;
	rt->on_progress = config->on_progress;
	rt->userdata = config->userdata;
	rt->registries = config->registries ? strdup(config->registries) : NULL;
	if (config->registries && !rt->registries)
		return -ENOMEM;
	rt->socket = strdup(config->containerd ? config->containerd : DEFAULT_SOCKET);
	rt->namespace_ = strdup(config->ctrd_namespace ? config->ctrd_namespace : "weft");
	rt->cgroup_root = strdup(config->cgroup_root ? config->cgroup_root : "weft");
	rt->dir = weft_strf("%s/containerd", config->state_dir);
	/* Below /run/containerd/runc, where it would be otherwise, two daemons would meet. */
	rt->runc_dir = weft_strf("%s/containerd/runc", config->state_dir);
	rt->runsc = config->libexec_dir ? weft_strf("%s/weft-runsc", config->libexec_dir) : NULL;
	rt->logger = config->libexec_dir ? weft_strf("%s/weft-log", config->libexec_dir) : NULL;
	if (config->libexec_dir && (!rt->runsc || !rt->logger))
		return -ENOMEM;
	if (!rt->socket || !rt->namespace_ || !rt->cgroup_root || !rt->dir || !rt->runc_dir)
		return -ENOMEM;
	r = weft_mkdir_p(rt->dir, 0700);
	if (r < 0)
		return r;
	ctrd_import_init(rt);
	return ctrd_exec_init(rt);
}

static int ctrd_new(
	const struct weft_runtime_config *config, struct weft_runtime **ret, struct weft_err *err)
{
	_cleanup_(ctrd_freep) struct weft_runtime *rt = calloc(1, sizeof(*rt));
	int r;

	if (!rt)
		return weft_err_set(err, ENOMEM, "containerd: out of memory");
	TAILQ_INIT(&rt->ops);
	TAILQ_INIT(&rt->imports);
	TAILQ_INIT(&rt->pulls);
	TAILQ_INIT(&rt->parked);
	TAILQ_INIT(&rt->instances);
	TAILQ_INIT(&rt->images);
	r = copy_config(rt, config);
	if (r == 0)
		r = ctrd_watch_init(rt);
	if (r == 0)
		r = ctrd_pull_init(rt);
	if (r < 0)
		return weft_err_set(
			err, r, "containerd: set up %s: %s", config->state_dir, strerror(-r));
	r = connect_grpc(rt, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(rt);
	return 0;
}

const struct weft_runtime_ops weft_runtime_containerd = {
	.name = "containerd",
	.new_ = ctrd_new,
	.free_ = ctrd_free,
	.probe = ctrd_probe,
	.prepare = ctrd_prepare,
	.start = ctrd_start,
	.adopt = ctrd_adopt,
	.stop = ctrd_stop,
	.delete_ = ctrd_delete,
	.stats = ctrd_stats,
	.pause = ctrd_pause,
	.resume = ctrd_resume,
	.kill = ctrd_kill,
	.exec = ctrd_exec,
	.exec_end = ctrd_exec_end,
	.images = ctrd_images,
	.image_remove = ctrd_image_remove,
};
