/* SPDX-License-Identifier: Apache-2.0 */
/* qemu's command line: what each machine needs, and what every instance gets. */
#ifndef WEFT_RUNTIMES_QEMU_MACHINE_H
#define WEFT_RUNTIMES_QEMU_MACHINE_H

#include "ctrl/base/virt.h"
#include "runtimes/image/unikernel.h"

#define WEFT_QEMU_AMD64   "qemu-system-x86_64"
#define WEFT_QEMU_MICROVM "microvm,ioapic2=off,acpi=off,rtc=off,pit=off,pic=off"
/* Nested KVM may not know the MSR behind arch-capabilities, and `host` then aborts. */
#define WEFT_QEMU_KVM_CPU "host,-arch-capabilities"

#define WEFT_QEMU_MEMORY_MB   64  /* when the descriptor names none */
#define WEFT_QEMU_OVERHEAD_MB 384 /* what qemu itself may use beside the guest's memory */
#define WEFT_QEMU_USER        65534

struct weft_qemu_machine {
	enum weft_arch arch;
	enum weft_machine machine;
	const char *program;
	const char *options;    /* of -M */
	const char *net_device; /* -device, without the properties all have */
	const char *fs_device;
	const char *more[3]; /* further words */
	bool powerdown;      /* has a power button */
};

/* NULL: weft has no machine for it. */
const struct weft_qemu_machine *weft_qemu_machine(enum weft_arch arch, enum weft_machine machine);

/* Descriptors as the new process will see them. */
enum { WEFT_QEMU_MONITOR_FD = 3, WEFT_QEMU_TAP_FD = 4 };

struct weft_qemu_args {
	const char *id;
	const struct weft_qemu_machine *machine;
	const struct weft_unpacked *image;
	const char *cmdline; /* the kernel's */
	const char *log_path;
	uint32_t memory_mb, vcpus;
	bool kvm;
	bool tap; /* WEFT_QEMU_TAP_FD is there */
	uint8_t mac[6];
	uint16_t mtu;
	bool drop; /* root starts it: become WEFT_QEMU_USER before the guest runs */
};

/* qemu's argument vector, for the image's directory as working directory. *ret is owned by the
 * caller (strv_free). */
int weft_qemu_argv(const struct weft_qemu_args *args, char ***ret);

#endif
