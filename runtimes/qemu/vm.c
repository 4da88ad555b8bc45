/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/vm.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/qemu/migrate.h"

#define KILL_MS    5000 /* a process that survives SIGKILL for this long hangs in the kernel */
#define QUIT_SHARE 4    /* of the grace: so much is left for qemu when its guest did not heed */

struct weft_vm *weft_vm_find(const struct weft_runtime *rt, const char *id)
{
	for (struct weft_vm *vm = rt->vms; vm; vm = vm->next)
		if (strcmp(vm->id, id) == 0)
			return vm;
	return NULL;
}

int weft_vm_new(
	struct weft_runtime *rt, const char *id, enum weft_vm_phase phase, struct weft_vm **ret)
{
	struct weft_vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return -ENOMEM;
	vm->rt = rt;
	vm->phase = phase;
	vm->pidfd = vm->restore_fd = -1;
	for (size_t i = 0; i < ARRAY_SIZE(vm->taps); i++)
		vm->taps[i] = -1;
	vm->next = rt->vms;
	if (vm->next)
		vm->next->prev = vm;
	rt->vms = vm;
	vm->id = strdup(id);
	vm->cgroup = weft_strf("%s/%s", rt->cgroup_root, id);
	if (!vm->id || !vm->cgroup) {
		weft_vm_free(vm);
		return -ENOMEM;
	}
	*ret = vm;
	return 0;
}

void weft_vm_free(struct weft_vm *vm)
{
	if (!vm)
		return;
	if (vm->next)
		vm->next->prev = vm->prev;
	if (vm->prev)
		vm->prev->next = vm->next;
	else
		vm->rt->vms = vm->next;
	weft_accel_cancel(vm->ask);
	weft_qmp_free(vm->qmp);
	weft_migration_free(vm->loading);
	weft_vm_calls_end(vm, "weftd ends");
	weft_vm_checkpoint_end(vm, "weftd ends");
	weft_process_unwatch(vm->watch);
	weft_log_rotate_free(vm->rotate);
	sd_event_source_disable_unref(vm->timer);
	sd_event_source_disable_unref(vm->beat);
	weft_deferred_drop(vm->started);
	for (unsigned i = 0; i < vm->n_waiters; i++)
		weft_deferred_drop(vm->waiters[i]);
	closep(&vm->pidfd);
	closep(&vm->restore_fd);
	for (size_t i = 0; i < ARRAY_SIZE(vm->taps); i++)
		closep(&vm->taps[i]);
	for (unsigned i = 0; i < vm->args.n_mounts; i++) {
		free((char *)(uintptr_t)vm->mounts[i].source);
		free((char *)(uintptr_t)vm->mounts[i].target);
	}
	free(vm->mounts);
	weft_unikernel_free(vm->image);
	weft_vm_record_done(&vm->record);
	free(vm->image_ref);
	free(vm->dir);
	free(vm->log_path);
	free(vm->netns);
	free(vm->restore);
	free(vm->warm_line);
	free(vm->warm_dir);
	free(vm->warm_ram);
	free(vm->cmdline);
	free(vm->cgroup);
	free(vm->id);
	free(vm);
}

int weft_vm_attach(struct weft_vm *vm)
{
	int r = weft_process_open(vm->record.pid, vm->record.start_time, &vm->pidfd);

	if (r < 0)
		return r;
	return weft_process_watch(vm->rt->config.event, vm->pidfd, weft_vm_ended, vm, &vm->watch);
}

int weft_vm_clean(struct weft_runtime *rt, const char *id, const char *qmp_path)
{
	_cleanup_(freep) char *cgroup = weft_strf("%s/%s", rt->cgroup_root, id);
	struct weft_vm_record rec = {};
	int r;

	if (!cgroup)
		return -ENOMEM;
	if (!qmp_path && weft_vm_record_load(rt->dir, id, &rec) == 0)
		qmp_path = rec.qmp_path;
	if (qmp_path)
		unlink(qmp_path);
	weft_vm_record_done(&rec);
	r = weft_cgroup_destroy(cgroup);
	/* The record goes last: as long as something is left, delete() can come back for it. */
	if (r == 0)
		weft_vm_record_remove(rt->dir, id);
	return r;
}

/* --- time ----------------------------------------------------------------------------------------
 */

void weft_vm_runs(struct weft_vm *vm)
{
	int r;

	weft_vm_disarm(vm);
	vm->phase = VM_RUNNING;
	vm->lost_ns = 0;
	if (vm->image) /* else adopted */
		weft_vm_warm_runs(vm);
	for (size_t i = 0; i < ARRAY_SIZE(vm->taps); i++) {
		closep(&vm->taps[i]); /* qemu has its own */
		vm->taps[i] = -1;
	}
	weft_deferred_post(TAKE_PTR(vm->started), 0, NULL);
	r = weft_vm_beat_start(vm);
	if (r == 0 && vm->log_max && vm->log_path)
		r = weft_log_rotate_new(
			vm->rt->config.event, vm->log_path, vm->log_max, 0, &vm->rotate);
	if (r < 0)
		log_warning("%s: runs, but is not watched: %s", vm->id, strerror(-r));
}

static void on_start_timeout(struct weft_vm *vm)
{
	if (!vm->failure.code)
		weft_err_set(&vm->failure, ETIMEDOUT,
			"qemu (pid %d) did not report a running guest in %u ms",
			(int)vm->record.pid, vm->rt->start_ms);
	weft_vm_kill(vm);
}

