/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors of the overlay's own, sent straight back to who sent the packet, like RST for TCP:
 *   no backend, or it is gone,
 *   or the port is in use      port unreachable (UDP), host unreachable (echo)
 *   address of nobody          host unreachable (UDP, echo)
 *   larger than the way takes  fragmentation needed, with its MTU (also TCP)
 * They come from the address that was called. Each instance has its own allowance of them. */
#ifndef WEFT_BPF_UNREACHABLE_H
#define WEFT_BPF_UNREACHABLE_H

#include "bpf/reset.h"

#define ICMP_ROOM     (IP_HLEN_MIN + sizeof(struct icmp_error))
#define ICMP_QUOTE    8 /* of the transport header, as RFC 792 says */
#define ICMP_HOST_UNR 1
#define ICMP_PORT_UNR 3

/* A tick's allowance is what the processor has left in it: 50 in 67 ms, as many as Linux allows
 * itself in a burst. */
static __always_inline bool icmp_allowed(__u32 from_id)
{
	__u64 tick = clock_ns() >> WEFT_ICMP_TICK_SHIFT;
	struct weft_icmp_budget *b = bpf_map_lookup_elem(&icmp_budgets, &from_id);

	if (!b)
		return false;
	if (b->tick != tick) {
		b->tick = tick;
		b->sent = 0;
	}
	if (b->sent >= WEFT_ICMP_BURST) {
		count_event(WEFT_EVENT_ICMP_LIMITED);
		return false;
	}
	b->sent++;
	return true;
}

/* The code that reason is answered with, or -1. */
static __always_inline int icmp_code(__u32 reason, __u8 proto)
{
	if (reason == WEFT_DROP_TOO_BIG)
		return ICMP_NEEDS_FRAG;
	if (proto == IPPROTO_TCP)
		return -1;
	if (reason == WEFT_DROP_UNKNOWN_ADDR)
		return ICMP_HOST_UNR;
	if (reason != WEFT_DROP_NO_BACKEND && reason != WEFT_DROP_BACKEND_GONE &&
		reason != WEFT_DROP_PORT_IN_USE)
		return -1;
	return proto == IPPROTO_UDP ? ICMP_PORT_UNR : ICMP_HOST_UNR;
}

static __always_inline void icmp_fill_ip(struct iphdr *ip, const struct packet *p, __u32 len)
{
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = IP_HLEN_MIN / 4;
	ip->tot_len = bpf_htons(len);
	ip->ttl = 64;
	ip->protocol = IPPROTO_ICMP;
	ip->saddr = p->daddr;
	ip->daddr = p->saddr;
	ip->check = ~csum_fold((__u32)bpf_csum_diff(NULL, 0, (void *)ip, sizeof(*ip), 0));
}

/* Quote the header and quote bytes behind it. A checksum that is only begun stays so, and may be
 * completed on the way back: over what is quoted then, which so adds up to the complement of what
 * it was begun with. The error's own checksum counts on it; where nobody completes the one, nobody
 * looks at the other. */
static __always_inline int icmp_build(struct __sk_buff *skb, const struct packet *p, __u32 from_id,
	__u32 code, __u32 mtu, __u32 check_off, __u32 quote)
{
	__u32 l4 = RST_TCP_OFF, summed = sizeof(struct icmp_error) + IP_HLEN_MIN + quote;
	struct icmp_error *ie;
	__u16 check = 0;
	bool partial;
	__u8 *eth;

	if (bpf_skb_load_bytes(skb, l4 + check_off, &check, sizeof(check)))
		return -1;
	partial = p->proto != IPPROTO_ICMP && csum_is_partial(skb, l4 + check_off);
	if (bpf_skb_store_bytes(skb, l4 + check_off, &check, sizeof(check), 0) ||
		bpf_skb_change_tail(skb, l4 + quote, 0) ||
		bpf_skb_adjust_room(skb, ICMP_ROOM, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	eth = frame(skb);
	if ((void *)(eth + l4 + ICMP_ROOM + quote) > frame_end(skb))
		return -1;
	answer_macs((void *)eth, from_id);
	icmp_fill_ip((void *)(eth + IP_OFF), p, IP_HLEN_MIN + summed);
	ie = (void *)(eth + l4);
	__builtin_memset(ie, 0, sizeof(*ie));
	ie->type = ICMP_UNREACHABLE;
	ie->code = code;
	if (code == ICMP_NEEDS_FRAG)
		ie->mtu = bpf_htons(mtu);
	if (partial)
		summed -= quote;
	ie->check = ~csum_fold(
		(__u32)bpf_csum_diff(NULL, 0, (void *)ie, summed, partial ? (__u16)~check : 0));
	count_event(WEFT_EVENT_ICMP_SENT);
	return bpf_redirect(skb->ifindex, 0);
}

/* The TC verdict, or -1 where no answer is due. Options and fragments are not worth one. from_id 0:
 * the sender is outside, all of whom have one allowance. It parses
 * again rather than take the packet, which so can stay in registers on the way that matters. */
__noinline int icmp_answer(struct __sk_buff *skb, __u32 from_id, __u32 reason, __u32 mtu)
{
	struct packet p = {};
	int code;

	if ((from_id && !instance_get(from_id)) || parse_ip(skb, &p) || p.frag_later ||
		p.l4 != RST_TCP_OFF || parse_l4(skb, &p))
		return -1;
	if (p.frag_first && reason != WEFT_DROP_TOO_BIG)
		return -1;
	code = icmp_code(reason, p.proto);
	if (code < 0 || !icmp_allowed(from_id))
		return -1;
	/* Of TCP the whole header: a begun checksum must not be cut off. */
	if (p.proto == IPPROTO_TCP)
		return icmp_build(skb, &p, from_id, code, mtu, TCP_CHECK_OFF, TCP_HLEN_MIN);
	if (p.proto == IPPROTO_UDP)
		return icmp_build(skb, &p, from_id, code, mtu, UDP_CHECK_OFF, ICMP_QUOTE);
	return icmp_build(skb, &p, from_id, code, mtu, ICMP_CHECK_OFF, ICMP_QUOTE);
}

#endif
