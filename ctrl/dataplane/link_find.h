/* SPDX-License-Identifier: Apache-2.0 */
/* Interfaces that weft did not make: where one can be hooked, and who is behind it. */
#ifndef WEFT_DATAPLANE_LINK_FIND_H
#define WEFT_DATAPLANE_LINK_FIND_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctrl/base/err.h"

struct weft_link_found {
	char host_side[IFNAMSIZ]; /* the device in our namespace that all of its packets come by */
	uint32_t ifindex;
	bool elsewhere; /* it is a veth whose other end is in another namespace */
	bool alone;     /* no bridge or the like has it, and it has not the address fe80::1 itself:
			   nobody on our side is the gateway of that name */
	bool has_mac;
	uint8_t mac[6]; /* of what is behind it: a veth's other end, a macvtap's guest */
};

/* By a device of our namespace: the host side of a veth, a tap, or a macvtap that sits on a veth
 * whose other end is here too. -ENOENT: there is none; -ENOTSUP: it is another kind of device;
 * -EBUSY: it is down. */
int weft_link_find_device(const char *device, struct weft_link_found *ret, struct weft_err *err);

/* By a network namespace: its one veth whose other end is here, or of several the one that has
 * addr; a macvtap on it is who is behind it. -ENOENT: there is none; -EINVAL: no one in
 * particular. */
int weft_link_find_netns(
	const char *netns, struct in_addr addr, struct weft_link_found *ret, struct weft_err *err);

#endif
