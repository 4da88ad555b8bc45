/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"
#include "guest.h"

#define IOAPIC        0xfec00000u
#define IOAPIC_SELECT (IOAPIC + 0x00)
#define IOAPIC_WINDOW (IOAPIC + 0x10)
#define IOAPIC_PINS   24

void irq_init(void)
{
	/* The local APIC is the clock's. */
}

/* Fixed, to the only CPU. */
void irq_route(unsigned line, unsigned vector)
{
	if (line >= IOAPIC_PINS)
		panic("interrupt %u is beyond the IOAPIC", line);
	mmio_write(IOAPIC_SELECT, 0x10 + 2 * line + 1);
	mmio_write(IOAPIC_WINDOW, 0);
	mmio_write(IOAPIC_SELECT, 0x10 + 2 * line);
	mmio_write(IOAPIC_WINDOW, vector);
}
