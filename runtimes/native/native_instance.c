/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/native/native_instance.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"

#define MAX_ID        76
#define LAST_WORDS_US 5000000ULL /* the log's writer has that long for them */

static void native_free(struct weft_native *inst)
{
	if (!inst)
		return;
	weft_process_unwatch(inst->watch);
	sd_event_source_disable_unref(inst->grace);
	sd_event_source_disable_unref(inst->patience);
	weft_process_unwatch(inst->log_watch);
	closep(&inst->log_pidfd);
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

char *weft_native_log_cgroup(const char *cgroup)
{
	return weft_strf("%s.log", cgroup);
}

static int destroy_cgroups(const char *cgroup)
{
	_cleanup_(freep) char *log = weft_native_log_cgroup(cgroup);
	int r = log ? weft_cgroup_destroy(cgroup) : -ENOMEM;

	return r < 0 ? r : weft_cgroup_destroy(log);
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
		r = destroy_cgroups(rec.cgroup);
		if (r < 0)
			return r;
	}
	r = destroy_cgroups(cgroup);
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

static void finish(struct weft_native *ended)
{
	_cleanup_(native_freep) struct weft_native *inst = ended;
	struct weft_runtime *rt = inst->rt;
	int r;

	/* Out of the list first: the callbacks may start it anew. */
	unlink_from_list(inst);
	r = weft_native_sweep(rt, inst->id);
	if (inst->log_watch) /* it would not end, and was killed */
		waitpid(inst->rec.log_pid, NULL, WNOHANG);
	if (inst->n_waiting == 0 && rt->on_event)
		report(rt, inst->id, inst->status, inst->oom);
	for (size_t i = 0; i < inst->n_waiting; i++)
		weft_deferred_post(inst->waiting[i], r, NULL);
}

static int on_patience(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	finish(userdata);
	return 0;
}

static void on_log_end(void *userdata, int status)
{
	struct weft_native *inst = userdata;

	(void)status;
	weft_process_unwatch(TAKE_PTR(inst->log_watch));
	if (inst->over)
		finish(inst);
}

/* What it forked ends with it; then its log has an end. */
static void on_end(void *userdata, int status)
{
	struct weft_native *inst = userdata;
	uint64_t kills = 0;

	weft_process_unwatch(TAKE_PTR(inst->watch));
	inst->over = true;
	inst->status = status;
	inst->oom = status == SIGKILL && weft_cgroup_oom_kills(inst->rec.cgroup, &kills) == 0 &&
		    kills > 0;
	if (!inst->log_watch || weft_cgroup_destroy(inst->rec.cgroup) < 0 ||
		sd_event_add_time_relative(inst->rt->event, &inst->patience, CLOCK_MONOTONIC,
			LAST_WORDS_US, 1000, on_patience, inst) < 0)
		finish(inst);
}

/* Watch a process; both descriptors are consumed in any case. */
static int take_over(struct weft_runtime *rt, const char *id, const struct weft_native_record *rec,
	int pidfd, int log_pidfd, struct weft_native **ret)
{
	_cleanup_(native_freep) struct weft_native *inst = calloc(1, sizeof(*inst));
	int r;

	if (!inst) {
		close(pidfd);
		closep(&log_pidfd);
		return -ENOMEM;
	}
	inst->rt = rt;
	inst->rec = *rec;
	inst->pidfd = pidfd;
	inst->log_pidfd = log_pidfd;
	inst->id = strdup(id);
	if (!inst->id)
		return -ENOMEM;
	r = weft_process_watch(rt->event, pidfd, on_end, inst, &inst->watch);
	if (r == 0 && log_pidfd >= 0)
		r = weft_process_watch(rt->event, log_pidfd, on_log_end, inst, &inst->log_watch);
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
	int r, pidfd, log_pidfd = -1;

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
	if (weft_native_record_open_log(&rec, &log_pidfd) < 0)
		log_pidfd = -1; /* it runs on without a log */
	return take_over(rt, id, &rec, pidfd, log_pidfd, ret);
}

int weft_native_add(struct weft_runtime *rt, const struct weft_native_new *n)
{
	_cleanup_(freep) char *record = NULL;
	struct weft_native_record rec;
	struct weft_native *inst;
	int r;

	r = record_path(rt, n->id, &record);
	if (r == 0)
		r = weft_native_record_of(n->pid, n->cgroup, n->log_pid, &rec);
	if (r == 0)
		r = weft_native_record_save(record, &rec);
	if (r < 0) {
		close(n->pidfd);
		if (n->log_pidfd >= 0)
			close(n->log_pidfd);
		return r;
	}
	return take_over(rt, n->id, &rec, n->pidfd, n->log_pidfd, &inst);
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
