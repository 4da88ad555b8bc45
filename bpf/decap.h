/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Off the tunnel's headers, in TC: after the device or GRO has merged segments, so that a
 * super-packet of a bulk transfer is taken out in one piece. */
#ifndef WEFT_BPF_DECAP_H
#define WEFT_BPF_DECAP_H

#include "bpf/generic_xdp.h"
#include "bpf/handover.h"
#include "bpf/pathmtu.h"

#define IP6_MORE 20 /* bytes that its header has more than IPv4's */

/* From 6.3 on: also make skb->protocol what the inner packet is. */
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

/* Before 6.3: make skb->protocol the inner packet's by pretending a translation between IPv4 and
 * IPv6. It takes 20 bytes off the outer header or puts as many in front; what is left to cut is
 * *room. */
static __always_inline int retype(struct __sk_buff *skb, const struct outer *o, __u32 *room)
{
	if ((o->family == 6) == o->inner_v6)
		return 0;
	*room += o->inner_v6 ? IP6_MORE : -IP6_MORE;
	return bpf_skb_change_proto(
		skb, o->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP), 0);
}

static __always_inline int cut(struct __sk_buff *skb, const struct outer *o)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	__u32 room = o->inner - IP_OFF;

	if (decap_sets_protocol)
		flags |= o->inner_v6 ? ADJ_ROOM_DECAP_L3_IPV6 : ADJ_ROOM_DECAP_L3_IPV4;
	else if (retype(skb, o, &room))
		return -1;
	if (o->checked && skb_summed(skb) >= SUMMED_PARTIAL)
		return cut_checked(skb, room, flags);
	return bpf_skb_adjust_room(skb, -(__s32)room, BPF_ADJ_ROOM_MAC, flags);
}

static __always_inline int decap(struct __sk_buff *skb, const struct outer *o)
{
	struct ethhdr *eth;

	if (cut(skb, o))
		return DROP(NO_MEMORY);
	eth = (void *)frame(skb);
	if ((void *)(eth + 1) > frame_end(skb))
		return DROP(TUNNEL_TRUNCATED);
	eth->h_proto = o->inner_v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	ecn_pass_on(eth, frame_end(skb), o->tos);
	return 0;
}

enum looks {
	OTHER,
	DATAGRAM,
	ERROR,
};

/* Could it be a datagram of the tunnel, or an error about one? Most of what an uplink carries is
 * neither. */
static __always_inline int looks_like(struct __sk_buff *skb)
{
	const struct ethhdr *eth = (void *)frame(skb);
	const __u8 *ip = (void *)(eth + 1);

	if ((void *)(ip + IP_HLEN_MIN) > frame_end(skb))
		return OTHER;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if (ip[9] == IPPROTO_UDP)
			return DATAGRAM;
		return ip[9] == IPPROTO_ICMP ? ERROR : OTHER;
	}
	if (eth->h_proto != bpf_htons(ETH_P_IPV6) || ip[6] == IPPROTO_TCP)
		return OTHER;
	return ip[6] == ICMP_PROTO_V6 ? ERROR : DATAGRAM;
}

/* What it is, from what is linear. */
static __always_inline int look_inside(struct __sk_buff *skb, struct outer *o)
{
	struct bytes b = {
		.data = frame(skb),
		.end = frame_end(skb),
		.len = skb->len,
		.super = skb->gso_size,
	};

	return outer_find(&b, o);
}

__noinline int look_again(struct __sk_buff *skb, struct outer *o)
{
	return o ? look_inside(skb, o) : NOT_OURS;
}

/* A datagram of the tunnel that generic XDP has left without its head, or one that may hide behind
 * extension headers. */
static __always_inline bool headless_datagram(struct __sk_buff *skb)
{
	int walk = headless_walk(skb);
	__be16 port;
	__u8 next;

	if (skb->protocol == bpf_htons(ETH_P_IPV6) &&
		!bpf_skb_load_bytes(skb, IP6_NEXT_OFF, &next, sizeof(next)) && is_extension(next))
		return true;
	return walk >= 0 && WALK_PROTO(walk) == IPPROTO_UDP && !(walk & WALK_LATER) &&
	       !bpf_skb_load_bytes(skb, WALK_OFF(walk) + 2, &port, sizeof(port)) &&
	       is_tunnel_port(port);
}

/* NOT_OURS, a DROP(); or 0, and it has one again. */
__noinline int headless(struct __sk_buff *skb)
{
	if (headless_datagram(skb))
		return give_head(skb);
	path_mtu_learn(skb, 0);
	return NOT_OURS;
}

/* NOT_OURS; a DROP(), of which the peer has been told where it is one; or TAKEN and the peer's id:
 * then what was inside is left, behind an Ethernet header. */
#define TAKEN 0x10000
static __always_inline int take_off(struct __sk_buff *skb)
{
	struct outer o = {};
	__u32 peer = 0;
	int ret;

	if (skb->vlan_present)
		return NOT_OURS;
	if (skb_headless(skb)) {
		ret = headless(skb);
		if (ret)
			return ret;
	}
	parse_pull_to(skb, OUTER_MIN);
	switch (looks_like(skb)) {
	case OTHER:
		return NOT_OURS;
	case ERROR:
		path_mtu_learn(skb, IP_OFF);
		return NOT_OURS;
	}
	ret = look_inside(skb, &o);
	/* Mostly that is enough. To have some of a segment's data made linear as well would cost
	 * more than all the rest. */
	if (ret == SHORT && !bpf_skb_pull_data(skb, skb->len < OUTER_MAX ? skb->len : OUTER_MAX))
		ret = look_again(skb, &o);
	ret = outer_final(&o, ret);
	if (ret == NOT_OURS)
		return ret;
	ret = outer_judge(skb, skb->ifindex, &o, ret, &peer);
	if (!ret)
		ret = decap(skb, &o);
	if (!ret)
		return TAKEN | peer;
	if (ret < 0)
		peer_dropped(peer);
	return ret;
}

#endif
