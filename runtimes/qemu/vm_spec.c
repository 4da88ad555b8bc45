/* SPDX-License-Identifier: Apache-2.0 */
/* From what start() is given to what launching needs. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "ctrl/base/util.h"
#include "runtimes/qemu/cmdline.h"
#include "runtimes/qemu/tap.h"
#include "runtimes/qemu/vm.h"

#define MAX_VCPUS     64
#define MIN_MEMORY_MB 8
#define OWN_TASKS     192 /* qemu's own threads and its pool, beside one for each vCPU */
#define MAX_TASKS     256

static int no_memory(struct weft_err *err)
{
	return weft_err_set(err, ENOMEM, "out of memory");
}

static int set_sizes(struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	struct weft_qemu_args *a = &vm->args;

	a->memory_mb = spec->memory_mb ? spec->memory_mb : WEFT_QEMU_MEMORY_MB;
	a->vcpus = spec->vcpus ? spec->vcpus : 1;
	if (a->memory_mb < MIN_MEMORY_MB)
		return weft_err_set(err, EINVAL,
			"%u MiB of memory are too few for a virtual machine", a->memory_mb);
	if (a->vcpus > MAX_VCPUS)
		return weft_err_set(err, EINVAL, "%u vCPUs are more than %d", a->vcpus, MAX_VCPUS);
	vm->limits = (struct weft_cgroup_limits){
		.memory_bytes = (uint64_t)(a->memory_mb + WEFT_QEMU_OVERHEAD_MB) << 20,
		.cpu_milli = spec->limits.cpu_milli,
		.cpu_weight = spec->limits.cpu_weight,
		.pids = MAX_TASKS + a->vcpus,
	};
	/* The guest's processes are no tasks of the host's: what is counted are qemu's threads, and
	 * with fewer than it needs it would abort. */
	if (spec->limits.pids)
		vm->limits.pids = spec->limits.pids > OWN_TASKS + a->vcpus ? spec->limits.pids
									   : OWN_TASKS + a->vcpus;
	return 0;
}

static int no_machine(enum weft_arch arch, const char *name, struct weft_err *err)
{
	weft_err_set(err, ENOTSUP, "there is no machine %s for %s", name, weft_arch_name(arch));
	return weft_err_hint(
		err, arch == WEFT_ARCH_ARM64 ? "arm64 has virt" : "amd64 has q35, pc and microvm");
}

static int choose_machine(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	const struct weft_hints *hints = &vm->image->what.hints;
	int machine = spec->machine ? weft_machine_parse(spec->machine) : (int)hints->machine;

	if (machine == WEFT_MACHINE_AUTO)
		machine = (int)hints->machine;
	vm->machine = machine < 0 ? NULL
				  : weft_qemu_machine(spec->arch, (enum weft_machine)machine,
					    hints->powerdown > 0);
	if (!vm->machine)
		return no_machine(spec->arch,
			spec->machine ? spec->machine : weft_machine_name(hints->machine), err);
	if (hints->watchdog && !vm->machine->watchdog)
		return weft_err_set(err, ENOTSUP,
			"machine %s has no watchdog, which the image wants",
			weft_machine_name(vm->machine->machine));
	return 0;
}

static int load_image(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	int r;

	if (!spec->image)
		return weft_err_set(err, EINVAL, "no image");
	r = weft_unikernel_load(vm->rt->images, spec->image, &vm->image, err);
	if (r < 0)
		return r;
	if (vm->image->arch != spec->arch)
		return weft_err_set(err, ENOTSUP, "image %s is for %s, not for %s", spec->image,
			weft_arch_name(vm->image->arch), weft_arch_name(spec->arch));
	return choose_machine(vm, spec, err);
}

