/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/image/fetch.h"
#include "runtimes/qemu/arm.h"
#include "runtimes/qemu/vm.h"

#define MAX_ID 76

struct weft_qemu_probe {
	struct weft_qemu_probe *prev, *next;
	struct weft_runtime *rt;
	struct weft_accel_ask *ask;
	struct weft_arm_probe *arm;
	struct weft_runtime_cap cap; /* for amd64 */
	weft_runtime_probed_t done;
	void *userdata;
};

/* --- life ----------------------------------------------------------------------------------------
 */

static void probe_free(struct weft_qemu_probe *p)
{
	if (p->next)
		p->next->prev = p->prev;
	if (p->prev)
		p->prev->next = p->next;
	else
		p->rt->probes = p->next;
	weft_accel_cancel(p->ask);
	weft_arm_probe_free(p->arm);
	free(p);
}

static void qemu_free(struct weft_runtime *rt)
{
	if (!rt)
		return;
	while (rt->vms) /* the processes go on */
		weft_vm_free(rt->vms);
	while (rt->probes)
		probe_free(rt->probes);
	weft_warm_free(rt->warm);
	weft_unikernel_store_free(rt->images);
	weft_accel_free(rt->accel);
	weft_deferred_drop_all(&rt->owed);
	sd_event_unref(rt->config.event);
	free(rt->dir);
	free(rt->cgroup_root);
	free(rt);
}
WEFT_DEFINE_CLEANUP(struct weft_runtime *, qemu_free);

