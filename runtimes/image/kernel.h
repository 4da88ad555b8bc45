/* SPDX-License-Identifier: Apache-2.0 */
/* Is a file a kernel that qemu can start with -kernel, and for which machine? Pure: looks at bytes
 * from outside and touches nothing else. */
#ifndef WEFT_RUNTIMES_IMAGE_KERNEL_H
#define WEFT_RUNTIMES_IMAGE_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"

enum weft_kernel_boot {
	WEFT_KERNEL_PVH,       /* amd64: ELF with a XEN_ELFNOTE_PHYS32_ENTRY note */
	WEFT_KERNEL_MULTIBOOT, /* amd64: multiboot 1 header in the first 8 KiB */
	WEFT_KERNEL_BZIMAGE,   /* amd64: Linux boot protocol */
	WEFT_KERNEL_ELF,       /* arm64: ELF */
	WEFT_KERNEL_IMAGE,     /* arm64: Linux Image */
	WEFT_KERNEL_BOOT_COUNT,
};

const char *weft_kernel_boot_name(enum weft_kernel_boot b);
int weft_kernel_boot_parse(const char *s); /* the enum or -EINVAL */

struct weft_kernel {
	enum weft_kernel_boot boot;
	bool old_netdev; /* knows netdev.ipv4_gw_addr=, as Unikraft did before 0.16 */
};

/* -EBADMSG: not a kernel, or a truncated one; -ENOTSUP: one for another machine. The message begins
 * with "kernel ", so that the caller may put the image's name before it. */
int weft_kernel_check(const void *data, size_t size, enum weft_arch arch, struct weft_kernel *ret,
	struct weft_err *err);

#endif
