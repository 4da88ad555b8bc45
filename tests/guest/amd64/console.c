/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "cpu.h"
#include "guest.h"

#define PORT_SERIAL      0x3f8
#define PORT_DEBUG_EXIT  0xf4
#define PORT_PVPANIC     0x505
#define PVPANIC_PANICKED 0x01

extern volatile uint8_t panicking; /* boot.S: the next exception is a triple fault */

/* No wait for the transmitter: qemu's is always ready, and asking costs an exit per character. */
static void console_write(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			cpu_out8(PORT_SERIAL, '\r');
		cpu_out8(PORT_SERIAL, (uint8_t)*s);
	}
}

void console_printf(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	console_write(line);
}

/* A port where nothing is reads as all ones. */
static void tell_qemu(void)
{
	uint8_t can = cpu_in8(PORT_PVPANIC);

	if (can != 0xff && can & PVPANIC_PANICKED)
		cpu_out8(PORT_PVPANIC, PVPANIC_PANICKED);
	cpu_out8(PORT_DEBUG_EXIT, 0x7f);
}

void panic(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	console_write("panic: ");
	console_write(line);
	console_write("\n");
	tell_qemu();
	panicking = true;
	__builtin_trap();
}

/* Called by boot.S, in ring 0, for every exception but HLT's. */
void exception_report(uint64_t vector, uint64_t error, uint64_t rip, uint64_t rsp, uint64_t cr2);

void exception_report(uint64_t vector, uint64_t error, uint64_t rip, uint64_t rsp, uint64_t cr2)
{
	console_printf("panic: exception %lu error %lx rip %lx rsp %lx cr2 %lx\n", vector, error,
		rip, rsp, cr2);
	tell_qemu();
}
