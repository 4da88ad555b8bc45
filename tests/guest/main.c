/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "apps.h"
#include "args.h"
#include "config.h"
#include "cpu.h"
#include "guest.h"
#include "layout.h"
#include "netif_port.h"
#include "power.h"
#include "stream.h"
#include "virtio_net.h"

#include "lwip/timeouts.h"

#define SHUTDOWN_MS 3000 /* for connections to end, once the power button was pressed */
#define WAIT_MS     1    /* from one look at the configuration to the next, while it says wait */
#define LOOK_MS     1000 /* ... and later, when it changes only by a restore */

_Noreturn void guest_main(const void *boot);

static struct guest_args args;
static uint32_t looked_at;

static void find_device(void)
{
	for (unsigned i = 0; i < args.n_virtio; i++) {
		if (!virtio_net_probe(args.virtio[i].base))
			continue;
		irq_route(args.virtio[i].irq, VECTOR_NET);
		virtio_net_init(args.virtio[i].base);
		return;
	}
	panic("no virtio-net among %u virtio-mmio devices: start with -M microvm or virt, "
	      "-global virtio-mmio.force-legacy=false and -device virtio-net-device",
		args.n_virtio);
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
	if (pending & IRQ_POWER)
		power_interrupt();
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

static void take_address(void)
{
	char at[GUEST_ADDRESSES_SIZE];

	netif_port_address(&args);
	apps_rename(&args);
	console_printf("weft-guest %s: %s, tsc %lu kHz, ready after %u ms\n", args.name,
		guest_args_addresses(&args, at), clock_khz(), clock_ms());
}

/* Restored from a checkpoint, this is somebody else's life. */
static void look_for_new_address(void)
{
	if (clock_ms() - looked_at < LOOK_MS)
		return;
	looked_at = clock_ms();
	if (config_changed() && config_take(&args))
		take_address();
}

/* Whoever is to be given an address is to find everything else done. */
static void wait_for_address(void)
{
	if (!config_take(&args))
		console_printf("weft-guest: waiting for an address\n");
	while (!args.go && !power_pressed()) {
		clock_wake_in(WAIT_MS);
		cpu_halt();
		take_interrupts();
		if (config_changed())
			config_take(&args);
	}
}

static _Noreturn void end(void)
{
	power_off();
	panic("the machine cannot be powered off");
}

/* Whoever is being answered is to get his answer; then everybody hears that we go. */
static void shutdown(void)
{
	static bool begun;
	static uint32_t since;

	if (!begun) {
		console_printf("weft-guest %s: the power button was pressed\n", args.name);
		begun = true;
		since = clock_ms();
		stream_shutdown();
	}
	if (stream_count() == 0 || clock_ms() - since > SHUTDOWN_MS) {
		virtio_net_flush();
		end();
	}
}

static _Noreturn void run(uint64_t spin)
{
	uint64_t idle_since = cpu_cycles();

	for (;;) {
		unsigned frames;

		take_interrupts();
		frames = netif_port_poll();
		sys_check_timeouts();
		if (power_pressed())
			shutdown();
		virtio_net_flush();
		if (frames) {
			idle_since = spin ? cpu_cycles() : 0;
		} else if (spin && cpu_cycles() - idle_since < spin) {
			cpu_relax();
		} else {
			sleep();
			look_for_new_address();
			idle_since = spin ? cpu_cycles() : 0;
		}
	}
}

_Noreturn void guest_main(const void *boot)
{
	const char *line = memory_init(boot);
	char why[160];

	if (guest_args_parse(line, &args, why, sizeof(why)) < 0)
		panic("%s", why);
	clock_init(args.tsc_khz);
	irq_init();
	if (args.n_virtio == 0)
		virtio_scan(&args);
	find_device();
	power_init(&args);
	config_init(&args);
	netif_port_init();
	apps_start(&args);
	if (args.configured)
		wait_for_address();
	if (power_pressed())
		end();
	take_address();
	run(args.spin_us * clock_khz() / 1000);
}
