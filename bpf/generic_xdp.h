/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Kernels from 6.9 on forget, where generic XDP has had them copy a packet, how long its Ethernet
 * header is: it seems to begin behind that. */
#ifndef WEFT_BPF_GENERIC_XDP_H
#define WEFT_BPF_GENERIC_XDP_H

#include "bpf/kern_ctx.h"
#include "bpf/parse.h"

const volatile bool behind_generic_xdp;

static __always_inline bool head_may_be_lost(struct __sk_buff *skb)
{
	return behind_generic_xdp && !skb_mac_len(skb);
}

/* Another one in front, for who takes the packet. What is anybody else's is left as it is. */
static __always_inline int give_head(struct __sk_buff *skb)
{
	__be16 protocol = skb->protocol;
	struct ethhdr *eth;

	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return DROP(NO_MEMORY);
	eth = (void *)frame(skb);
	if ((void *)(eth + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	eth->h_proto = protocol;
	return 0;
}

#endif
