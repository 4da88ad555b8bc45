/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the guest offer each other: console, memory, time; each architecture has its
 * own. One CPU, no threads: nothing here is called from an interrupt handler. */
#ifndef WEFT_GUEST_GUEST_H
#define WEFT_GUEST_GUEST_H

#include <stddef.h>
#include <stdint.h>

struct guest_args;

/* --- console.c: the first serial port --- */
void console_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Say why, tell qemu as the machine has ways to, and end. */
void panic(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* --- irq.c --- */
extern uint8_t irq_pending; /* bits of layout.h, set by the interrupt handlers */

void irq_init(void);

/* Deliver a line, edge-triggered. vector is one of layout.h. */
void irq_route(unsigned line, unsigned vector);

/* --- virtio_scan.c: add the devices that the command line does not tell of --- */
void virtio_scan(struct guest_args *args);

/* --- memory.c: what lies behind the program, handed out once and never given back --- */
/* boot is what the loader gave to boot.S. Returns the command line. */
const char *memory_init(const void *boot);

/* Zeroed by the machine. Panics if there is not so much. align is a power of two. */
void *memory_alloc(size_t size, size_t align);

/* --- clock.c: the CPU's counter of cycles, and a timer to wake up --- */
/* khz of cpu_cycles(); 0: find out. Needed before all else here. */
void clock_init(uint64_t khz);
uint64_t clock_khz(void);
uint32_t clock_ms(void); /* since clock_init(); wraps */

/* Interrupt (IRQ_TIMER) in ms milliseconds at the latest; earlier ones may come. */
void clock_wake_in(uint32_t ms);

/* To be called when IRQ_TIMER was seen. */
void clock_woken(void);

#endif