static int qemu_new(
	const struct weft_runtime_config *config, struct weft_runtime **ret, struct weft_err *err)
{
	_cleanup_(qemu_freep) struct weft_runtime *rt = calloc(1, sizeof(*rt));
	_cleanup_(freep) char *dir = weft_strf("%s/qemu", config->state_dir), *images = NULL;
	int r;

	if (!rt || !dir)
		return weft_err_set(err, ENOMEM, "qemu: out of memory");
	rt->config = (struct weft_runtime_config){
		.event = sd_event_ref(config->event),
		.on_event = config->on_event,
		.userdata = config->userdata,
	};
	rt->start_ms = WEFT_VM_START_MS;
	rt->beat_ms = WEFT_VM_BEAT_MS;
	rt->hang_ms = WEFT_VM_HANG_MS;
	rt->dir = weft_strf("%s/instances", dir);
	rt->cgroup_root = strdup(config->cgroup_root ? config->cgroup_root : "weft");
	images = weft_strf("%s/images", dir);
	if (!rt->dir || !rt->cgroup_root || !images)
		return weft_err_set(err, ENOMEM, "qemu: out of memory");
	r = weft_mkdir_p(rt->dir, 0700);
	if (r < 0)
		return weft_err_set(err, r, "qemu: directory %s: %s", rt->dir, strerror(-r));
	weft_remove_leftovers(dir);
	weft_remove_leftovers(rt->dir);
	r = weft_accel_new(config->event, dir, config->libexec_dir, &rt->accel, err);
	if (r < 0)
		return r;
	r = weft_unikernel_store_new(config->event, images, config->libexec_dir, &rt->images, err);
	if (r < 0)
		return r;
	weft_fetcher_on_progress(
		weft_unikernel_fetcher(rt->images), config->on_progress, config->userdata);
	r = weft_fetcher_set_registries(weft_unikernel_fetcher(rt->images), config->registries);
	if (r < 0)
		return weft_err_set(err, r, "qemu: out of memory");
	r = weft_warm_new(config->event, rt->images, rt->cgroup_root, &rt->warm, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(rt);
	return 0;
}

void weft_qemu_set_warm_delay(struct weft_runtime *rt, unsigned ms)
{
	weft_warm_set_delay(rt->warm, ms);
}

void weft_qemu_set_warm_room(struct weft_runtime *rt, uint64_t max_bytes, uint64_t spare)
{
	weft_warm_set_room(rt->warm, max_bytes, spare);
}

void weft_qemu_set_timeouts(
	struct weft_runtime *rt, unsigned start_ms, unsigned beat_ms, unsigned hang_ms)
{
	rt->start_ms = start_ms ? start_ms : rt->start_ms;
	rt->beat_ms = beat_ms ? beat_ms : rt->beat_ms;
	rt->hang_ms = hang_ms ? hang_ms : rt->hang_ms;
}

/* --- probe and prepare ---------------------------------------------------------------------------
 */

static void answer(struct weft_qemu_probe *p, const struct weft_runtime_cap *arm)
{
	const struct weft_runtime_cap caps[] = {p->cap, arm ? *arm : p->cap};
	weft_runtime_probed_t done = p->done;
	void *whose = p->userdata;

	probe_free(p);
	done(whose, caps, arm ? 2 : 1);
}

static void on_arm(void *userdata, const struct weft_runtime_cap *cap)
{
	struct weft_qemu_probe *p = userdata;

	p->arm = NULL;
	answer(p, cap);
}

static void on_probed(void *userdata, const struct weft_accel_state *state)
{
	struct weft_qemu_probe *p = userdata;
	struct weft_runtime_cap *cap = &p->cap;
	char text[160];

	p->ask = NULL;
	*cap = (struct weft_runtime_cap){
		.virt = WEFT_VIRT_UNIKERNEL, .arch = WEFT_ARCH_AMD64, .usable = state->installed};
	if (state->installed) {
		snprintf(cap->version, sizeof(cap->version), "qemu %s", state->version);
		snprintf(cap->detail, sizeof(cap->detail), "%s",
			weft_accel_text(state, text, sizeof(text)));
	} else if (state->why[0]) {
		snprintf(cap->detail, sizeof(cap->detail), WEFT_QEMU_AMD64 " %s", state->why);
	} else {
		snprintf(cap->detail, sizeof(cap->detail),
			WEFT_QEMU_AMD64 " is not installed: apt-get install qemu-system-x86");
	}
	if (weft_arm_probe(p->rt->config.event, on_arm, p, &p->arm) < 0)
		answer(p, NULL);
}

static int qemu_probe(struct weft_runtime *rt, weft_runtime_probed_t done, void *userdata)
{
	struct weft_qemu_probe *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	*p = (struct weft_qemu_probe){
		.next = rt->probes, .rt = rt, .done = done, .userdata = userdata};
	if (p->next)
		p->next->prev = p;
	rt->probes = p;
	r = weft_accel_ask(rt->accel, on_probed, p, &p->ask);
	if (r < 0)
		probe_free(p);
	return r;
}

static int qemu_prepare(struct weft_runtime *rt, const char *image, enum weft_arch arch,
	weft_runtime_prepared_t done, void *userdata, struct weft_err *err)
{
	return weft_unikernel_prepare(rt->images, image, arch, done, userdata, err);
}

static int qemu_images(
	struct weft_runtime *rt, weft_runtime_images_t done, void *userdata, struct weft_err *err)
{
	struct weft_runtime_image *list = NULL;
	struct weft_deferred *d;
	unsigned n = 0;
	int r = weft_unikernel_list(rt->images, &list, &n);

	if (r == 0)
		r = weft_deferred_images(&rt->owed, rt->config.event, done, userdata, &d);
	if (r == 0)
		weft_deferred_post_images(d, 0, NULL, list, n);
	free(list);
	return r < 0 ? weft_err_set(err, r, "images of qemu: %s", strerror(-r)) : 0;
}

/* Unikraft's arguments have IPv4 alone, so an image has to say that it takes more. */
static bool qemu_image_ipv6(struct weft_runtime *rt, const char *ref)
{
	_cleanup_(weft_unikernel_freep) struct weft_unikernel *u = NULL;

	return weft_unikernel_load(rt->images, ref, &u, NULL) == 0 && u->what.hints.ipv6;
}

static int qemu_image_remove(struct weft_runtime *rt, const char *ref, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	struct weft_deferred *d;
	struct weft_err why = {};
	int r = weft_deferred_done(&rt->owed, rt->config.event, done, userdata, &d);

	if (r < 0)
		return weft_err_set(err, r, "image %s: %s", ref, strerror(-r));
	weft_warm_forget(rt->warm, ref);
	r = weft_unikernel_remove(rt->images, ref, &why);
	weft_deferred_post(d, r, &why);
	return 0;
}

/* --- start ---------------------------------------------------------------------------------------
 */

static int check_free(struct weft_runtime *rt, const char *id, struct weft_err *err)
{
	struct weft_vm_record rec = {};
	_cleanup_(closep) int pidfd = -1;
	int r;

	if (!weft_name_valid(id, MAX_ID))
		return weft_err_set(err, EINVAL, "not a valid id");
	if (weft_vm_find(rt, id))
		return weft_err_set(err, EEXIST, "runs already");
	if (weft_vm_record_load(rt->dir, id, &rec) < 0)
		return 0;
	r = weft_process_open(rec.pid, rec.start_time, &pidfd);
	weft_vm_record_done(&rec);
	if (r < 0)
		return 0;
	weft_err_set(err, EEXIST, "runs already, started by an earlier daemon");
	return weft_err_hint(err, "adopt it, or delete it first");
}

static int begin(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	_cleanup_(weft_vm_freep) struct weft_vm *vm = NULL;
	int r;

	r = check_free(rt, spec->id, err);
	if (r < 0)
		return r;
	r = weft_vm_new(rt, spec->id, VM_WAITING, &vm);
	if (r < 0)
		return weft_err_set(err, r, "out of memory");
	r = weft_vm_configure(vm, spec, err);
	if (r < 0)
		return r;
	r = weft_deferred_done(&rt->owed, rt->config.event, done, userdata, &vm->started);
	if (r == 0)
		r = weft_vm_await_accel(vm);
	if (r < 0)
		return weft_err_set(err, r, "%s", strerror(-r));
	TAKE_PTR(vm); /* rt's */
	return 0;
}

static int qemu_start(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	struct weft_err local = {};

	if (begin(rt, spec, done, userdata, &local) == 0)
		return 0;
	weft_err_prefix(&local, "instance %s", spec->id);
	if (err)
		*err = local;
	return -local.code;
}

/* --- adopt ---------------------------------------------------------------------------------------
 */

/* A vm for the process that a record names; -ENOENT when there is none (any more). */
static int find_process(
	struct weft_runtime *rt, const char *id, enum weft_vm_phase phase, struct weft_vm **ret)
{
	_cleanup_(weft_vm_freep) struct weft_vm *vm = NULL;
	int r;

	r = weft_vm_new(rt, id, phase, &vm);
	if (r < 0)
		return r;
	r = weft_vm_record_load(rt->dir, id, &vm->record);
	if (r == 0)
		r = weft_vm_attach(vm);
	if (r < 0)
		return r == -ESRCH || r == -EBADMSG ? -ENOENT : r;
	*ret = TAKE_PTR(vm);
	return 0;
}

static int qemu_adopt(struct weft_runtime *rt, const struct weft_runtime_spec *spec,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	struct weft_vm *vm = weft_name_valid(spec->id, MAX_ID) ? weft_vm_find(rt, spec->id) : NULL;
	struct weft_deferred *answer;
	struct weft_err why = {};
	int r;

	r = weft_deferred_done(&rt->owed, rt->config.event, done, userdata, &answer);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", spec->id, strerror(-r));
	if (vm) {
		r = vm->phase == VM_RUNNING ? 0 : -EBUSY;
		weft_deferred_post(answer, r, NULL);
		return 0;
	}
	r = weft_name_valid(spec->id, MAX_ID) ? find_process(rt, spec->id, VM_ADOPTING, &vm)
					      : -ENOENT;
	if (r < 0) {
		weft_err_set(&why, r, "instance %s: %s", spec->id,
			r == -ENOENT ? "its qemu is gone" : strerror(-r));
		weft_deferred_post(answer, r, &why);
		return 0;
	}
	vm->started = answer;
	vm->log_path = spec->log_path ? strdup(spec->log_path) : NULL;
	vm->log_max = spec->log_max_bytes;
	r = weft_vm_arm(vm, rt->hang_ms);
	if (r == 0)
		r = weft_vm_connect(vm, &why);
	else
		weft_err_set(&why, r, "timer: %s", strerror(-r));
	if (r == -ENOENT || r == -ECONNREFUSED) {
		weft_vm_lost(vm, &why);
	} else if (r < 0) { /* our trouble, not qemu's: try again later */
		weft_err_prefix(&why, "instance %s", spec->id);
		weft_deferred_post(TAKE_PTR(vm->started), r, &why);
		weft_vm_free(vm);
	}
	return 0;
}

/* --- end -----------------------------------------------------------------------------------------
 */

static int end(struct weft_runtime *rt, const char *id, unsigned grace_ms, bool clean,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	struct weft_deferred *answer;
	struct weft_vm *vm;
	int r;

	r = weft_deferred_done(&rt->owed, rt->config.event, done, userdata, &answer);
	if (r < 0)
		return weft_err_set(err, r, "instance %s: %s", id, strerror(-r));
	if (!weft_name_valid(id, MAX_ID)) {
		weft_deferred_post(answer, 0, NULL);
		return 0;
	}
	vm = weft_vm_find(rt, id);
	r = vm ? 0 : find_process(rt, id, VM_RUNNING, &vm);
	if (r == 0) {
		r = weft_vm_end(vm, grace_ms, answer);
		if (r == 0)
			return 0;
		weft_deferred_drop(answer);
		return weft_err_set(err, r, "instance %s: too many wait for its end already", id);
	}
	if (r == -ENOENT) /* no process that we know of; the cgroup may still hold one */
		r = clean ? weft_vm_clean(rt, id, NULL) : 0;
	if (r < 0) {
		weft_deferred_drop(answer);
		return weft_err_set(err, r, "instance %s: %s", id, strerror(-r));
	}
	weft_deferred_post(answer, 0, NULL);
	return 0;
}

static int qemu_stop(struct weft_runtime *rt, const char *id, unsigned grace_ms,
	weft_runtime_done_t done, void *userdata, struct weft_err *err)
{
	return end(rt, id, grace_ms, false, done, userdata, err);
}

static int qemu_delete(struct weft_runtime *rt, const char *id, weft_runtime_done_t done,
	void *userdata, struct weft_err *err)
{
	return end(rt, id, 0, true, done, userdata, err);
}

static int qemu_stats(struct weft_runtime *rt, const char *id, struct weft_runtime_stats *ret)
{
	struct weft_vm *vm = weft_vm_find(rt, id);
	struct weft_runtime_stats s = {};
	int r;

	if (!vm || vm->pidfd < 0)
		return -ENOENT;
	r = weft_cgroup_read(vm->cgroup, &s.cpu_ns, &s.memory_bytes);
	if (r < 0)
		return r;
	s.pid = (uint32_t)vm->record.pid;
	*ret = s;
	return 0;
}

const struct weft_runtime_ops weft_runtime_qemu = {
	.name = "qemu",
	.new_ = qemu_new,
	.free_ = qemu_free,
	.probe = qemu_probe,
	.prepare = qemu_prepare,
	.start = qemu_start,
	.adopt = qemu_adopt,
	.stop = qemu_stop,
	.delete_ = qemu_delete,
	.stats = qemu_stats,
	.pause = weft_vm_pause,
	.resume = weft_vm_resume,
	.kill = weft_vm_signal,
	.check = weft_vm_check,
	.checkpoint = weft_vm_checkpoint,
	.images = qemu_images,
	.image_remove = qemu_image_remove,
	.image_ipv6 = qemu_image_ipv6,
};
