/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_GUEST_LWIP_HOOKS_H
#define WEFT_GUEST_LWIP_HOOKS_H

#include "lwip/ip_addr.h"
#include "lwip/pbuf.h"

u32_t netif_port_isn(
	const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port);

/* Where a packet to dest is to be sent: NULL, nobody knows. */
const ip6_addr_t *netif_port_gateway6(const ip6_addr_t *dest);

/* 1: the packet is not lwIP's to see, and freed. */
int netif_port_input4(struct pbuf *p);
int netif_port_input6(struct pbuf *p);

#endif
