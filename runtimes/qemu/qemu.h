/* SPDX-License-Identifier: Apache-2.0 */
/* weft_runtime_qemu (runtimes/runtime.h): unikernels as qemu processes, by QMP.
 *
 * Below STATE/qemu: images/ (runtimes/image/unikernel.h), instances/ID.json (record.h), accel.json
 * (accel.h). In an instance's own directory: qmp.sock. Its cgroup is CGROUP_ROOT/ID. */
#ifndef WEFT_RUNTIMES_QEMU_QEMU_H
#define WEFT_RUNTIMES_QEMU_QEMU_H

#include "runtimes/runtime.h"

/* For tests, instead of the times of vm.h; 0: as it is. */
void weft_qemu_set_timeouts(
	struct weft_runtime *rt, unsigned start_ms, unsigned beat_ms, unsigned hang_ms);
void weft_qemu_set_warm_delay(struct weft_runtime *rt, unsigned ms);
void weft_qemu_set_warm_room(struct weft_runtime *rt, uint64_t max_bytes, uint64_t spare);

#endif
