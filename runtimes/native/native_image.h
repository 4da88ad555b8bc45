/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_RUNTIMES_NATIVE_IMAGE_H
#define WEFT_RUNTIMES_NATIVE_IMAGE_H

#include <stdint.h>

#include "ctrl/base/err.h"
#include "ctrl/base/virt.h"

/* A native instance's image is a program: an absolute path or "file://" URL of an ELF executable
 * for arch, or of a script. *ret_path points into image. -ENOENT missing, -EBADMSG no executable,
 * -ENOTSUP for another architecture, -EINVAL another kind of reference. */
int weft_native_image_check(const char *image, enum weft_arch arch, const char **ret_path,
	uint64_t *ret_size, struct weft_err *err);

#endif
