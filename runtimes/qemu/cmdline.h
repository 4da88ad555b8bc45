/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line: its address, its own arguments, and behind " -- " the application's,
 * as Unikraft's kernels, the project's own guest, and Linux (for its init) read it. Pure. */
#ifndef WEFT_RUNTIMES_QEMU_CMDLINE_H
#define WEFT_RUNTIMES_QEMU_CMDLINE_H

#include "ctrl/base/err.h"
#include "runtimes/image/hints.h"
#include "runtimes/qemu/machine.h"
#include "runtimes/runtime.h"

#define WEFT_CMDLINE_MAX       4096
#define WEFT_CMDLINE_LINUX_MAX 2048 /* x86 reads no more, and says nothing */

struct weft_cmdline {
	const struct weft_hints *hints;
	const char *id;
	const struct weft_runtime_net *net;   /* NULL: it is told by fw_cfg (guest_config.h) */
	const char *const *args, *const *env; /* NULL or NULL-terminated; args NULL: the image's */
	const struct weft_runtime_mount *mounts;
	unsigned n_mounts;
	const struct weft_qemu_machine *machine;
	unsigned n_virtio; /* devices it is told of, where the machine needs that */
};

/* *ret is malloc'ed. -EINVAL: a word that no quoting can carry; -E2BIG. */
int weft_qemu_cmdline(const struct weft_cmdline *line, char **ret, struct weft_err *err);

#endif
