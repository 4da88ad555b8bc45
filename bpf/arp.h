/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The gateway answers ARP for the whole overlay, from the sender's device straight back. */
#ifndef WEFT_BPF_ARP_H
#define WEFT_BPF_ARP_H

#include "bpf/deliver.h"

/* <linux/if_arp.h> wants libc. */
#define ARP_HRD_ETHER  1
#define ARP_OP_REQUEST 1
#define ARP_OP_REPLY   2

struct arp_ipv4 {
	__be16 hrd, pro;
	__u8 hln, pln;
	__be16 op;
	__u8 sha[ETH_ALEN];
	__be32 spa;
	__u8 tha[ETH_ALEN];
	__be32 tpa;
} __attribute__((packed));

static __always_inline bool in_overlay(__be32 addr)
{
	return (addr & bpf_htonl(WEFT_OVERLAY_MASK)) == bpf_htonl(WEFT_OVERLAY_NET);
}

static __noinline int arp_answer(struct __sk_buff *skb, const struct weft_bpf_instance *from)
{
	struct ethhdr *eth = (void *)frame(skb);
	struct arp_ipv4 *arp = (void *)(eth + 1);
	__be32 asked;

	if ((void *)(arp + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	if (arp->hrd != bpf_htons(ARP_HRD_ETHER) || arp->pro != bpf_htons(ETH_P_IP) ||
		arp->hln != ETH_ALEN || arp->pln != 4)
		return DROP(MALFORMED);
	/* A probe for duplicates has no sender address yet. */
	if (!mac_equal(arp->sha, from->mac) || (arp->spa && arp->spa != from->ns_addr))
		return DROP(SPOOFED_ARP);
	asked = arp->tpa;
	if (arp->op != bpf_htons(ARP_OP_REQUEST) || asked == from->ns_addr || !in_overlay(asked))
		return DROP(ARP_IGNORED);

	set_macs(eth, from->mac);
	arp->op = bpf_htons(ARP_OP_REPLY);
	__builtin_memcpy(arp->tha, arp->sha, ETH_ALEN);
	arp->tpa = arp->spa;
	__builtin_memcpy(arp->sha, gateway_mac, ETH_ALEN);
	arp->spa = asked;
	return bpf_redirect(skb->ifindex, 0);
}

#endif
