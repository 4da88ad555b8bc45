/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/native/native_instance.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"

#define MAX_ID 76

static void native_free(struct weft_native *inst)
{
	if (!inst)
		return;
	weft_process_unwatch(inst->watch);
	sd_event_source_disable_unref(inst->grace);
	weft_log_rotate_free(inst->rotate);
	closep(&inst->pidfd);
	free(inst->waiting);
	free(inst->id);
	free(inst);
}
WEFT_DEFINE_CLEANUP(struct weft_native *, native_free);

struct weft_native *weft_native_find(struct weft_runtime *rt, const char *id)
{
	struct weft_native *inst = rt->instances;

	while (inst && strcmp(inst->id, id) != 0)
		inst = inst->next;
	return inst;
}

static void unlink_from_list(struct weft_native *inst)
{
	struct weft_native **at = &inst->rt->instances;

	while (*at != inst)
		at = &(*at)->next;
	*at = inst->next;
}

int weft_native_cgroup(struct weft_runtime *rt, const char *id, char **ret)
{
	char *path;

	if (!weft_name_valid(id, MAX_ID))
		return -EINVAL;
	path = weft_strf("%s/%s", rt->cgroup_root, id);
	if (!path)
		return -ENOMEM;
	*ret = path;
	return 0;
}

static int record_path(struct weft_runtime *rt, const char *id, char **ret)
{
	char *path;

	if (!weft_name_valid(id, MAX_ID))
		return -EINVAL;
	path = weft_strf("%s/%s.json", rt->dir, id);
	if (!path)
		return -ENOMEM;
	*ret = path;
	return 0;
}

int weft_native_sweep(struct weft_runtime *rt, const char *id)
{
	_cleanup_(freep) char *record = NULL, *cgroup = NULL;
	struct weft_native_record rec;
	int r;

	r = record_path(rt, id, &record);
	if (r == 0)
		r = weft_native_cgroup(rt, id, &cgroup);
	if (r < 0)
		return r;
	/* An earlier daemon may have had another cgroup root. */
	if (weft_native_record_load(record, &rec) == 0 && strcmp(rec.cgroup, cgroup) != 0) {
		r = weft_cgroup_destroy(rec.cgroup);
		if (r < 0)
			return r;
	}
	r = weft_cgroup_destroy(cgroup);
	if (r < 0)
		return r;
	/* Last, as it is what finds the rest again. */
	return unlink(record) < 0 && errno != ENOENT ? -errno : 0;
}

static void report(struct weft_runtime *rt, const char *id, int status, bool oom)
{
	char detail[64];

	weft_process_status_text(status, detail, sizeof(detail));
	if (oom)
		rt->on_event(rt->userdata, id, WEFT_RUNTIME_OOM, "killed for memory");
	rt->on_event(
		rt->userdata, id, status == 0 ? WEFT_RUNTIME_EXITED : WEFT_RUNTIME_FAILED, detail);
}

static void on_end(void *userdata, int status)
{
	_cleanup_(native_freep) struct weft_native *inst = userdata;
	struct weft_runtime *rt = inst->rt;
	uint64_t kills = 0;
	bool oom;
	int r;

	oom = status == SIGKILL && weft_cgroup_oom_kills(inst->rec.cgroup, &kills) == 0 &&
	      kills > 0;
	/* Out of the list first: the callbacks may start it anew. */
	unlink_from_list(inst);
	r = weft_native_sweep(rt, inst->id);
	if (inst->n_waiting == 0 && rt->on_event)
		report(rt, inst->id, status, oom);
	for (size_t i = 0; i < inst->n_waiting; i++)
		weft_deferred_post(inst->waiting[i], r, NULL);
}

/* Watch a process; pidfd is consumed in any case. */
static int take_over(struct weft_runtime *rt, const char *id, const struct weft_native_record *rec,
	int pidfd, struct weft_native **ret)
{
	_cleanup_(native_freep) struct weft_native *inst = calloc(1, sizeof(*inst));
	int r;

	if (!inst) {
		close(pidfd);
		return -ENOMEM;
	}
	inst->rt = rt;
	inst->rec = *rec;
	inst->pidfd = pidfd;
	inst->id = strdup(id);
	if (!inst->id)
		return -ENOMEM;
	r = weft_process_watch(rt->event, pidfd, on_end, inst, &inst->watch);
	if (r < 0)
		return r;
	inst->next = rt->instances;
	rt->instances = inst;
	*ret = TAKE_PTR(inst);
	return 0;
}

int weft_native_get(struct weft_runtime *rt, const char *id, struct weft_native **ret)
{
	_cleanup_(freep) char *record = NULL;
	struct weft_native *inst = weft_native_find(rt, id);
	struct weft_native_record rec;
	int r, pidfd;

	if (inst) {
		*ret = inst;
		return 0;
	}
	r = record_path(rt, id, &record);
	if (r < 0)
		return r;
	r = weft_native_record_load(record, &rec);
	if (r == -EBADMSG)
		return -ENOENT;
	if (r == 0)
		r = weft_native_record_open(&rec, &pidfd);
	if (r < 0)
		return r == -ESRCH ? -ENOENT : r;
	return take_over(rt, id, &rec, pidfd, ret);
}

int weft_native_add(
	struct weft_runtime *rt, const char *id, const char *cgroup, pid_t pid, int pidfd)
{
	_cleanup_(freep) char *record = NULL;
	struct weft_native_record rec;
	struct weft_native *inst;
	int r;

	r = record_path(rt, id, &record);
	if (r == 0)
		r = weft_native_record_of(pid, cgroup, &rec);
	if (r == 0)
		r = weft_native_record_save(record, &rec);
	if (r < 0) {
		close(pidfd);
		return r;
	}
	return take_over(rt, id, &rec, pidfd, &inst);
}

int weft_native_wait(struct weft_native *inst, struct weft_deferred *d)
{
	struct weft_deferred **more =
		reallocarray(inst->waiting, inst->n_waiting + 1, sizeof(struct weft_deferred *));

	if (!more)
		return -ENOMEM;
	inst->waiting = more;
	inst->waiting[inst->n_waiting++] = d;
	return 0;
}

void weft_native_free_all(struct weft_runtime *rt)
{
	for (struct weft_native *inst = rt->instances, *next; inst; inst = next) {
		next = inst->next;
		native_free(inst);
	}
	rt->instances = NULL;
}
