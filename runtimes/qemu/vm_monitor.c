/* SPDX-License-Identifier: Apache-2.0 */
/* What qemu's monitor says about an instance, and what follows from it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/migrate.h"
#include "runtimes/qemu/vm.h"

#define DOOM_MS 2000 /* from the guest's end to qemu's */

static void tell(struct weft_vm *vm, enum weft_runtime_event event, const char *detail)
{
	const struct weft_runtime_config *c = &vm->rt->config;

	if (c->on_event)
		c->on_event(c->userdata, vm->id, event, detail);
}

void weft_vm_doom(struct weft_vm *vm, bool good, const char *why)
{
	if (!vm->fate[0]) {
		snprintf(vm->fate, sizeof(vm->fate), "%s", why);
		vm->fate_is_good = good;
	}
	if (!vm->ended && !vm->killed && vm->phase != VM_ENDING)
		(void)weft_vm_arm(vm, DOOM_MS);
}

/* In these states qemu stays, but the guest does not run again. */
static const struct {
	const char *status, *why;
} dead[] = {
	{"internal-error", "internal error: the accelerator could not run the guest's code"},
	{"io-error", "I/O error"},
	{"guest-panicked", "guest panicked"},
	{"watchdog", "guest's watchdog ran out"},
	{"shutdown", "guest shut down"},
};

static const struct {
	const char *reason, *why;
	bool good;
} shutdowns[] = {
	{"guest-shutdown", "guest shut down", true},
	{"guest-reset", "guest reset: a reboot or a triple fault", false},
	{"guest-panic", "guest panicked", false},
	{"host-signal", "qemu was told to end by a signal", false},
	{"host-qmp-quit", "qemu was told to quit", false},
	{"host-error", "qemu failed", false},
};

static void on_running(struct weft_vm *vm)
{
	bool resumed = vm->paused;

	vm->paused = false;
	vm->wants_paused = false;
	if (vm->phase != VM_RUNNING)
		weft_vm_runs(vm);
	else if (resumed)
		tell(vm, WEFT_RUNTIME_RESUMED, "resumed");
}

static void on_paused(struct weft_vm *vm)
{
	if (vm->phase == VM_STARTING || vm->paused)
		return;
	if (vm->phase == VM_ADOPTING)
		weft_vm_runs(vm);
	vm->paused = true;
	tell(vm, WEFT_RUNTIME_PAUSED, "paused");
}

static void on_continued(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	struct weft_vm *vm = userdata;

	(void)result;
	if (r < 0)
		log_debug("%s: %s", vm->id, err->msg);
	if (r < 0 && vm->phase != VM_ADOPTING)
		return;
	if (!vm->fate[0] && !vm->ended && vm->phase != VM_ENDING)
		weft_vm_query(vm);
}

/* qemu waits to be told to run the guest (-S), also when the daemon that started it was killed
 * before it could. */
static void on_prelaunch(struct weft_vm *vm)
{
	int r = weft_qmp_execute(vm->qmp, "cont", NULL, vm->rt->hang_ms, on_continued, vm);

	if (r < 0)
		log_debug("%s: cont: %s", vm->id, strerror(-r));
}

void weft_vm_status(struct weft_vm *vm, const char *status)
{
	if (vm->ended || vm->phase == VM_ENDING)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(dead); i++) {
		if (strcmp(status, dead[i].status) != 0)
			continue;
		weft_vm_doom(vm, false, dead[i].why);
		weft_vm_kill(vm);
		return;
	}
	if (vm->changing > 0)
		return;
	if (strcmp(status, "running") == 0)
		on_running(vm);
	else if (strcmp(status, "prelaunch") == 0)
		on_prelaunch(vm);
	else if (strcmp(status, "paused") == 0 || strcmp(status, "suspended") == 0 ||
		 strcmp(status, "postmigrate") == 0)
		on_paused(vm);
	/* else on its way to running: RESUME follows */
}

static void on_status(void *userdata, int r, const json_t *result, const struct weft_err *err)
{
	const char *status = json_string_value(json_object_get(result, "status"));
	struct weft_vm *vm = userdata;

	/* A connection that closed tells on_closed(); silence ends at the phase's deadline. */
	if (r < 0 || !status)
		log_debug("%s: query-status: %s", vm->id, r < 0 ? err->msg : "no status");
	else
		weft_vm_status(vm, status);
}

