/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking a unikernel image that nobody vouches for. Runs in weft-unpack, without privileges; the
 * library part is separate so that it can be tested and fuzzed.
 *
 * An image is a tar archive (plain or compressed by gzip, xz or zstd) with, at the top level,
 *   kernel                           the kernel
 *   initramfs.cpio or initrd.cpio    optional, becomes `initrd`
 *   files/ or files1/                optional, for the guest as 9p share; files1 wins
 *   weft.json                        optional, hints.h
 *   unikraft/bin/kernel, initrd      the same, as kraft packs them
 * or a bare kernel file. Other entries are ignored. */
#ifndef WEFT_RUNTIMES_IMAGE_UNPACK_H
#define WEFT_RUNTIMES_IMAGE_UNPACK_H

#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"
#include "runtimes/image/hints.h"
#include "runtimes/image/kernel.h"

struct weft_unpack_limits {
	uint64_t max_bytes;   /* of all that is unpacked or skipped */
	unsigned max_entries; /* of the archive, and directories made for them */
};

struct weft_unpacked {
	enum weft_kernel_boot boot;
	bool initrd;
	const char *files; /* "files", "files1" or NULL */
	uint64_t bytes;
	struct weft_hints hints;
};

/* Unpack the image read from in (from its beginning) into the empty directory dir. On failure the
 * directory's content is to be thrown away. Errors begin with what is wrong ("entry 'a/../b' ...",
 * "kernel ..."): the caller puts the image's name before.
 * -EBADMSG: damaged, not an image, or refused for `..`, an absolute path, a link or a device;
 * -E2BIG: over a limit; -ENOTSUP: for another architecture. */
int weft_unpack(int in, int dir, enum weft_arch arch, const struct weft_unpack_limits *limits,
	struct weft_unpacked *ret, struct weft_err *err);

#endif
