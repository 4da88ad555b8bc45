/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line, as README.md describes it. Compiles hosted as well, for tests. */
#ifndef WEFT_GUEST_ARGS_H
#define WEFT_GUEST_ARGS_H

#include <stddef.h>
#include <stdint.h>

#define GUEST_MAX_VIRTIO 8
#define GUEST_NAME_SIZE  80
#define GUEST_KEEPALIVE  200

struct guest_args {
	uint8_t addr[4], mask[4], gateway[4]; /* gateway 0.0.0.0: none */
	uint64_t tsc_khz;                     /* 0: not given */
	uint32_t spin_us;
	uint32_t keepalive;         /* requests of an HTTP connection, 0: any number */
	uint16_t port;              /* 0: the application's own */
	char name[GUEST_NAME_SIZE]; /* printable ASCII; the address if not given */
	struct {
		uint64_t base;
		uint32_t irq;
	} virtio[GUEST_MAX_VIRTIO]; /* in the order of the line */
	unsigned n_virtio;
};

/* Returns 0, or -1 with what is wrong in why; *ret is then untouched. Needs an address on the line.
 */
int guest_args_parse(const char *line, struct guest_args *ret, char *why, size_t why_size);

#endif
