/* SPDX-License-Identifier: Apache-2.0 */
/* Can guests for arm64 run here? Found out by running qemu with a guest of three instructions that
 * switches its machine off, under a time limit; on another machine's processor that is TCG. */
#ifndef WEFT_RUNTIMES_QEMU_ARM_H
#define WEFT_RUNTIMES_QEMU_ARM_H

#include <systemd/sd-event.h>

#include "runtimes/runtime.h"

struct weft_arm_probe;
/* Once, from the loop; cap lives until the callback returns. The probe is gone. */
typedef void (*weft_arm_known_t)(void *userdata, const struct weft_runtime_cap *cap);

/* On success the caller owns *ret. */
int weft_arm_probe(
	sd_event *event, weft_arm_known_t known, void *userdata, struct weft_arm_probe **ret);
void weft_arm_probe_free(struct weft_arm_probe *p); /* NULL is fine; nobody is answered then */

#endif