void weft_vm_lost(struct weft_vm *vm, const struct weft_err *why)
{
	if (!vm->failure.code)
		weft_err_set(&vm->failure, ENOENT, "qemu (pid %d) is there, but hangs: %s",
			(int)vm->record.pid, why->msg);
	weft_vm_kill(vm);
}

static void on_adopt_timeout(struct weft_vm *vm)
{
	struct weft_err err = {};

	weft_err_set(&err, ETIMEDOUT, "its monitor does not answer");
	weft_vm_lost(vm, &err);
}

/* Killed, and still there. Whoever waits is told; should it end after all, it is cleaned up. */
static void on_undead(struct weft_vm *vm)
{
	struct weft_err err = {};

	weft_err_set(&err, ETIMEDOUT, "instance %s: qemu (pid %d) does not end after SIGKILL",
		vm->id, (int)vm->record.pid);
	weft_err_hint(
		&err, "see /proc/%d/stack and dmesg for what it hangs in", (int)vm->record.pid);
	vm->phase = VM_ENDING;
	if (vm->started)
		weft_deferred_post(TAKE_PTR(vm->started), -ETIMEDOUT, &err);
	while (vm->n_waiters > 0)
		weft_deferred_post(vm->waiters[--vm->n_waiters], -ETIMEDOUT, &err);
}

/* The guest took no notice of the button: qemu itself is asked. */
static void on_no_powerdown(struct weft_vm *vm)
{
	unsigned ms = vm->quit_ms;

	vm->quit_ms = 0;
	if (weft_vm_arm(vm, ms) < 0)
		weft_vm_kill(vm);
	else if (!vm->qmp || weft_qmp_execute(vm->qmp, "quit", NULL, ms, NULL, NULL) < 0)
		pidfd_send_signal(vm->pidfd, SIGTERM, NULL, 0);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct weft_vm *vm = userdata;

	(void)source;
	(void)usec;
	if (vm->killed)
		on_undead(vm);
	else if (vm->fate[0]) /* qemu takes too long over its guest's end */
		weft_vm_kill(vm);
	else if (vm->phase == VM_STARTING)
		on_start_timeout(vm);
	else if (vm->phase == VM_ADOPTING)
		on_adopt_timeout(vm);
	else if (vm->quit_ms)
		on_no_powerdown(vm);
	else
		weft_vm_kill(vm);
	return 0;
}

int weft_vm_arm(struct weft_vm *vm, unsigned ms)
{
	int r;

	if (!vm->timer)
		return sd_event_add_time_relative(vm->rt->config.event, &vm->timer, CLOCK_MONOTONIC,
			ms * 1000ULL, 1000, on_timer, vm);
	r = sd_event_source_set_time_relative(vm->timer, ms * 1000ULL);
	if (r >= 0)
		r = sd_event_source_set_enabled(vm->timer, SD_EVENT_ONESHOT);
	return r;
}

void weft_vm_disarm(struct weft_vm *vm)
{
	if (vm->timer)
		sd_event_source_set_enabled(vm->timer, SD_EVENT_OFF);
}

/* --- ending --------------------------------------------------------------------------------------
 */

void weft_vm_kill(struct weft_vm *vm)
{
	if (vm->ended || vm->killed)
		return;
	vm->killed = true;
	if (pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0) < 0)
		log_debug("%s: kill qemu: %m", vm->id);
	(void)weft_vm_arm(vm, KILL_MS);
}

static void on_asked(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_vm *vm = userdata;

	(void)result;
	if (r < 0 && r != -ECONNRESET)
		log_debug("%s: %s", vm->id, err->msg);
}

/* The power button where the guest heeds one, and it then has the greater part of the grace; else
 * qemu itself is asked to end, as it is by SIGTERM when the monitor does not listen. */
static int ask_to_end(struct weft_vm *vm, unsigned grace_ms)
{
	const char *how = vm->record.powerdown ? "system_powerdown" : "quit";
	int r;

	vm->quit_ms = vm->record.powerdown ? grace_ms / QUIT_SHARE : 0;
	r = weft_vm_arm(vm, grace_ms - vm->quit_ms);
	if (r < 0)
		return r;
	/* A guest that is paused cannot look at its button. */
	if (vm->paused && vm->qmp)
		(void)weft_qmp_execute(vm->qmp, "cont", NULL, grace_ms, NULL, NULL);

	if (!vm->qmp || weft_qmp_execute(vm->qmp, how, NULL, grace_ms, on_asked, vm) < 0)
		pidfd_send_signal(vm->pidfd, SIGTERM, NULL, 0);
	return 0;
}

int weft_vm_end(struct weft_vm *vm, unsigned grace_ms, struct weft_deferred *waiter)
{
	bool starting = vm->phase == VM_STARTING, asked = vm->phase == VM_ENDING;
	struct weft_err err = {};

	if (vm->n_waiters == WEFT_VM_WAITERS)
		return -EBUSY;
	weft_err_set(&err, ECANCELED, "instance %s: stopped before it ran", vm->id);
	if (vm->started)
		weft_deferred_post(TAKE_PTR(vm->started), -ECANCELED, &err);
	if (vm->phase == VM_WAITING) {
		weft_deferred_post(waiter, 0, NULL);
		weft_vm_free(vm);
		return 0;
	}
	vm->waiters[vm->n_waiters++] = waiter;
	vm->phase = VM_ENDING;
	if (vm->ended || vm->killed)
		return 0;
	if (starting || grace_ms == 0 || (!asked && ask_to_end(vm, grace_ms) < 0))
		weft_vm_kill(vm);
	return 0;
}
