/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/machine.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/qemu/guest_config.h"

#define MAX_WORDS 160

#define PC_DEVICES                                                                              \
	.program = WEFT_QEMU_AMD64, .tcg_cpu = "max",                                           \
	.kvm_cpu = WEFT_QEMU_KVM_CPU, /* Without romfile= it tries to boot from the network. */ \
		.net_device = "virtio-net-pci,romfile=", .fs_device = "virtio-9p-pci",          \
	.panic_device = "pvpanic", .watchdog = "i6300esb", .powerdown = true, .pci = true

#define MICROVM_DEVICES                                                             \
	.program = WEFT_QEMU_AMD64, .tcg_cpu = "max", .kvm_cpu = WEFT_QEMU_KVM_CPU, \
	.net_device = "virtio-net-device", .fs_device = "virtio-9p-device",         \
	.panic_device = "pvpanic", .more = {"-global", "virtio-mmio.force-legacy=false"}

static const struct weft_qemu_machine machines[] = {
	{
		.arch = WEFT_ARCH_AMD64,
		.machine = WEFT_MACHINE_MICROVM,
		.options = WEFT_QEMU_MICROVM ",acpi=off",
		MICROVM_DEVICES,
	},
	/* Its power button is ACPI's, and with ACPI qemu leaves telling of devices to its tables.
	 */
	{
		.arch = WEFT_ARCH_AMD64,
		.machine = WEFT_MACHINE_MICROVM,
		.options = WEFT_QEMU_MICROVM ",acpi=on",
		.powerdown = true,
		.mmio_at = 0xfeb00e00,
		.mmio_irq = 23,
		.power_arg = "ged.device=0xfea00000:9",
		MICROVM_DEVICES,
	},
	{
		.arch = WEFT_ARCH_AMD64,
		.machine = WEFT_MACHINE_Q35,
		.options = "q35,usb=off,vmport=off",
		PC_DEVICES,
	},
	{
		.arch = WEFT_ARCH_AMD64,
		.machine = WEFT_MACHINE_PC,
		.options = "pc,usb=off,vmport=off",
		PC_DEVICES,
	},
	{
		.arch = WEFT_ARCH_ARM64,
		.machine = WEFT_MACHINE_VIRT,
		.program = WEFT_QEMU_ARM64,
		.options = "virt,gic-version=3",
		/* Signing pointers as the architecture says takes half of TCG's time. */
		.tcg_cpu = "max,pauth-impdef=on",
		.kvm_cpu = "host",
		.net_device = "virtio-net-pci,romfile=",
		.fs_device = "virtio-9p-pci",
		.panic_device = "pvpanic-pci",
		.watchdog = "i6300esb",
		.powerdown = true,
		.pci = true,
	},
};

const struct weft_qemu_machine *weft_qemu_machine(
	enum weft_arch arch, enum weft_machine machine, bool powerdown)
{
	const struct weft_qemu_machine *found = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		if (machines[i].arch != arch || machines[i].machine != machine)
			continue;
		if (!found || machines[i].powerdown == powerdown)
			found = &machines[i];
	}
	return found;
}

const char *weft_qemu_program(enum weft_arch arch)
{
	return arch == WEFT_ARCH_ARM64 ? WEFT_QEMU_ARM64 : WEFT_QEMU_AMD64;
}

const char *weft_qemu_package(enum weft_arch arch)
{
	return arch == WEFT_ARCH_ARM64 ? "qemu-system-arm" : "qemu-system-x86";
}

struct words {
	char **v;
	unsigned n;
	bool failed;
};

static void __attribute__((format(printf, 2, 3))) add(struct words *w, const char *fmt, ...)
{
	va_list ap;

	if (w->n + 1 >= MAX_WORDS) {
		w->failed = true;
		return;
	}
	va_start(ap, fmt);
	if (vasprintf(&w->v[w->n], fmt, ap) < 0) {
		w->v[w->n] = NULL;
		w->failed = true;
	} else {
		w->n++;
	}
	va_end(ap);
}

static void add_all(struct words *w, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n && list[i]; i++)
		add(w, "%s", list[i]);
}

