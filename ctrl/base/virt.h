/* SPDX-License-Identifier: Apache-2.0 */
/* The tuple <virtualization, architecture> (paper, section 3.2): what a variant of a service needs
 * and what a node offers. */
#ifndef WEFT_BASE_VIRT_H
#define WEFT_BASE_VIRT_H

enum weft_virt {
	WEFT_VIRT_CONTAINER, /* containerd and runc; Oakestra stores it as "docker" */
	WEFT_VIRT_GVISOR,    /* containerd and runsc */
	WEFT_VIRT_UNIKERNEL, /* qemu */
	WEFT_VIRT_NATIVE,    /* a process in a network namespace: the baseline */
	WEFT_VIRT_COUNT,
};

enum weft_arch {
	WEFT_ARCH_AMD64,
	WEFT_ARCH_ARM64,
	WEFT_ARCH_COUNT,
};

const char *weft_virt_name(enum weft_virt v);
const char *weft_arch_name(enum weft_arch a);
int weft_virt_parse(const char *s); /* the enum or -EINVAL; "docker" and "runsc" are understood */
int weft_arch_parse(const char *s); /* the enum or -EINVAL; "x86_64" and "aarch64" too */
enum weft_arch weft_arch_host(void);

#endif
