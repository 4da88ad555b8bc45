/* SPDX-License-Identifier: Apache-2.0 */
/* An instance's side of warm starts (warm.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/checkpoint.h"
#include "runtimes/qemu/migrate.h"
#include "runtimes/qemu/vm.h"

#define YOUNG_NS 10000000000ULL /* one that ends so soon may owe it to what it began from */

static bool wanted(const struct weft_vm *vm, const struct weft_runtime_spec *spec)
{
	enum weft_warm_hint hint = vm->image->what.hints.warm;

	/* qemu saves nobody who has mounted a directory of the host. */
	if (spec->restore || vm->args.n_mounts > 0 || hint == WEFT_WARM_NO)
		return false;
	return spec->warm_start == WEFT_WARM_START_ON ||
	       (spec->warm_start == WEFT_WARM_START_AUTO && hint == WEFT_WARM_YES);
}

int weft_vm_warm_configure(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	const struct weft_cmdline line = {
		.hints = &vm->image->what.hints,
		.id = vm->id,
		.args = spec->args,
		.env = spec->env,
		.machine = vm->machine,
		.n_virtio = weft_qemu_virtio_count(&vm->args),
	};

	vm->warm_asked = spec->warm_start == WEFT_WARM_START_ON;
	return wanted(vm, spec) ? weft_qemu_cmdline(&line, &vm->warm_line, err) : 0;
}

static struct weft_warm_want want(const struct weft_vm *vm, const char *shape)
{
	return (struct weft_warm_want){
		.image = vm->image_ref,
		.image_dir = vm->image->dir,
		.args = &vm->args,
		.shape = shape,
		.cmdline = vm->warm_line,
	};
}

/* Whatever is wrong with a checkpoint, booting is right; daemon's log and console say why. */
static void refused(struct weft_vm *vm, const char *why)
{
	log_warning("%s boots: %s", vm->id, why);
	snprintf(vm->warm_remark, sizeof(vm->warm_remark), ", booted: %.400s", why);
}

void weft_vm_warm_begin(struct weft_vm *vm, const char *shape)
{
	const struct weft_warm_want w = want(vm, shape);
	_cleanup_(freep) char *dir = NULL, *ram = NULL, *state = NULL;
	struct weft_err err = {};

	int r;

	if (!vm->warm_line)
		return;
	r = weft_warm_find(vm->rt->warm, &w, &dir, &err);
	if (r < 0) {
		if (r != -ENOENT)
			refused(vm, err.msg);
		return;
	}
	ram = weft_strf("%s/ram", dir);
	state = weft_strf("%s/state", dir);
	if (!ram || !state)
		return;
	if (weft_checkpoint_open(state, shape, &vm->restore_fd, &err) < 0) {
		refused(vm, err.msg);
		weft_warm_spoil(vm->rt->warm, dir);
		return;
	}
	vm->warm_dir = TAKE_PTR(dir);
	vm->warm_ram = TAKE_PTR(ram);
	vm->args.ram = vm->warm_ram;
	vm->args.incoming = true;
	vm->args.cmdline = vm->warm_line;
}

const char *weft_vm_warm_remark(const struct weft_vm *vm)
{
	if (vm->args.incoming)
		return ", from a checkpoint";
	if (vm->warm_remark[0])
		return vm->warm_remark;
	if (vm->warm_asked && !vm->warm_line)
		return vm->args.n_mounts > 0
			       ? ", booted: with a mount there is no start from a checkpoint"
			       : ", booted: the image cannot start from a checkpoint";
	return "";
}

void weft_vm_warm_runs(struct weft_vm *vm)
{
	const struct weft_warm_want w = want(vm, vm->record.shape);

	vm->runs_ns = weft_now_ns();
	if (vm->warm_line && !vm->warm_dir)
		weft_warm_make(vm->rt->warm, &w);
}

static void boot_after_all(struct weft_vm *vm)
{
	weft_migration_free(TAKE_PTR(vm->loading));
	weft_process_unwatch(TAKE_PTR(vm->watch));
	weft_vm_disarm(vm);
	weft_vm_record_done(&vm->record);
	closep(&vm->pidfd);
	closep(&vm->restore_fd);
	vm->pidfd = vm->restore_fd = -1;
	free(TAKE_PTR(vm->warm_dir));
	free(TAKE_PTR(vm->warm_ram));
	free(TAKE_PTR(vm->warm_line)); /* nor is another made for it */
	vm->args.ram = NULL;
	vm->args.incoming = false;
	vm->args.cmdline = vm->cmdline;
	vm->ended = vm->killed = false;
	vm->fate[0] = '\0';
	vm->failure = (struct weft_err){};
	vm->lost_ns = 0;
	vm->phase = VM_WAITING;
}

bool weft_vm_warm_ended(struct weft_vm *vm, const char *why)
{
	if (!vm->warm_dir)
		return false;
	if (vm->phase == VM_RUNNING && weft_now_ns() - vm->runs_ns < YOUNG_NS)
		weft_warm_spoil(vm->rt->warm, vm->warm_dir);
	if (vm->phase != VM_STARTING || !vm->started)
		return false;
	refused(vm, why);
	weft_warm_spoil(vm->rt->warm, vm->warm_dir);
	boot_after_all(vm);
	return true;
}
