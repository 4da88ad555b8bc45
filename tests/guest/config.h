/* SPDX-License-Identifier: Apache-2.0 */
/* Who this guest is, as weft writes it into fw_cfg: read at start if weft.net=fw_cfg says so, and
 * again when it has become another text, which it does when a checkpoint is restored. */
#ifndef WEFT_GUEST_CONFIG_H
#define WEFT_GUEST_CONFIG_H

#include <stdbool.h>

#include "args.h"

/* Panics if args want the configuration and there is none. */
void config_init(const struct guest_args *args);

/* Is it another text than the last time? */
bool config_changed(void);

/* Let args follow the text; false: it says to wait. Panics if it makes no sense. */
bool config_take(struct guest_args *args);

#endif
