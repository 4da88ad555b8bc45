/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of a few instructions, for tests that want a guest but not what it does. */
#ifndef WEFT_TESTS_LIB_KERNEL_H
#define WEFT_TESTS_LIB_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* A 64-bit ELF file with a PVH note whose entry is code, run in 32-bit protected mode without
 * paging. *ret is malloc'ed; out of memory aborts. */
void test_kernel_make(const void *code, size_t code_size, uint8_t **ret, size_t *ret_size);

/* Code for it. */
extern const uint8_t test_code_idle[];          /* halts for ever */
extern const uint8_t test_code_hello[];         /* says "K" on the serial line, then halts */
extern const uint8_t test_code_panic[];         /* panics through pvpanic */
extern const uint8_t test_code_reset[];         /* resets by a triple fault */
extern const uint8_t test_code_poweroff[];      /* powers off by ACPI, on pc and q35 */
extern const uint8_t test_code_slow_poweroff[]; /* the same, after a while */
extern const size_t test_code_slow_poweroff_size;
extern const uint8_t test_code_busy[];     /* never sleeps */
extern const uint8_t test_code_chatter[];  /* writes to the serial line for ever */
extern const uint8_t test_code_watchdog[]; /* starts an i6300esb and leaves it alone */
extern const size_t test_code_busy_size, test_code_chatter_size, test_code_watchdog_size;
extern const size_t test_code_idle_size, test_code_hello_size, test_code_panic_size,
	test_code_reset_size, test_code_poweroff_size;

#endif
