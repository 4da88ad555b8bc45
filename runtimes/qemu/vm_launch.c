/* SPDX-License-Identifier: Apache-2.0 */
/* Starting qemu for an instance: by booting, or from a checkpoint. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/checkpoint.h"
#include "runtimes/qemu/guest_config.h"
#include "runtimes/qemu/spawn.h"
#include "runtimes/qemu/vm.h"

/* The console's file, also qemu's stderr. Its first line says what the guest runs on. */
static int open_log(struct weft_vm *vm, const char *accel_text, int *ret, struct weft_err *err)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;

	fd = open(vm->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd < 0)
		return weft_err_set(err, errno, "log %s: %m", vm->log_path);
	dprintf(fd, "weft: %s: qemu %s on %s, %u vCPU, %u MiB%s\n", vm->id,
		weft_machine_name(vm->machine->machine), accel_text, vm->args.vcpus,
		vm->args.memory_mb, weft_vm_warm_remark(vm));
	vm->log_start = fstat(fd, &st) < 0 ? 0 : st.st_size;
	*ret = TAKE_FD(fd);
	return 0;
}

static int make_cgroup(struct weft_vm *vm, struct weft_err *err)
{
	/* A daemon killed between spawn and record has left a qemu that nobody else can find. */
	int r = weft_cgroup_destroy(vm->cgroup);

	if (r < 0)
		return weft_err_set(err, r, "cgroup %s: remove what is left in it: %s", vm->cgroup,
			strerror(-r));
	return weft_cgroup_create(vm->cgroup, &vm->limits, err);
}

static int spawn(struct weft_vm *vm, int monitor, int log, struct weft_err *err)
{
	_cleanup_(closep) int config = -1;
	const struct weft_qemu_spawn s = {
		.args = &vm->args,
		.image_dir = vm->image->dir,
		.netns = vm->netns,
		.cgroup = vm->cgroup,
		.monitor = monitor,
		.output = log,
		.taps = vm->taps,
	};
	struct weft_qemu_spawn with_config = s;
	int r;

	if (vm->args.config) {
		r = weft_guest_config_file(vm->id, &vm->net, &config);
		if (r < 0)
			return weft_err_set(err, r, "the guest's configuration: %s", strerror(-r));
	}
	with_config.config = config;
	return weft_qemu_spawn(&with_config, &vm->record.pid, &vm->pidfd, err);
}

static int write_record(struct weft_vm *vm, const char *shape, struct weft_err *err)
{
	struct weft_vm_record *rec = &vm->record;
	int r = weft_process_start_time(rec->pid, &rec->start_time);

	rec->image = strdup(vm->image_ref);
	rec->accel = strdup(vm->args.kvm ? "kvm" : "tcg");
	rec->machine = strdup(weft_machine_name(vm->machine->machine));
	rec->shape = strdup(shape);
	rec->powerdown = vm->machine->powerdown && vm->image->what.hints.powerdown > 0;
	if (!rec->image || !rec->accel || !rec->machine || !rec->shape)
		return weft_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = weft_vm_record_save(vm->rt->dir, vm->id, rec);
	return r < 0 ? weft_err_set(err, r, "record of qemu: %s", strerror(-r)) : 0;
}

static void accel_remark(
	const struct weft_vm *vm, const struct weft_accel_state *accel, char *buf, size_t size)
{
	if (vm->args.kvm)
		snprintf(buf, size, accel->kvm == WEFT_KVM_FULL ? "KVM" : "KVM (ring 3 only)");
	else if (vm->image->arch != WEFT_ARCH_AMD64)
		snprintf(buf, size, "TCG: for %s", weft_arch_name(vm->image->arch));
	else if (accel->kvm == WEFT_KVM_FULL)
		snprintf(buf, size, "TCG, as the image asks");
	else
		weft_accel_text(accel, buf, size);
}

