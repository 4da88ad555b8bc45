/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte picks the reader: the whole image, a kernel alone, weft.json, or weft-unpack's
 * answer, of which the daemon is the reader. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctrl/base/cleanup.h"
#include "ctrl/base/util.h"
#include "runtimes/image/unpack.h"
#include "runtimes/image/unpack_result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void unpack(const uint8_t *data, size_t size)
{
	static const struct weft_unpack_limits limits = {.max_bytes = 1 << 20, .max_entries = 64};
	char path[] = "/dev/shm/weft-fuzz-image-XXXXXX";
	_cleanup_(closep) int in = memfd_create("image", MFD_CLOEXEC), dir = -1;
	struct weft_unpacked out;
	struct weft_err err;

	if (in < 0 || weft_write_all(in, data, size) < 0 || !mkdtemp(path))
		abort();
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		abort();
	(void)weft_unpack(in, dir, WEFT_ARCH_AMD64, &limits, &out, &err);
	if (weft_remove_tree(path) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weft_kernel kernel;
	struct weft_unpacked out;
	struct weft_hints hints;
	struct weft_err err = {};

	if (size == 0)
		return 0;
	switch (data[0] % 4) {
	case 0:
		unpack(data + 1, size - 1);
		break;
	case 1:
		(void)weft_kernel_check(data + 1, size - 1, WEFT_ARCH_AMD64, &kernel, &err);
		(void)weft_kernel_check(data + 1, size - 1, WEFT_ARCH_ARM64, &kernel, &err);
		break;
	case 2:
		(void)weft_hints_parse((const char *)data + 1, size - 1, &hints, &err);
		break;
	default:
		(void)weft_unpack_result_parse((const char *)data + 1, size - 1, &out, &err);
	}
	return 0;
}
