/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions that C has no words for. All of them work in ring 3 here. */
#ifndef WEFT_GUEST_CPU_H
#define WEFT_GUEST_CPU_H

#include <stdint.h>

static inline void cpu_out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void cpu_out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t cpu_in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

/* The TSC. */
static inline uint64_t cpu_cycles(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (uint64_t)hi << 32;
}

static inline void cpu_cpuid(uint32_t leaf, uint32_t out[static 4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(0));
}

static inline void cpu_relax(void)
{
	__asm__ volatile("pause");
}

/* Sleep until an interrupt; returns at once if irq_pending is not 0 (boot.S). */
static inline void cpu_halt(void)
{
	__asm__ volatile("hlt" : : : "memory");
}

/* Start a transfer of fw_cfg's (fw_cfg.c). */
static inline void cpu_fw_cfg_dma(uint64_t transfer)
{
	__asm__ volatile("" : : : "memory");
	cpu_out32(0x514, __builtin_bswap32((uint32_t)(transfer >> 32)));
	cpu_out32(0x518, __builtin_bswap32((uint32_t)transfer));
	__asm__ volatile("" : : : "memory");
}

static inline uint32_t mmio_read(uintptr_t addr)
{
	return *(volatile uint32_t *)addr;
}

static inline void mmio_write(uintptr_t addr, uint32_t value)
{
	*(volatile uint32_t *)addr = value;
}

#endif
