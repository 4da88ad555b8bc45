/* SPDX-License-Identifier: Apache-2.0 */
/* qemu's command line: what each machine needs, and what every instance gets. */
#ifndef WEFT_RUNTIMES_QEMU_MACHINE_H
#define WEFT_RUNTIMES_QEMU_MACHINE_H

#include "ctrl/base/virt.h"
#include "runtimes/image/unikernel.h"

#define WEFT_QEMU_AMD64   "qemu-system-x86_64"
#define WEFT_QEMU_ARM64   "qemu-system-aarch64"
#define WEFT_QEMU_MICROVM "microvm,ioapic2=off,rtc=off,pit=off,pic=off"
/* Nested KVM may not know the MSR behind arch-capabilities, and `host` then aborts. */
#define WEFT_QEMU_KVM_CPU "host,-arch-capabilities"

#define WEFT_QEMU_MEMORY_MB   64  /* when the descriptor names none */
#define WEFT_QEMU_OVERHEAD_MB 384 /* what qemu itself may use beside the guest's memory */
#define WEFT_QEMU_USER        65534
#define WEFT_QEMU_MMIO_MAX    8 /* devices that a microvm with a power button has room for */

struct weft_qemu_machine {
	enum weft_arch arch;
	enum weft_machine machine;
	const char *program;
	const char *options; /* of -M */
	const char *tcg_cpu, *kvm_cpu;
	const char *net_device; /* -device, without the properties all have */
	const char *fs_device, *panic_device;
	const char *watchdog;  /* NULL: none */
	const char *more[3];   /* further words */
	bool powerdown;        /* has a power button */
	bool pci;              /* else virtio-mmio */
	uint64_t mmio_at;      /* of the first virtio device, which the guest is told; ... */
	const char *power_arg; /* how the guest is told of the button; NULL: it need not be */
	unsigned mmio_irq;     /* ... each further one has the next lower; 0: qemu tells it */
};

/* NULL: weft has no machine for it. powerdown: wanted, where there is a choice. */
const struct weft_qemu_machine *weft_qemu_machine(
	enum weft_arch arch, enum weft_machine machine, bool powerdown);
/* The program for it, and Debian's package that has it. */
const char *weft_qemu_program(enum weft_arch arch);
const char *weft_qemu_package(enum weft_arch arch);

/* Descriptors as the new process will see them. The monitor's is followed by those of the tap's
 * queues, of vhost-net for each queue, and of the guest's configuration. */
enum { WEFT_QEMU_MONITOR_FD = 3, WEFT_QEMU_FIRST_FD };

struct weft_qemu_args {
	const char *id;
	const struct weft_qemu_machine *machine;
	const struct weft_unpacked *image;
	const char *cmdline; /* the kernel's */
	const char *log_path;
	uint32_t memory_mb, vcpus;
	bool kvm;
	unsigned queues; /* of its tap; 0: no network */
	bool vhost;
	uint8_t mac[6];
	uint16_t mtu;
	const struct weft_runtime_mount *mounts;
	unsigned n_mounts;
	bool config;     /* the guest is told things by fw_cfg (guest_config.h) */
	bool incoming;   /* waits to be told what to begin from */
	const char *ram; /* file that is its memory, NULL: none ... */
	bool ram_shared; /* ... and that it writes to; else it changes a copy of its own */
	bool drop;       /* root starts it: become WEFT_QEMU_USER before the guest runs */
};

/* Virtio devices that args asks for. */
unsigned weft_qemu_virtio_count(const struct weft_qemu_args *args);

/* All that has to be equal where a checkpoint is restored (checkpoint.h), in one line. image is its
 * reference. */
void weft_qemu_shape(const struct weft_qemu_args *args, const char *version, const char *image,
	char *buf, size_t size);

/* qemu's argument vector, for the image's directory as working directory. *ret is owned by the
 * caller (strv_free). */
int weft_qemu_argv(const struct weft_qemu_args *args, char ***ret);

#endif
