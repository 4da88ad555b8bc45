/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line: its address, its own arguments, and behind " -- " the application's,
 * as Unikraft's kernels and the project's own guest read it. Pure. */
#ifndef WEFT_RUNTIMES_QEMU_CMDLINE_H
#define WEFT_RUNTIMES_QEMU_CMDLINE_H

#include "ctrl/base/err.h"
#include "runtimes/image/hints.h"
#include "runtimes/runtime.h"

#define WEFT_CMDLINE_MAX 4096

/* args and env are NULL or NULL-terminated; args NULL: the image's. *ret is malloc'ed. -EINVAL: a
 * word that no quoting can carry; -E2BIG. */
int weft_qemu_cmdline(const struct weft_hints *hints, const struct weft_runtime_net *net,
	const char *const *args, const char *const *env, char **ret, struct weft_err *err);

#endif