static int copy_mounts(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	if (spec->n_mounts == 0)
		return 0;
	vm->mounts = calloc(spec->n_mounts, sizeof(*vm->mounts));
	if (!vm->mounts)
		return no_memory(err);
	vm->args.mounts = vm->mounts;
	for (unsigned i = 0; i < spec->n_mounts; i++) {
		const struct weft_runtime_mount *m = &spec->mounts[i];
		struct stat st;

		if (stat(m->source, &st) < 0)
			return weft_err_set(err, errno, "mount %s: %m", m->source);
		if (!S_ISDIR(st.st_mode)) {
			weft_err_set(err, ENOTDIR, "mount %s: not a directory", m->source);
			return weft_err_hint(
				err, "a virtual machine mounts directories: name the one it is in");
		}
		vm->mounts[i] = (struct weft_runtime_mount){
			strdup(m->source), strdup(m->target), m->read_only || spec->read_only};
		vm->args.n_mounts++;
		if (!vm->mounts[i].source || !vm->mounts[i].target)
			return no_memory(err);
	}
	return 0;
}

/* A queue for each vCPU, as far as the guest can use them. */
static int take_tap(struct weft_vm *vm, const struct weft_runtime_net *net, struct weft_err *err)
{
	unsigned n = vm->image->what.hints.queues;
	int r;

	if (net->tap_fd < 0)
		return 0;
	n = n > vm->args.vcpus ? vm->args.vcpus : n;
	n = n > WEFT_MAX_QUEUES ? WEFT_MAX_QUEUES : n > 0 ? n : 1;
	vm->taps[0] = fcntl(net->tap_fd, F_DUPFD_CLOEXEC, 3);
	if (vm->taps[0] < 0)
		return weft_err_set(err, errno, "descriptor of its tap device: %m");
	r = weft_tap_queues(vm->taps[0], n - 1, vm->taps + 1, err);
	if (r < 0)
		return r;
	vm->args.queues = n;
	return 0;
}

static int keep(struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	const struct weft_runtime_net *net = &spec->net;

	vm->image_ref = strdup(spec->image);
	vm->dir = strdup(spec->dir);
	vm->log_path = strdup(spec->log_path);
	vm->log_max = spec->log_max_bytes;
	vm->netns = net->netns ? strdup(net->netns) : NULL;
	vm->restore = spec->restore ? strdup(spec->restore) : NULL;
	if (!vm->image_ref || !vm->dir || !vm->log_path || (net->netns && !vm->netns) ||
		(spec->restore && !vm->restore))
		return no_memory(err);
	vm->net = *net;
	vm->net.netns = vm->net.ifname = NULL;
	vm->net.tap_fd = -1;
	vm->args.id = vm->id;
	vm->args.machine = vm->machine;
	vm->args.image = &vm->image->what;
	vm->args.log_path = vm->log_path;
	memcpy(vm->args.mac, net->mac, sizeof(vm->args.mac));
	vm->args.mtu = net->mtu;
	vm->args.config = vm->image->what.hints.warm != WEFT_WARM_NO;
	vm->args.drop = geteuid() == 0;
	return copy_mounts(vm, spec, err);
}

static int make_cmdline(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	const struct weft_cmdline line = {
		.hints = &vm->image->what.hints,
		.id = vm->id,
		.net = &spec->net,
		.args = spec->args,
		.env = spec->env,
		.mounts = vm->mounts,
		.n_mounts = vm->args.n_mounts,
		.machine = vm->machine,
		.n_virtio = weft_qemu_virtio_count(&vm->args),
	};
	int r;

	if (vm->machine->mmio_at && line.n_virtio > WEFT_QEMU_MMIO_MAX)
		return weft_err_set(err, E2BIG, "%u devices are more than the %d of a %s",
			line.n_virtio, WEFT_QEMU_MMIO_MAX, weft_machine_name(vm->machine->machine));
	r = weft_qemu_cmdline(&line, &vm->cmdline, err);
	vm->args.cmdline = vm->cmdline;
	return r;
}

int weft_vm_configure(
	struct weft_vm *vm, const struct weft_runtime_spec *spec, struct weft_err *err)
{
	int r;

	r = load_image(vm, spec, err);
	if (r == 0)
		r = set_sizes(vm, spec, err);
	if (r == 0)
		r = keep(vm, spec, err);
	if (r == 0)
		r = take_tap(vm, &spec->net, err);
	if (r == 0)
		r = make_cmdline(vm, spec, err);
	return r < 0 ? r : weft_vm_warm_configure(vm, spec, err);
}