void weft_vm_query(struct weft_vm *vm)
{
	int r = vm->qmp ? weft_qmp_execute(
				  vm->qmp, "query-status", NULL, vm->rt->hang_ms, on_status, vm)
			: -ENOTCONN;

	if (r < 0 && r != -ENOTCONN)
		log_debug("%s: query-status: %s", vm->id, strerror(-r));
}

static void on_loaded(void *userdata, int r, const struct weft_err *err)
{
	struct weft_vm *vm = userdata;

	if (vm->ended || vm->phase != VM_STARTING)
		return;
	if (r == 0) {
		on_prelaunch(vm);
		return;
	}
	if (r == -ECONNRESET) /* qemu ends, and its last words say why */
		return;
	if (!vm->failure.code)
		weft_err_set(&vm->failure, r, "checkpoint %s: %s", vm->restore, err->msg);
	weft_vm_kill(vm);
}

/* A daemon that was killed while it made a checkpoint has left the guest standing. */
static void end_checkpoint(struct weft_vm *vm)
{
	vm->record.saving = false;
	(void)weft_vm_record_save(vm->rt->dir, vm->id, &vm->record);
	(void)weft_qmp_execute(vm->qmp, "migrate_cancel", NULL, vm->rt->hang_ms, NULL, NULL);
	on_prelaunch(vm);
}

static void on_ready(void *userdata)
{
	struct weft_vm *vm = userdata;
	int r;

	if (vm->phase == VM_STARTING && vm->restore_fd >= 0) {
		r = weft_migration_load(vm->rt->config.event, vm->qmp, vm->restore_fd,
			vm->args.ram != NULL, vm->rt->start_ms, on_loaded, vm, &vm->loading);
		if (r < 0)
			log_debug("%s: load: %s", vm->id, strerror(-r)); /* the deadline goes on */
		return;
	}
	if (vm->phase == VM_ADOPTING && vm->record.saving)
		end_checkpoint(vm);
	else
		weft_vm_query(vm);
}

static void on_event(void *userdata, const char *name, const json_t *data)
{
	const char *reason = json_string_value(json_object_get(data, "reason"));
	struct weft_vm *vm = userdata;

	if (strcmp(name, "GUEST_PANICKED") == 0) {
		weft_vm_doom(vm, false, "guest panicked");
		return;
	}
	if (strcmp(name, "SHUTDOWN") == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(shutdowns); i++)
			if (reason && strcmp(reason, shutdowns[i].reason) == 0) {
				weft_vm_doom(vm, shutdowns[i].good, shutdowns[i].why);
				return;
			}
		weft_vm_doom(vm, false, "guest was shut down");
		return;
	}
	/* A STOP may be a pause or the end: the status tells. */
	if ((strcmp(name, "STOP") == 0 || strcmp(name, "RESUME") == 0) && !vm->fate[0] &&
		!vm->ended && vm->phase != VM_ENDING)
		weft_vm_query(vm);
}

static void on_closed(void *userdata, int r, const struct weft_err *err)
{
	struct weft_vm *vm = userdata;

	weft_qmp_free(TAKE_PTR(vm->qmp));
	if (vm->lost_ns == 0)
		vm->lost_ns = weft_now_ns();
	if (vm->ended || r == -ECONNRESET) /* qemu ends: weft_vm_ended() goes on, or a deadline */
		return;
	log_debug("%s: %s", vm->id, err->msg);
	if (vm->phase == VM_STARTING) {
		if (!vm->failure.code)
			vm->failure = *err;
		weft_vm_kill(vm);
	} else if (vm->phase == VM_ADOPTING) {
		weft_vm_lost(vm, err);
	}
	/* A running guest serves on without its monitor: it is connected again (vm_beat.c). */
}

int weft_vm_connect(struct weft_vm *vm, struct weft_err *err)
{
	static const struct weft_qmp_callbacks callbacks = {on_ready, on_event, on_closed};
	return weft_qmp_connect(vm->rt->config.event, vm->record.qmp_path, vm->rt->hang_ms,
		&callbacks, vm, &vm->qmp, err);
}