/* fmt has one %s for a path; in qemu's option lists a comma is written twice. */
static void add_path(struct words *w, const char *before, const char *path, const char *after)
{
	_cleanup_(freep) char *doubled = malloc(2 * strlen(path) + 1);
	char *p = doubled;

	if (!doubled) {
		w->failed = true;
		return;
	}
	for (; *path; path++) {
		*p++ = *path;
		if (*path == ',')
			*p++ = ',';
	}
	*p = '\0';
	add(w, "%s%s%s", before, doubled, after);
}

static void add_confinement(struct words *w, const struct weft_qemu_args *a)
{
	/* qemu opens what it needs as root and becomes nobody before the guest's first instruction.
	 * elevateprivileges=deny would forbid that change itself; without capabilities and with
	 * no_new_privs, which -sandbox sets, there is nothing left to elevate. */
	if (a->drop) {
		add(w, "-runas");
		add(w, "%d:%d", WEFT_QEMU_USER, WEFT_QEMU_USER);
	}
	add(w, "-sandbox");
	add(w, "on,obsolete=deny,spawn=deny,resourcecontrol=deny");
}

/* Memory has a name of ours wherever it is, as a checkpoint remembers it by name. */
static void add_memory(struct words *w, const struct weft_qemu_args *a)
{
	char before[96];

	add(w, "-m");
	add(w, "%uM", a->memory_mb);
	add(w, "-object");
	if (!a->ram) {
		add(w, "memory-backend-ram,id=ram,size=%uM", a->memory_mb);
		return;
	}
	snprintf(before, sizeof(before),
		"memory-backend-file,id=ram,size=%uM,share=%s,mem-path=", a->memory_mb,
		a->ram_shared ? "on" : "off");
	add_path(w, before, a->ram, "");
}

static void add_machine(struct words *w, const struct weft_qemu_args *a)
{
	add(w, "-M");
	add(w, "%s,memory-backend=ram", a->machine->options);
	add(w, "-accel");
	add(w, "%s", a->kvm ? "kvm" : "tcg,tb-size=128");
	add(w, "-cpu");
	add(w, "%s", a->kvm ? a->machine->kvm_cpu : a->machine->tcg_cpu);
	add(w, "-smp");
	add(w, "%u", a->vcpus);
	add_memory(w, a);
	add_all(w, a->machine->more, ARRAY_SIZE(a->machine->more));
}

static void add_console(struct words *w, const struct weft_qemu_args *a)
{
	add(w, "-chardev");
	add_path(w, "file,id=console,append=on,path=", a->log_path, "");
	add(w, "-serial");
	add(w, "chardev:console");
	add(w, "-chardev");
	add(w, "socket,id=monitor,fd=%d,server=on,wait=off", WEFT_QEMU_MONITOR_FD);
	add(w, "-mon");
	add(w, "chardev=monitor,mode=control");
}

/* "fd=4", or "fds=4:5:6" */
static void list_fds(char *buf, size_t size, const char *name, int first, unsigned n)
{
	size_t at = (size_t)snprintf(buf, size, "%sfd%s=%d", name, n > 1 ? "s" : "", first);

	for (unsigned i = 1; i < n && at < size; i++)
		at += (size_t)snprintf(buf + at, size - at, ":%d", first + (int)i);
}

static void add_net(struct words *w, const struct weft_qemu_args *a)
{
	char mtu[24] = "", mq[32] = "", fds[64], vhost[64] = "";
	int next = WEFT_QEMU_FIRST_FD;

	if (a->queues == 0)
		return;
	if (a->mtu && a->mtu != 1500)
		snprintf(mtu, sizeof(mtu), ",host_mtu=%u", a->mtu);
	list_fds(fds, sizeof(fds), "", next, a->queues);
	next += (int)a->queues;
	if (a->vhost)
		list_fds(vhost, sizeof(vhost), ",vhost", next, a->queues);
	add(w, "-netdev");
	add(w, "tap,id=n0,%s,vhost=%s%s", fds, a->vhost ? "on" : "off", vhost);
	/* One vector for each queue, and for control and configuration. */
	if (a->queues > 1 && a->machine->pci)
		snprintf(mq, sizeof(mq), ",mq=on,vectors=%u", 2 * a->queues + 2);
	else if (a->queues > 1)
		snprintf(mq, sizeof(mq), ",mq=on");
	add(w, "-device");
	add(w, "%s,netdev=n0,mac=%02x:%02x:%02x:%02x:%02x:%02x%s%s", a->machine->net_device,
		a->mac[0], a->mac[1], a->mac[2], a->mac[3], a->mac[4], a->mac[5], mtu, mq);
}

