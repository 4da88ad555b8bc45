/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_GUEST_LWIP_HOOKS_H
#define WEFT_GUEST_LWIP_HOOKS_H

#include "lwip/ip_addr.h"

u32_t netif_port_isn(
	const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port);

#endif
