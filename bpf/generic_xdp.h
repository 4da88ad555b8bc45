/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Kernels from 6.9 on forget, where generic XDP, ours or another's, has had them copy a packet, how
 * long its Ethernet header is: it seems to begin behind that. */
#ifndef WEFT_BPF_GENERIC_XDP_H
#define WEFT_BPF_GENERIC_XDP_H

#include "bpf/kern_ctx.h"
#include "bpf/parse6.h"

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

/* What is behind the IP header at the very beginning: its WALK(), or a DROP(). */
static __always_inline int headless_walk(struct __sk_buff *skb)
{
	__u32 off, frag;
	struct iphdr ip;

	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return ip6_walk(skb, 0, skb->len);
	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return DROP(ETHERTYPE);
	off = ip.ihl * 4;
	frag = bpf_ntohs(ip.frag_off) & IP_FRAG_OFF;
	return WALK(off, ip.protocol, 0) | (frag ? WALK_LATER : 0);
}

#endif
