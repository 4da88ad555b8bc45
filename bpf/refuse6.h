/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Tell the sender of an IPv6 packet that it was dropped:
 *   no flow, or backend gone   RST (TCP)
 *   no backend, or it is gone,
 *   or the port is in use      port unreachable (UDP), address unreachable (echo)
 *   address of nobody          address unreachable (UDP, echo)
 *   larger than the way takes  packet too big, with its MTU (also TCP) */
#ifndef WEFT_BPF_REFUSE6_H
#define WEFT_BPF_REFUSE6_H

#include "bpf/reset6.h"
#include "bpf/unreachable.h"

#define ICMP6_ADDR_UNR 3
#define ICMP6_PORT_UNR 4
#define ICMP6_ROOM     (IP6_HLEN + sizeof(struct icmp_error))

/* What goes before the quoted packet, on the wire. */
struct icmp6_front {
	struct ipv6hdr ip;
	__u8 type, code;
	__be16 check;
	__be32 mtu;
};

/* The code that reason is answered with, or -1. */
static __always_inline int icmp6_code(__u32 reason, __u8 proto)
{
	if (reason == WEFT_DROP_TOO_BIG)
		return 0;
	if (proto == IPPROTO_TCP)
		return -1;
	if (reason == WEFT_DROP_UNKNOWN_ADDR)
		return ICMP6_ADDR_UNR;
	if (reason != WEFT_DROP_NO_BACKEND && reason != WEFT_DROP_BACKEND_GONE &&
		reason != WEFT_DROP_PORT_IN_USE)
		return -1;
	return proto == IPPROTO_UDP ? ICMP6_PORT_UNR : ICMP6_ADDR_UNR;
}

/* Make room for the error in front of the packet, of which headers bytes and quote more of its
 * transport header are left. */
static __always_inline int icmp6_room(struct __sk_buff *skb, __u32 headers, __u32 quote)
{
	if (bpf_skb_change_tail(skb, IP_OFF + headers + quote, 0) ||
		bpf_skb_adjust_room(skb, ICMP6_ROOM, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	return (void *)(frame(skb) + IP_OFF + ICMP6_ROOM + IP6_HLEN) > frame_end(skb) ? -1 : 0;
}

/* quoted is the sum of what is quoted behind the front. */
static __always_inline void icmp6_fill(struct icmp6_front *f, const struct ipv6hdr *old, __u32 len,
	int code, __u32 mtu, __u32 quoted)
{
	const __be32 *was = old->saddr.in6_u.u6_addr32;
	__u32 sum;

	__builtin_memset(f, 0, sizeof(*f));
	f->ip.version = 6;
	f->ip.payload_len = bpf_htons(len);
	f->ip.nexthdr = NEXT_ICMP;
	f->ip.hop_limit = 64;
	copy_addr6(f->ip.saddr.in6_u.u6_addr32, old->daddr.in6_u.u6_addr32);
	copy_addr6(f->ip.daddr.in6_u.u6_addr32, was);
	f->type = mtu ? ICMP6_TOO_BIG : ICMP6_UNREACHABLE;
	f->code = code;
	f->mtu = bpf_htonl(mtu);
	sum = (__u32)bpf_csum_diff(NULL, 0, (void *)&f->ip.saddr, sizeof(*f) - IP6_SADDR_OFF,
		bpf_htonl(len + NEXT_ICMP));
	f->check = ~csum_fold((__u64)sum + quoted);
}

/* As icmp_build(). */
static __always_inline int icmp6_build(struct __sk_buff *skb, const struct packet *p, __u32 from_id,
	int code, __u32 mtu, __u32 check_off, __u32 quote)
{
	__u32 headers = p->l4 - IP_OFF, quoted;
	__u16 check = 0;
	bool partial;
	__u8 *eth;

	if (bpf_skb_load_bytes(skb, p->l4 + check_off, &check, sizeof(check)))
		return -1;
	partial = p->proto != NEXT_ICMP && csum_is_partial(skb, p->l4 + check_off);
	if (bpf_skb_store_bytes(skb, p->l4 + check_off, &check, sizeof(check), 0) ||
		icmp6_room(skb, headers, quote))
		return -1;
	quoted = frame_sum(skb, IP_OFF + ICMP6_ROOM, headers + (partial ? 0 : quote));
	if (partial)
		quoted += (__u16)~check;
	eth = frame(skb);
	if ((void *)(eth + IP_OFF + ICMP6_ROOM + IP6_HLEN) > frame_end(skb))
		return -1;
	answer_macs((void *)eth, from_id);
	icmp6_fill((void *)(eth + IP_OFF), (void *)(eth + IP_OFF + ICMP6_ROOM),
		sizeof(struct icmp_error) + headers + quote, code, mtu, quoted);
	count_event(WEFT_EVENT_ICMP_SENT);
	return bpf_redirect(skb->ifindex, 0);
}

/* Behind extension headers too: a first fragment may be too big. */
static __always_inline int icmp6_answer(
	struct __sk_buff *skb, __u32 from_id, const struct packet *p, __u32 reason, __u32 mtu)
{
	int code = icmp6_code(reason, p->proto);

	if ((from_id && !instance_get(from_id)) || code < 0 ||
		(p->frag_first && reason != WEFT_DROP_TOO_BIG) || !icmp_allowed(from_id))
		return -1;
	if (reason != WEFT_DROP_TOO_BIG)
		mtu = 0;
	else if (mtu < IP6_MTU_MIN)
		mtu = IP6_MTU_MIN;
	if (p->proto == IPPROTO_TCP)
		return icmp6_build(skb, p, from_id, code, mtu, TCP_CHECK_OFF, TCP_HLEN_MIN);
	if (p->proto == IPPROTO_UDP)
		return icmp6_build(skb, p, from_id, code, mtu, UDP_CHECK_OFF, ICMP_QUOTE);
	return icmp6_build(skb, p, from_id, code, mtu, ICMP_CHECK_OFF, ICMP_QUOTE);
}

/* What was dropped for ret: the verdict on its answer, or ret again where none is due. from_id 0:
 * as in icmp_answer(). */
__noinline int refuse6(struct __sk_buff *skb, __u32 from_id, int ret, __u32 mtu)
{
	struct packet p = {};
	int answer;

	if (parse_ip6(skb, &p) || p.frag_later || parse_l4_6(skb, &p))
		return ret;
	if (p.proto == IPPROTO_TCP && is_lost(&p, ret))
		answer = reset_sender6(skb, from_id);
	else
		answer = icmp6_answer(skb, from_id, &p, DROP_REASON(ret), mtu);
	if (answer < 0)
		return ret;
	count_drop(DROP_REASON(ret));
	return answer;
}

#endif
