/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A packet that XDP has taken out of the tunnel comes to TC with its peer's id in front of it: as
 * metadata, which nobody but a program on the same device can write, and which keeps GRO from
 * merging packets of different peers. */
#ifndef WEFT_BPF_HANDOVER_H
#define WEFT_BPF_HANDOVER_H

#include "bpf/outer.h"

#define HANDOVER_MAGIC 0x77656674U

struct handover {
	__u32 magic;
	__u32 peer;
};

/* The peer's id, 0: it comes as it was received. */
static __always_inline __u32 handed_over(struct __sk_buff *skb)
{
	const struct handover *h = (void *)(long)skb->data_meta;
	const void *data = (void *)(long)skb->data;

	asm volatile("" : "+r"(data)); /* clang would move 32 bits of it: no pointer any more */
	if ((void *)(h + 1) > data || h->magic != HANDOVER_MAGIC)
		return 0;
	return h->peer;
}

static __always_inline void peer_arrived(__u32 peer, __u32 packets, __u32 bytes)
{
	struct weft_peer_counters *c = bpf_map_lookup_elem(&peer_stats, &peer);

	if (!c)
		return;
	c->rx_packets += packets;
	c->rx_bytes += bytes;
}

static __always_inline void peer_dropped(__u32 peer)
{
	struct weft_peer_counters *c = peer ? bpf_map_lookup_elem(&peer_stats, &peer) : NULL;

	if (c)
		c->drops++;
}

#endif
