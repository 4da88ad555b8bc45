/* SPDX-License-Identifier: Apache-2.0 */
/* The interface's IPv6. */
#ifndef WEFT_GUEST_NETIF_PORT6_H
#define WEFT_GUEST_NETIF_PORT6_H

#include <stddef.h>

#include "args.h"

#include "lwip/netif.h"

/* To be called once, when the interface is there. */
void netif_port6_init(struct netif *nif);

/* Take what args have, in place of what there was, which is forgotten. While the interface is down.
 */
void netif_port6_address(const struct guest_args *args);

/* Tell the link about it. */
void netif_port6_announce(void);

/* Paths take less than the interface, so what TCP sends may have to be fragmented. */
bool netif_port6_narrow(void);

/* The sum over the pseudo header, and where TCP begins, if the frame has a TCP segment right behind
 * its IPv6 header; else 0. */
uint16_t netif_port6_pseudo_sum(const uint8_t *frame, size_t len, uint64_t *ret_sum);

#endif
