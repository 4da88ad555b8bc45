/* SPDX-License-Identifier: Apache-2.0 */
/* One virtio-net device on virtio-mmio, modern interface, one receive and one transmit queue, no
 * control queue. Uses EVENT_IDX, checksum offload and the device's MTU where the device offers
 * them. */
#ifndef WEFT_GUEST_VIRTIO_NET_H
#define WEFT_GUEST_VIRTIO_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTIO_NET_MAX_FRAME 1514

/* Is there a network device with a modern interface at base? */
bool virtio_net_probe(uintptr_t base);

/* Bring it up; panics if the device refuses. */
void virtio_net_init(uintptr_t base);

struct virtio_net_info {
	uint8_t mac[6];
	uint16_t mtu; /* at most 1500 */
	bool tx_csum; /* virtio_net_send() may be asked to leave the checksum to the device */
};
void virtio_net_get_info(struct virtio_net_info *ret);

/* Hand up to budget received frames to input; returns how many there were. frame is valid during
 * the call. csum_ok: the device vouches for the TCP or UDP checksum (or it never left this host).
 */
typedef void (*virtio_net_input_t)(const uint8_t *frame, size_t len, bool csum_ok);
unsigned virtio_net_poll(virtio_net_input_t input, unsigned budget);

/* Where to put the next frame, VIRTIO_NET_MAX_FRAME bytes; NULL if the queue stays full. */
uint8_t *virtio_net_tx_buffer(void);

/* Queue the frame in that buffer. csum_start > 0: the device completes the checksum at csum_start +
 * csum_offset, which holds the sum over the pseudo header. */
void virtio_net_tx(size_t len, uint16_t csum_start, uint16_t csum_offset);

/* Tell the device about queued frames, if it wants to know. Once per turn of the loop. */
void virtio_net_flush(void);

/* Ask for an interrupt at the next frame. False: there is one already, do not sleep. */
bool virtio_net_arm(void);
void virtio_net_disarm(void);

/* To be called when IRQ_NET was seen, before virtio_net_poll(). */
void virtio_net_ack(void);

#endif
