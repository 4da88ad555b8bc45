/* SPDX-License-Identifier: Apache-2.0 */
#include "ctrl/base/virt.h"

#include <errno.h>
#include <string.h>

#include "ctrl/base/util.h"

static const char *const virts[] = {
	[WEFT_VIRT_CONTAINER] = "container",
	[WEFT_VIRT_GVISOR] = "gvisor",
	[WEFT_VIRT_UNIKERNEL] = "unikernel",
	[WEFT_VIRT_NATIVE] = "native",
};
_Static_assert(ARRAY_SIZE(virts) == WEFT_VIRT_COUNT, "a name for every virtualization");

static const char *const arches[] = {
	[WEFT_ARCH_AMD64] = "amd64",
	[WEFT_ARCH_ARM64] = "arm64",
};
_Static_assert(ARRAY_SIZE(arches) == WEFT_ARCH_COUNT, "a name for every architecture");

const char *weft_virt_name(enum weft_virt v)
{
	return v < WEFT_VIRT_COUNT ? virts[v] : "unknown";
}

const char *weft_arch_name(enum weft_arch a)
{
	return a < WEFT_ARCH_COUNT ? arches[a] : "unknown";
}

int weft_virt_parse(const char *s)
{
	for (int i = 0; i < WEFT_VIRT_COUNT; i++)
		if (strcmp(s, virts[i]) == 0)
			return i;
	if (strcmp(s, "docker") == 0 || strcmp(s, "runc") == 0)
		return WEFT_VIRT_CONTAINER;
	if (strcmp(s, "runsc") == 0)
		return WEFT_VIRT_GVISOR;
	return -EINVAL;
}

int weft_arch_parse(const char *s)
{
	for (int i = 0; i < WEFT_ARCH_COUNT; i++)
		if (strcmp(s, arches[i]) == 0)
			return i;
	if (strcmp(s, "x86_64") == 0)
		return WEFT_ARCH_AMD64;
	if (strcmp(s, "aarch64") == 0)
		return WEFT_ARCH_ARM64;
	return -EINVAL;
}

enum weft_arch weft_arch_host(void)
{
#if defined(__aarch64__)
	return WEFT_ARCH_ARM64;
#else
	return WEFT_ARCH_AMD64;
#endif
}
