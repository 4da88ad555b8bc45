/* SPDX-License-Identifier: Apache-2.0 */
/* weft_runtime_qemu (runtimes/runtime.h): unikernels as qemu processes, by QMP.
 *
 * Below STATE/qemu: images/ (runtimes/image/unikernel.h), instances/ID.json (record.h), accel.json
 * (accel.h). In an instance's own directory: qmp.sock. Its cgroup is CGROUP_ROOT/ID. */
#ifndef WEFT_RUNTIMES_QEMU_QEMU_H
#define WEFT_RUNTIMES_QEMU_QEMU_H

#include "runtimes/runtime.h"

/* For tests: how long a start may take from spawn to a running guest, instead of 10 s. */
void weft_qemu_set_start_timeout(struct weft_runtime *rt, unsigned ms);

#endif
