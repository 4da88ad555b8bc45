/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line, and weft's configuration in fw_cfg, as README.md describes them.
 * Compiles hosted as well, for tests. */
#ifndef WEFT_GUEST_ARGS_H
#define WEFT_GUEST_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_MAX_VIRTIO 8
#define GUEST_NAME_SIZE  80
#define GUEST_KEEPALIVE  200

struct guest_args {
	uint8_t addr[4], mask[4], gateway[4]; /* gateway 0.0.0.0: none */
	uint8_t addr6[16], gateway6[16];      /* ::, none */
	uint8_t prefix6;
	uint64_t tsc_khz; /* 0: not given */
	uint32_t spin_us;
	uint32_t keepalive;         /* requests of an HTTP connection, 0: any number */
	uint16_t port;              /* 0: the application's own */
	char name[GUEST_NAME_SIZE]; /* printable ASCII; the address if not given */
	struct {
		uint64_t base;
		uint32_t irq;
	} virtio[GUEST_MAX_VIRTIO]; /* in the order of the line */
	unsigned n_virtio;
	uint64_t ged_base; /* ACPI's generic event device, which has the power button; 0: none */
	uint32_t ged_irq;
	bool configured; /* the address comes from fw_cfg: weft.net=fw_cfg */
	/* By fw_cfg alone */
	bool go; /* else wait, and read it again */
	bool has_mac;
	uint8_t mac[6];
	uint64_t seed; /* 0: none */
};

/* Returns 0, or -1 with what is wrong in why; *ret is then untouched. Needs an address on the line,
 * unless it says weft.net=fw_cfg. */
int guest_args_parse(const char *line, struct guest_args *ret, char *why, size_t why_size);

/* What fw_cfg's text (NUL-terminated) says, over what *args says already. -1 with why: it is not
 * understood, and *args is untouched. */
int guest_args_configure(const char *text, struct guest_args *args, char *why, size_t why_size);

/* "10.1.2.3 and fc00::103", or the one there is. Returns text. */
#define GUEST_ADDRESSES_SIZE 64
const char *guest_args_addresses(
	const struct guest_args *args, char text[static GUEST_ADDRESSES_SIZE]);

#endif
