/* SPDX-License-Identifier: Apache-2.0 */
/* lwIP's one network interface, on virtio-net. */
#ifndef WEFT_GUEST_NETIF_PORT_H
#define WEFT_GUEST_NETIF_PORT_H

#include "args.h"

/* Starts lwIP. The device must be up. */
void netif_port_init(void);

/* Take addresses and announce them (gratuitous ARP, unsolicited advertisement); also a MAC address,
 * if args have one. Again: take another, and forget about whoever talked to the old one. */
void netif_port_address(const struct guest_args *args);

/* Receive up to a batch of frames and let lwIP answer them; returns how many there were. */
unsigned netif_port_poll(void);

#endif
