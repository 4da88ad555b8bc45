/* SPDX-License-Identifier: Apache-2.0 */
#include "runtimes/qemu/machine.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"

#define MAX_WORDS 80

static const struct weft_qemu_machine machines[] = {
	{
		.arch = WEFT_ARCH_AMD64,
		.machine = WEFT_MACHINE_MICROVM,
		.program = WEFT_QEMU_AMD64,
		.options = WEFT_QEMU_MICROVM,
		.net_device = "virtio-net-device",
		.fs_device = "virtio-9p-device",
		.more = {"-global", "virtio-mmio.force-legacy=false"},
	},
	{
		.arch = WEFT_ARCH_AMD64,
		.machine = WEFT_MACHINE_Q35,
		.program = WEFT_QEMU_AMD64,
		.options = "q35,usb=off,vmport=off",
		.net_device = "virtio-net-pci,romfile=", /* or it boots from the network first */
		.fs_device = "virtio-9p-pci",
		.powerdown = true,
	},
	{
		.arch = WEFT_ARCH_AMD64,
		.machine = WEFT_MACHINE_PC,
		.program = WEFT_QEMU_AMD64,
		.options = "pc,usb=off,vmport=off",
		.net_device = "virtio-net-pci,romfile=",
		.fs_device = "virtio-9p-pci",
		.powerdown = true,
	},
};

const struct weft_qemu_machine *weft_qemu_machine(enum weft_arch arch, enum weft_machine machine)
{
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++)
		if (machines[i].arch == arch && machines[i].machine == machine)
			return &machines[i];
	return NULL;
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

/* In qemu's option lists a comma is written twice. */
static char *double_commas(const char *s)
{
	char *out = malloc(2 * strlen(s) + 1), *p = out;

	if (!out)
		return NULL;
	for (; *s; s++) {
		*p++ = *s;
		if (*s == ',')
			*p++ = ',';
	}
	*p = '\0';
	return out;
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

static void add_console(struct words *w, const struct weft_qemu_args *a)
{
	_cleanup_(freep) char *log = double_commas(a->log_path);

	if (!log) {
		w->failed = true;
		return;
	}
	add(w, "-chardev");
	add(w, "file,id=console,path=%s,append=on", log);
	add(w, "-serial");
	add(w, "chardev:console");
	add(w, "-chardev");
	add(w, "socket,id=monitor,fd=%d,server=on,wait=off", WEFT_QEMU_MONITOR_FD);
	add(w, "-mon");
	add(w, "chardev=monitor,mode=control");
}

static void add_net(struct words *w, const struct weft_qemu_args *a)
{
	char mtu[24] = "";

	if (!a->tap)
		return;
	if (a->mtu && a->mtu != 1500)
		snprintf(mtu, sizeof(mtu), ",host_mtu=%u", a->mtu);
	add(w, "-netdev");
	add(w, "tap,id=n0,fd=%d,vhost=off", WEFT_QEMU_TAP_FD);
	add(w, "-device");
	add(w, "%s,netdev=n0,mac=%02x:%02x:%02x:%02x:%02x:%02x%s", a->machine->net_device,
		a->mac[0], a->mac[1], a->mac[2], a->mac[3], a->mac[4], a->mac[5], mtu);
}

/* The image's files, read-only and shared by all its instances, under both names that Oakestra
 * gives them. */
static void add_files(struct words *w, const struct weft_qemu_args *a)
{
	for (int i = 0; a->image->files && i < 2; i++) {
		add(w, "-fsdev");
		add(w, "local,id=fs%d,path=%s,security_model=none,readonly=on", i, a->image->files);
		add(w, "-device");
		add(w, "%s,fsdev=fs%d,mount_tag=fs%d", a->machine->fs_device, i, i);
	}
}

int weft_qemu_argv(const struct weft_qemu_args *a, char ***ret)
{
	static const char *const plain[] = {"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none",
		/* Not before the monitor is there to say how a guest that ends at once ended. */
		"-S"};
	_cleanup_(strv_freep) char **v = calloc(MAX_WORDS, sizeof(*v));
	struct words w = {.v = v};

	if (!v)
		return -ENOMEM;
	add(&w, "%s", a->machine->program);
	add(&w, "-name");
	add(&w, "%s,debug-threads=on", a->id);
	add_all(&w, plain, ARRAY_SIZE(plain));
	add_confinement(&w, a);
	add(&w, "-M");
	add(&w, "%s", a->machine->options);
	add(&w, "-accel");
	add(&w, "%s", a->kvm ? "kvm" : "tcg,tb-size=128");
	add(&w, "-cpu");
	add(&w, "%s", a->kvm ? WEFT_QEMU_KVM_CPU : "max");
	add(&w, "-m");
	add(&w, "%uM", a->memory_mb);
	add(&w, "-smp");
	add(&w, "%u", a->vcpus);
	add_console(&w, a);
	add_all(&w, a->machine->more, ARRAY_SIZE(a->machine->more));
	add(&w, "-device");
	add(&w, "pvpanic");
	add_net(&w, a);
	add_files(&w, a);
	add(&w, "-kernel");
	add(&w, "kernel");
	if (a->image->initrd) {
		add(&w, "-initrd");
		add(&w, "initrd");
	}
	add(&w, "-append");
	add(&w, "%s", a->cmdline);
	if (w.failed)
		return -ENOMEM;
	*ret = TAKE_PTR(v);
	return 0;
}
