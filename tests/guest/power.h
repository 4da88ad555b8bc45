/* SPDX-License-Identifier: Apache-2.0 */
/* The power button. */
#ifndef WEFT_GUEST_POWER_H
#define WEFT_GUEST_POWER_H

#include <stdbool.h>

#include "args.h"

void power_init(const struct guest_args *args);

/* To be called when IRQ_POWER was seen. */
void power_interrupt(void);

/* The button has been pressed. */
bool power_pressed(void);

/* The machine ends. Without a way to do that, this returns. */
void power_off(void);

#endif
