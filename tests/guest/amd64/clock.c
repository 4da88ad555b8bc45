/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>

#include "cpu.h"
#include "guest.h"
#include "layout.h"

#define APIC            0xfee00000u
#define APIC_SPURIOUS   (APIC + 0x0f0)
#define APIC_LVT_TIMER  (APIC + 0x320)
#define APIC_INIT_COUNT (APIC + 0x380)
#define APIC_CURR_COUNT (APIC + 0x390)
#define APIC_DIVIDE     (APIC + 0x3e0)

#define APIC_ENABLE    0x100
#define APIC_DIVIDE_16 0x3

/* Both TCG's and KVM's local APIC count nanoseconds before the divider. */
#define TICK_NS        16
#define TICKS_PER_MS   (1000000 / TICK_NS)
#define CALIBRATION_MS 2

#define CPUID_HYPERVISOR     0x40000000
#define CPUID_HYPERVISOR_TSC 0x40000010

static uint64_t khz, tsc_start;
static uint32_t wake_at; /* valid if armed */
static bool armed;

/* KVM says the rate where the host's TSC is invariant; newer CPUs say it themselves. */
static uint64_t tsc_khz_by_cpuid(void)
{
	uint32_t r[4];

	cpu_cpuid(1, r);
	if (r[2] & 1u << 31) {
		cpu_cpuid(CPUID_HYPERVISOR, r);
		if (r[0] >= CPUID_HYPERVISOR_TSC && r[0] < CPUID_HYPERVISOR + 0x100) {
			cpu_cpuid(CPUID_HYPERVISOR_TSC, r);
			if (r[0])
				return r[0];
		}
	}
	cpu_cpuid(0, r);
	if (r[0] < 0x15)
		return 0;
	cpu_cpuid(0x15, r); /* the crystal's rate times ebx / eax */
	return r[0] && r[1] ? (uint64_t)r[2] * r[1] / r[0] / 1000 : 0;
}

/* There is no PIT and no RTC: count the TSC against the local APIC's timer. */
static uint64_t tsc_khz_by_apic(void)
{
	uint32_t first, now = 0;
	uint64_t start, end;

	mmio_write(APIC_INIT_COUNT, UINT32_MAX);
	first = mmio_read(APIC_CURR_COUNT);
	start = cpu_cycles();
	for (uint32_t tries = 0; tries < 10000000; tries++) {
		now = mmio_read(APIC_CURR_COUNT);
		end = cpu_cycles();
		if (first - now >= CALIBRATION_MS * TICKS_PER_MS) {
			mmio_write(APIC_INIT_COUNT, 0);
			return (end - start) * TICKS_PER_MS / (first - now);
		}
	}
	panic("the local APIC's timer does not count: give tsc_khz=");
}

/* Also enables the local APIC. */
void clock_init(uint64_t tsc_khz)
{
	mmio_write(APIC_SPURIOUS, APIC_ENABLE | VECTOR_SPURIOUS);
	mmio_write(APIC_DIVIDE, APIC_DIVIDE_16);
	mmio_write(APIC_LVT_TIMER, VECTOR_TIMER); /* one-shot */
	khz = tsc_khz;
	if (!khz)
		khz = tsc_khz_by_cpuid();
	if (!khz)
		khz = tsc_khz_by_apic();
	if (!khz)
		panic("the TSC does not count: give tsc_khz=");
	tsc_start = cpu_cycles();
}

uint64_t clock_khz(void)
{
	return khz;
}

uint32_t clock_ms(void)
{
	return (uint32_t)((cpu_cycles() - tsc_start) / khz);
}

/* Setting the timer is an exit, so one that is due early enough is left alone: lwIP's are short and
 * periodic, and most sleeps are shorter. */
void clock_wake_in(uint32_t ms)
{
	uint32_t at = clock_ms() + ms;

	if (armed && (int32_t)(at - wake_at) >= 0)
		return;
	if (ms > UINT32_MAX / TICKS_PER_MS)
		ms = UINT32_MAX / TICKS_PER_MS;
	wake_at = clock_ms() + ms;
	armed = true;
	mmio_write(APIC_INIT_COUNT, ms ? ms * TICKS_PER_MS : 1);
}

void clock_woken(void)
{
	armed = false;
}
