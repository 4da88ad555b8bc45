/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the guest offer each other: console, memory, time. One CPU, no threads: nothing
 * here is called from an interrupt handler. */
#ifndef WEFT_GUEST_GUEST_H
#define WEFT_GUEST_GUEST_H

#include <stddef.h>
#include <stdint.h>

/* --- console.c: the first serial port --- */
void console_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Say why, tell qemu (pvpanic, isa-debug-exit at 0xf4), end in a triple fault. */
void panic(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Called by boot.S, in ring 0, for every exception but HLT's. */
void exception_report(uint64_t vector, uint64_t error, uint64_t rip, uint64_t rsp, uint64_t cr2);

/* --- memory.c: what lies behind the program, handed out once and never given back --- */
struct hvm_start_info;

/* Find the memory map. Returns the command line. Panics if this is no PVH boot. */
const char *memory_init(const struct hvm_start_info *info);

/* Zeroed by the machine. Panics if there is not so much. align is a power of two. */
void *memory_alloc(size_t size, size_t align);

/* --- clock.c: the TSC, and the local APIC's timer to wake up --- */
/* tsc_khz 0: find out. Also enables the local APIC. Needed before all else here. */
void clock_init(uint64_t tsc_khz);
uint64_t clock_tsc_khz(void);
uint32_t clock_ms(void); /* since clock_init(); wraps */

/* Interrupt (IRQ_TIMER) in ms milliseconds at the latest; earlier ones may come. */
void clock_wake_in(uint32_t ms);

/* To be called when IRQ_TIMER was seen. */
void clock_woken(void);

#endif
