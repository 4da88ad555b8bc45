/* SPDX-License-Identifier: Apache-2.0 */
/* What the assembler, the linker script and C must agree on. */
#ifndef WEFT_GUEST_LAYOUT_H
#define WEFT_GUEST_LAYOUT_H

#define TEXT_START 0x100000
#define STACK_SIZE 0x10000
#define DATA_START 0x210000 /* behind text (1 MiB at most) and stack */

#define VECTOR_NET      0x20
#define VECTOR_TIMER    0x21
#define VECTOR_POWER    0x22
#define VECTOR_SPURIOUS 0x2f

/* Bits of irq_pending: set by the interrupt handlers, cleared by the main loop. */
#define IRQ_NET   1
#define IRQ_TIMER 2
#define IRQ_POWER 4

#endif