static void add_share(
	struct words *w, const struct weft_qemu_args *a, const char *tag, const char *path, bool ro)
{
	char before[48];

	snprintf(before, sizeof(before), "local,id=%s,path=", tag);
	add(w, "-fsdev");
	add_path(w, before, path, ro ? ",security_model=none,readonly=on" : ",security_model=none");
	add(w, "-device");
	add(w, "%s,fsdev=%s,mount_tag=%s", a->machine->fs_device, tag, tag);
}

/* The image's files, read-only and shared by all its instances, under both names that Oakestra
 * gives them; then what the descriptor mounts. */
static void add_shares(struct words *w, const struct weft_qemu_args *a)
{
	char tag[16];

	for (int i = 0; a->image->files && i < 2; i++) {
		snprintf(tag, sizeof(tag), "fs%d", i);
		add_share(w, a, tag, a->image->files, true);
	}
	for (unsigned i = 0; i < a->n_mounts; i++) {
		snprintf(tag, sizeof(tag), "m%u", i);
		add_share(w, a, tag, a->mounts[i].source, a->mounts[i].read_only);
	}
}

static void add_kernel(struct words *w, const struct weft_qemu_args *a)
{
	add(w, "-kernel");
	add(w, "kernel");
	if (a->image->initrd) {
		add(w, "-initrd");
		add(w, "initrd");
	}
	add(w, "-append");
	add(w, "%s", a->cmdline);
}

unsigned weft_qemu_virtio_count(const struct weft_qemu_args *a)
{
	return (a->queues > 0) + (a->image->files ? 2 : 0) + a->n_mounts;
}

int weft_qemu_argv(const struct weft_qemu_args *a, char ***ret)
{
	static const char *const plain[] = {"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none",
		/* Not before the monitor is there to say how a guest that ends at once ended. */
		"-S"};
	static const char *const incoming[] = {"-incoming", "defer",
		/* It would announce the MAC address of the guest it was saved from. */
		"-global", "migration.announce-rounds=0"};
	_cleanup_(strv_freep) char **v = calloc(MAX_WORDS, sizeof(*v));
	struct words w = {.v = v};

	if (!v)
		return -ENOMEM;
	add(&w, "%s", a->machine->program);
	add(&w, "-name");
	add(&w, "%s,debug-threads=on", a->id);
	add_all(&w, plain, ARRAY_SIZE(plain));
	if (a->incoming)
		add_all(&w, incoming, ARRAY_SIZE(incoming));
	add_confinement(&w, a);
	add_machine(&w, a);
	add_console(&w, a);
	add(&w, "-device");
	add(&w, "%s", a->machine->panic_device);
	if (a->image->hints.watchdog && a->machine->watchdog) {
		add(&w, "-device");
		add(&w, "%s", a->machine->watchdog);
		add(&w, "-action");
		add(&w, "watchdog=pause");
	}
	add_net(&w, a);
	add_shares(&w, a);
	if (a->config) {
		add(&w, "-fw_cfg");
		add(&w, "name=" WEFT_GUEST_CONFIG_NAME ",file=/dev/fd/%d",
			WEFT_QEMU_FIRST_FD + (int)(a->queues * (a->vhost ? 2 : 1)));
	}
	add_kernel(&w, a);
	if (w.failed)
		return -ENOMEM;
	*ret = TAKE_PTR(v);
	return 0;
}

void weft_qemu_shape(const struct weft_qemu_args *a, const char *version, const char *image,
	char *buf, size_t size)
{
	snprintf(buf, size,
		"qemu=%s accel=%s arch=%s machine=%s,powerdown=%d image=%s memory=%u vcpus=%u "
		"queues=%u mtu=%u config=%d mounts=%u",
		version, a->kvm ? "kvm" : "tcg", weft_arch_name(a->machine->arch),
		weft_machine_name(a->machine->machine), a->machine->powerdown, image, a->memory_mb,
		a->vcpus, a->queues, a->mtu ? (unsigned)a->mtu : 1500U, a->config, a->n_mounts);
}
