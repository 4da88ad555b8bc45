/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A device that weft did not make, and that carries other traffic too (another engine's container,
 * a virtual machine on a bridge): only what is for the overlay is weft's. All else goes on
 * untouched and unchecked to whoever else is on the device, as if weft were not there. */
#ifndef WEFT_BPF_BORROWED_H
#define WEFT_BPF_BORROWED_H

#include "bpf/arp.h"
#include "bpf/nat6.h"
#include "bpf/nd.h"

#define IP_DADDR_OFF  (ETH_HLEN + 16)
#define ARP_TPA_OFF   (ETH_HLEN + 24)
#define ND_TYPE_OFF   (ETH_HLEN + IP6_HLEN)
#define ND_TARGET_OFF (ND_TYPE_OFF + 8)

/* A service, an instance, or the address of somebody in the overlay: the node's gateway is one. */
static __always_inline bool is_overlays(__be32 addr)
{
	if ((addr & bpf_htonl(WEFT_SEMANTIC_MASK)) == bpf_htonl(WEFT_SEMANTIC_NET))
		return true;
	return in_overlay(addr) && bpf_map_lookup_elem(&ns_addrs, &addr);
}

/* asked: it is the address that a solicitation asks for. A gateway of another engine may have the
 * name of weft's; user space knows. */
static __always_inline bool is_overlays6(
	struct __sk_buff *skb, bool asked, const struct weft_bpf_instance *own)
{
	__u32 off = asked ? ND_TARGET_OFF : ETH_HLEN + IP6_DADDR_OFF;
	__be32 addr[4];

	if (bpf_skb_load_bytes(skb, off, addr, sizeof(addr)) || same_addr6(addr, own->ns_addr6))
		return false;
	if (asked && own->active & WEFT_INSTANCE_GATEWAY6 && is_gateway6(addr))
		return true;
	if ((addr[0] & bpf_htonl(WEFT_SEMANTIC6_MASK)) == bpf_htonl(WEFT_SEMANTIC6_NET))
		return true;
	return (addr[0] & bpf_htonl(WEFT_OVERLAY6_MASK)) == bpf_htonl(WEFT_OVERLAY6_NET) &&
	       bpf_map_lookup_elem(&ns_addrs6, addr);
}

static __always_inline bool is_solicit(struct __sk_buff *skb)
{
	__u8 next, type;

	return !bpf_skb_load_bytes(skb, ETH_HLEN + IP6_NEXT_OFF, &next, 1) && next == NEXT_ICMP &&
	       !bpf_skb_load_bytes(skb, ND_TYPE_OFF, &type, 1) && type == ICMP6_SOLICIT;
}

/* A frame too short to say is not, nor one in which the sender tells others of itself. */
static __noinline bool for_overlay(struct __sk_buff *skb, const struct weft_bpf_instance *own)
{
	__be16 proto;
	__be32 addr;

	if (skb->vlan_present ||
		bpf_skb_load_bytes(skb, ETH_HLEN - sizeof(proto), &proto, sizeof(proto)))
		return false;
	switch (proto) {
	case bpf_htons(ETH_P_IP):
		return !bpf_skb_load_bytes(skb, IP_DADDR_OFF, &addr, sizeof(addr)) &&
		       is_overlays(addr);
	case bpf_htons(ETH_P_ARP):
		return !bpf_skb_load_bytes(skb, ARP_TPA_OFF, &addr, sizeof(addr)) &&
		       addr != own->ns_addr && is_overlays(addr);
	case bpf_htons(ETH_P_IPV6):
		return is_overlays6(skb, is_solicit(skb), own);
	default:
		return false;
	}
}

#endif
