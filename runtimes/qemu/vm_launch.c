/* SPDX-License-Identifier: Apache-2.0 */
/* Starting qemu for an instance. Everything it needs is handed over open or named relative to its
 * working directory; no shell, no path of ours in an option list but the log's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctrl/base/log.h"
#include "ctrl/base/util.h"
#include "runtimes/cgroup.h"
#include "runtimes/qemu/tap.h"
#include "runtimes/qemu/vm.h"

#define SOCKET_NAME "qmp.sock"

/* The monitor's socket listens before qemu runs: we can connect at once instead of polling for it,
 * and qemu greets when it is ready. */
static int listen_in(const char *dir, int *ret, struct weft_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	_cleanup_(closep) int dirfd = -1, fd = -1;

	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return weft_err_set(err, errno, "directory %s: %m", dir);
	if (unlinkat(dirfd, SOCKET_NAME, 0) < 0 && errno != ENOENT)
		return weft_err_set(err, errno, "remove %s/" SOCKET_NAME ": %m", dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return weft_err_set(err, errno, "monitor socket: %m");
	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, dirfd);
	if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 4) < 0)
		return weft_err_set(err, errno, "monitor socket %s/" SOCKET_NAME ": %m", dir);
	*ret = TAKE_FD(fd);
	return 0;
}

/* The console's file, also qemu's stderr. Its first line says what the guest runs on. */
static int open_log(struct weft_vm *vm, const char *accel_text, int *ret, struct weft_err *err)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;

	fd = open(vm->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd < 0)
		return weft_err_set(err, errno, "log %s: %m", vm->log_path);
	dprintf(fd, "weft: %s: qemu %s on %s, %u vCPU, %u MiB\n", vm->id,
		weft_machine_name(vm->machine->machine), accel_text, vm->args.vcpus,
		vm->args.memory_mb);
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

/* Descriptors in the order that machine.h says. */
struct handed {
	int fds[1 + 2 * WEFT_MAX_QUEUES + 1];
	unsigned n;
	int vhost[WEFT_MAX_QUEUES];
};

static void handed_done(struct handed *h)
{
	for (unsigned i = 0; i < WEFT_MAX_QUEUES; i++)
		closep(&h->vhost[i]);
}

/* Under TCG the kernel's back-end has nobody to signal to. */
static int hand_over(struct weft_vm *vm, int monitor, struct handed *h, struct weft_err *err)
{
	int r;

	h->fds[h->n++] = monitor;
	for (unsigned i = 0; i < vm->args.queues; i++)
		h->fds[h->n++] = vm->taps[i];
	vm->args.vhost =
		vm->args.queues && vm->args.kvm && vm->machine->pci && weft_vhost_net_usable();
	if (!vm->args.vhost)
		return 0;
	r = weft_vhost_net_open(vm->args.queues, h->vhost, err);
	for (unsigned i = 0; r == 0 && i < vm->args.queues; i++)
		h->fds[h->n++] = h->vhost[i];
	return r;
}

static int spawn(struct weft_vm *vm, int monitor, int log, struct weft_err *err)
{
	_cleanup_(strv_freep) char **argv = NULL;
	_cleanup_(handed_done) struct handed h = {};
	struct weft_process_spec spec = {
		.cwd = vm->image->dir,
		.netns = vm->netns,
		.cgroup = vm->cgroup,
		.stdin_fd = -1,
		.stdout_fd = log,
		.stderr_fd = log,
		.fds = h.fds,
	};
	int r;

	memset(h.vhost, -1, sizeof(h.vhost));
	r = hand_over(vm, monitor, &h, err);
	if (r < 0)
		return r;
	spec.n_fds = h.n;
	r = weft_qemu_argv(&vm->args, &argv);
	if (r < 0)
		return weft_err_set(err, r, "qemu's arguments: %s", strerror(-r));
	spec.argv = (const char *const *)argv;
	return weft_process_spawn(&spec, &vm->record.pid, &vm->pidfd, err);
}

static void close_taps(struct weft_vm *vm)
{
	for (size_t i = 0; i < ARRAY_SIZE(vm->taps); i++) {
		closep(&vm->taps[i]);
		vm->taps[i] = -1;
	}
}

static int write_record(struct weft_vm *vm, struct weft_err *err)
{
	int r = weft_process_start_time(vm->record.pid, &vm->record.start_time);

	vm->record.image = strdup(vm->image_ref);
	vm->record.accel = strdup(vm->args.kvm ? "kvm" : "tcg");
	vm->record.machine = strdup(weft_machine_name(vm->machine->machine));
	vm->record.powerdown = vm->machine->powerdown && vm->image->what.hints.powerdown > 0;
	if (!vm->record.image || !vm->record.accel || !vm->record.machine)
		return weft_err_set(err, ENOMEM, "out of memory");
	if (r == 0)
		r = weft_vm_record_save(vm->rt->dir, vm->id, &vm->record);
	return r < 0 ? weft_err_set(err, r, "record of qemu: %s", strerror(-r)) : 0;
}

static void accel_remark(
	const struct weft_vm *vm, const struct weft_accel_state *accel, char *buf, size_t size)
{
	if (vm->args.kvm)
		snprintf(buf, size, accel->kvm == WEFT_KVM_FULL ? "KVM" : "KVM (ring 3 only)");
	else if (accel->kvm == WEFT_KVM_FULL)
		snprintf(buf, size, "TCG, as the image asks");
	else
		weft_accel_text(accel, buf, size);
}

static int launch(struct weft_vm *vm, const struct weft_accel_state *accel, struct weft_err *err)
{
	_cleanup_(closep) int monitor = -1, log = -1;
	char remark[192];
	int r;

	if (!accel->installed) {
		weft_err_set(err, ENOTSUP, "%s is not installed", vm->machine->program);
		return weft_err_hint(err, "apt-get install qemu-system-x86");
	}
	vm->args.kvm = weft_accel_use_kvm(accel, &vm->image->what.hints);
	accel_remark(vm, accel, remark, sizeof(remark));
	r = make_cgroup(vm, err);
	if (r < 0)
		return r;
	vm->record.qmp_path = weft_strf("%s/" SOCKET_NAME, vm->dir);
	if (!vm->record.qmp_path)
		return weft_err_set(err, ENOMEM, "out of memory");
	r = listen_in(vm->dir, &monitor, err);
	if (r < 0)
		return r;
	r = open_log(vm, remark, &log, err);
	if (r < 0)
		return r;
	r = spawn(vm, monitor, log, err);
	if (r < 0)
		return r;
	close_taps(vm);
	r = write_record(vm, err);
	if (r < 0)
		return r;
	r = weft_process_watch(vm->rt->config.event, vm->pidfd, weft_vm_ended, vm, &vm->watch);
	if (r < 0)
		return weft_err_set(err, r, "watch qemu: %s", strerror(-r));
	log_debug("%s: qemu pid %d, %s on %s", vm->id, (int)vm->record.pid,
		weft_machine_name(vm->machine->machine), remark);
	r = weft_vm_arm(vm, vm->rt->start_ms);
	if (r < 0)
		return weft_err_set(err, r, "timer: %s", strerror(-r));
	return weft_vm_connect(vm, err);
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