static int begin_from(struct weft_vm *vm, const char *shape, struct weft_err *err)
{
	if (!vm->restore) {
		weft_vm_warm_begin(vm, shape);
		return 0;
	}
	vm->args.incoming = true;
	return weft_checkpoint_open(vm->restore, shape, &vm->restore_fd, err);
}

static int run(struct weft_vm *vm, const char *shape, const char *remark, struct weft_err *err)
{
	_cleanup_(closep) int monitor = -1, log = -1;
	int r;

	r = make_cgroup(vm, err);
	if (r < 0)
		return r;
	r = weft_qemu_listen(vm->dir, &monitor, &vm->record.qmp_path, err);
	if (r < 0)
		return r;
	r = open_log(vm, remark, &log, err);
	if (r == 0)
		r = spawn(vm, monitor, log, err);
	return r < 0 ? r : write_record(vm, shape, err);
}

static int launch(struct weft_vm *vm, const struct weft_accel_state *accel, struct weft_err *err)
{
	char remark[192], shape[WEFT_SHAPE_MAX];
	int r;

	if (!accel->installed && vm->image->arch == WEFT_ARCH_AMD64) {
		if (accel->why[0]) {
			weft_err_set(err, ENOTSUP, "%s %s", vm->machine->program, accel->why);
			return weft_err_hint(
				err, "%s --version; it is asked again", vm->machine->program);
		}
		weft_err_set(err, ENOTSUP, "%s is not installed", vm->machine->program);
		return weft_err_hint(err, "apt-get install %s", weft_qemu_package(vm->image->arch));
	}
	/* KVM runs guests of the host's own kind alone; what was probed is amd64's. */
	vm->args.kvm = vm->image->arch == weft_arch_host() && vm->image->arch == WEFT_ARCH_AMD64 &&
		       weft_accel_use_kvm(accel, &vm->image->what.hints);
	accel_remark(vm, accel, remark, sizeof(remark));
	weft_qemu_shape(&vm->args, accel->version, vm->image_ref, shape, sizeof(shape));
	r = begin_from(vm, shape, err);
	if (r == 0)
		r = run(vm, shape, remark, err);
	if (r < 0)
		return r;
	r = weft_process_watch(vm->rt->config.event, vm->pidfd, weft_vm_ended, vm, &vm->watch);
	if (r == 0)
		r = weft_vm_arm(vm, vm->rt->start_ms);
	if (r < 0)
		return weft_err_set(err, r, "watch qemu: %s", strerror(-r));
	log_debug("%s: qemu pid %d, %s on %s", vm->id, (int)vm->record.pid,
		weft_machine_name(vm->machine->machine), remark);
	return weft_vm_connect(vm, err);
}

static void on_accel(void *userdata, const struct weft_accel_state *state)
{
	weft_vm_launch(userdata, state);
}

int weft_vm_await_accel(struct weft_vm *vm)
{
	return weft_accel_ask(vm->rt->accel, on_accel, vm, &vm->ask);
}

void weft_vm_launch(struct weft_vm *vm, const struct weft_accel_state *accel)
{
	struct weft_runtime *rt = vm->rt;
	struct weft_err err = {};
	int r;

	vm->ask = NULL;
	vm->phase = VM_STARTING;
	r = launch(vm, accel, &err);
	if (r == 0)
		return;
	weft_err_prefix(&err, "instance %s", vm->id);
	weft_deferred_post(TAKE_PTR(vm->started), r, &err);
	weft_process_unwatch(TAKE_PTR(vm->watch));
	if (vm->pidfd >= 0) {
		siginfo_t si;

		pidfd_send_signal(vm->pidfd, SIGKILL, NULL, 0);
		while (waitid(P_PIDFD, (id_t)vm->pidfd, &si, WEXITED) < 0 && errno == EINTR)
			;
	}
	(void)weft_vm_clean(rt, vm->id, vm->record.qmp_path);
	weft_vm_free(vm);
}
