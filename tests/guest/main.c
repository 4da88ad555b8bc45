/* SPDX-License-Identifier: Apache-2.0 */
#include "apps.h"
#include "args.h"
#include "cpu.h"
#include "guest.h"
#include "layout.h"
#include "netif_port.h"
#include "virtio_net.h"

#include "lwip/timeouts.h"

#define IOAPIC        0xfec00000u
#define IOAPIC_SELECT (IOAPIC + 0x00)
#define IOAPIC_WINDOW (IOAPIC + 0x10)
#define IOAPIC_PINS   24

extern uint8_t irq_pending; /* boot.S */

_Noreturn void guest_main(const struct hvm_start_info *info);

/* Edge-triggered, fixed, to the only CPU. */
static void route_irq(unsigned pin, uint8_t vector)
{
	if (pin >= IOAPIC_PINS)
		panic("interrupt %u is beyond the IOAPIC", pin);
	mmio_write(IOAPIC_SELECT, 0x10 + 2 * pin + 1);
	mmio_write(IOAPIC_WINDOW, 0);
	mmio_write(IOAPIC_SELECT, 0x10 + 2 * pin);
	mmio_write(IOAPIC_WINDOW, vector);
}

static void find_device(const struct guest_args *args)
{
	for (unsigned i = 0; i < args->n_virtio; i++) {
		if (!virtio_net_probe(args->virtio[i].base))
			continue;
		route_irq(args->virtio[i].irq, VECTOR_NET);
		virtio_net_init(args->virtio[i].base);
		return;
	}
	panic("no virtio-net among %u virtio_mmio.device= arguments: start with -M microvm, "
	      "-global virtio-mmio.force-legacy=false and -device virtio-net-device",
		args->n_virtio);
}

static void take_interrupts(void)
{
	uint8_t pending;

	if (!__atomic_load_n(&irq_pending, __ATOMIC_RELAXED))
		return;
	pending = __atomic_exchange_n(&irq_pending, 0, __ATOMIC_SEQ_CST);
	if (pending & IRQ_NET)
		virtio_net_ack();
	if (pending & IRQ_TIMER)
		clock_woken();
}

/* Sleep until a frame or a timer. Returns at once if there is a frame already. */
static void sleep(void)
{
	if (virtio_net_arm()) {
		uint32_t ms = sys_timeouts_sleeptime();

		if (ms != SYS_TIMEOUTS_SLEEPTIME_INFINITE)
			clock_wake_in(ms);
		cpu_halt();
	}
	virtio_net_disarm();
}

static _Noreturn void run(uint64_t spin)
{
	uint64_t idle_since = cpu_rdtsc();

	for (;;) {
		unsigned frames;

		take_interrupts();
		frames = netif_port_poll();
		sys_check_timeouts();
		virtio_net_flush();
		if (frames) {
			idle_since = spin ? cpu_rdtsc() : 0;
		} else if (spin && cpu_rdtsc() - idle_since < spin) {
			cpu_relax();
		} else {
			sleep();
			idle_since = spin ? cpu_rdtsc() : 0;
		}
	}
}

_Noreturn void guest_main(const struct hvm_start_info *info)
{
	const char *line = memory_init(info);
	struct guest_args args;
	char why[160];

	if (guest_args_parse(line, &args, why, sizeof(why)) < 0)
		panic("%s", why);
	clock_init(args.tsc_khz);
	find_device(&args);
	netif_port_init(&args);
	apps_start(&args);
	console_printf("weft-guest %s: %u.%u.%u.%u, tsc %lu kHz, ready after %u ms\n", args.name,
		args.addr[0], args.addr[1], args.addr[2], args.addr[3], clock_tsc_khz(),
		clock_ms());
	run(args.spin_us * clock_tsc_khz() / 1000);
}
