/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Counters, per processor; and how a drop travels: a step that gives a packet up returns
 * DROP(reason), which is negative, and the program counts it once at its end. */
#ifndef WEFT_BPF_STATS_H
#define WEFT_BPF_STATS_H

#include "bpf/maps.h"

#define DROP(reason)     (-1 - (int)WEFT_DROP_##reason)
#define DROP_REASON(ret) ((__u32)(-1 - (ret)))
#define NOT_OURS         100 /* neither that, nor a verdict: a packet that others may have */
#define IS_ERROR         103 /* likewise: an ICMP error, for the caller, who has the stack for it */

static __always_inline void count_drop(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&drops, &reason);

	if (n)
		(*n)++;
}

static __always_inline void count_event(__u32 event)
{
	__u64 *n = bpf_map_lookup_elem(&events, &event);

	if (n)
		(*n)++;
}

enum direction {
	TO_BACKEND,
	FROM_BACKEND,
};

/* How many packets a super-packet stands for. One that was in a tunnel has lost the number. */
static __always_inline __u32 skb_packets(struct __sk_buff *skb)
{
	if (skb->gso_segs)
		return skb->gso_segs;
	return skb->gso_size ? (skb->len + skb->gso_size - 1) / skb->gso_size : 1;
}

static __always_inline void count_into(
	struct weft_counters *c, __u32 packets, __u32 bytes, __u32 direction)
{
	if (!c)
		return;
	if (direction == TO_BACKEND) {
		c->packets += packets;
		c->bytes += bytes;
	} else {
		c->rx_packets += packets;
		c->rx_bytes += bytes;
	}
}

/* service is 0 when the instance was called by its own address. */
static __always_inline void count_packet(
	struct __sk_buff *skb, __u32 service, __u32 backend, __u32 direction)
{
	__u32 packets = skb_packets(skb), bytes = skb->len - ETH_HLEN;

	count_into(bpf_map_lookup_elem(&instance_stats, &backend), packets, bytes, direction);
	if (service)
		count_into(
			bpf_map_lookup_elem(&service_stats, &service), packets, bytes, direction);
}

static __always_inline void count_flow(__u32 service, __u32 backend)
{
	struct weft_counters *c = bpf_map_lookup_elem(&instance_stats, &backend);

	if (c)
		c->flows++;
	c = service ? bpf_map_lookup_elem(&service_stats, &service) : NULL;
	if (c)
		c->flows++;
}

#endif
