/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Off the tunnel's headers, in TC: after the device or GRO has merged segments, so that a
 * super-packet of a bulk transfer is taken out in one piece. */
#ifndef WEFT_BPF_DECAP_H
#define WEFT_BPF_DECAP_H

#include "bpf/outer.h"

/* From 6.3 on; without them skb->protocol stays what the outer packet was. */
#define ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)
const volatile bool decap_sets_protocol;

/* A checksum of the outer datagram that is only begun (its sender is on this machine, or the next
 * one in a virtual switch) makes the kernel think that what is left has one to be completed, at a
 * place that is none. It thinks so no longer once more than up to that place has been cut off: so
 * cut eight bytes too many, and put them back. */
static __always_inline int cut_checked(struct __sk_buff *skb, __u32 room, __u64 flags)
{
	__u8 *ip = frame(skb) + IP_OFF;
	__u64 first;

	if (bpf_skb_load_bytes(skb, IP_OFF + room, &first, sizeof(first)))
		return -1;
	if (bpf_skb_adjust_room(skb, -(__s32)(room + sizeof(first)), BPF_ADJ_ROOM_MAC, flags) ||
		bpf_skb_adjust_room(skb, sizeof(first), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	ip = frame(skb) + IP_OFF;
	if ((void *)(ip + sizeof(first)) > frame_end(skb))
		return -1;
	__builtin_memcpy(ip, &first, sizeof(first));
	return 0;
}

static __always_inline int decap(struct __sk_buff *skb, const struct outer *o)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	__u32 room = o->inner - IP_OFF;
	struct ethhdr *eth;
	int ret;

	if (decap_sets_protocol)
		flags |= o->inner_v6 ? ADJ_ROOM_DECAP_L3_IPV6 : ADJ_ROOM_DECAP_L3_IPV4;
	if (o->checked)
		ret = cut_checked(skb, room, flags);
	else
		ret = bpf_skb_adjust_room(skb, -(__s32)room, BPF_ADJ_ROOM_MAC, flags);
	if (ret)
		return DROP(NO_MEMORY);
	eth = (void *)frame(skb);
	if ((void *)(eth + 1) > frame_end(skb))
		return DROP(TUNNEL_TRUNCATED);
	eth->h_proto = o->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	ecn_pass_on(eth, frame_end(skb), o->tos);
	return 0;
}

/* Could it be a datagram of the tunnel? Most of what an uplink carries is not. */
static __always_inline bool maybe_tunnel(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)frame(skb);
	const __u8 *ip = (void *)(eth + 1);

	if ((void *)(ip + IP_HLEN_MIN) > frame_end(skb))
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return ip[9] == IPPROTO_UDP;
	return eth->h_proto == bpf_htons(ETH_P_IPV6) && ip[6] != IPPROTO_TCP;
}

/* What it is, from what is linear. */
static __noinline int look_inside(struct __sk_buff *skb, struct outer *o)
{
	struct bytes b = {
		.data = frame(skb),
		.end = frame_end(skb),
		.len = skb->len,
		.super = skb->gso_size,
	};

	return outer_find(&b, o);
}

/* NOT_OURS, a DROP(), or 0: then what was inside is left, behind an Ethernet header. Its stack is
 * not to be everybody's. */
static __noinline int take_off(struct __sk_buff *skb, __u32 *ret_peer)
{
	struct outer o = {};
	int ret;

	if (skb->vlan_present || !maybe_tunnel(skb))
		return NOT_OURS;
	ret = look_inside(skb, &o);
	/* Mostly that is enough. To have some of a segment's data made linear as well would cost
	 * more than all the rest. */
	if (ret == SHORT && !bpf_skb_pull_data(skb, skb->len < OUTER_MAX ? skb->len : OUTER_MAX))
		ret = look_inside(skb, &o);
	ret = outer_final(&o, ret);
	if (ret == NOT_OURS)
		return ret;
	ret = outer_judge(skb, skb->ifindex, &o, ret, ret_peer);
	return ret ? ret : decap(skb, &o);
}

/* Where skb->protocol still is the outer packet's, a veth's own transmission puts it right. */
static __always_inline bool mistyped(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)frame(skb);

	return !decap_sets_protocol && (void *)(eth + 1) <= frame_end(skb) &&
	       eth->h_proto != skb->protocol;
}

#endif
