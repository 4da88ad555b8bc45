/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI's generic event device, as hardware-reduced machines have it. There is no AML to read: the
 * command line says where it is. */
#include "power.h"

#include "cpu.h"
#include "guest.h"
#include "layout.h"

#define GED_SELECT 0x000 /* which events have come; reading takes them */
#define GED_SLEEP  0x200 /* sleep control, one byte */

#define EVENT_POWER_DOWN 2
#define SLEEP_S5         (0x20 | 5 << 2)
#define PATIENCE_MS      1000

static uintptr_t base;
static bool pressed;

void power_init(const struct guest_args *args)
{
	base = args->ged_base;
	if (base)
		irq_route(args->ged_irq, VECTOR_POWER);
}

void power_interrupt(void)
{
	if (base && mmio_read(base + GED_SELECT) & EVENT_POWER_DOWN)
		pressed = true;
}

bool power_pressed(void)
{
	return pressed;
}

void power_off(void)
{
	uint32_t since = clock_ms();

	if (!base)
		return;
	*(volatile uint8_t *)(base + GED_SLEEP) = SLEEP_S5;
	while (clock_ms() - since < PATIENCE_MS) /* qemu notes it, and goes on for a moment */
		cpu_relax();
}
