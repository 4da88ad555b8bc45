/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* RST for a TCP segment over IPv6 of no flow. */
#ifndef WEFT_BPF_RESET6_H
#define WEFT_BPF_RESET6_H

#include "bpf/nat6.h"
#include "bpf/reset.h"

#define RST6_TCP_OFF (IP_OFF + IP6_HLEN)
#define RST6_END     (RST6_TCP_OFF + TCP_HLEN_MIN)

static __always_inline void rst6_swap(struct ipv6hdr *ip)
{
	__be32 *a = ip->saddr.in6_u.u6_addr32, *b = ip->daddr.in6_u.u6_addr32;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		__be32 t = a[i];

		a[i] = b[i];
		b[i] = t;
	}
}

static __always_inline void rst6_fill(struct ipv6hdr *ip, struct tcphdr *th, const struct packet *p,
	const struct rst_numbers *n, bool partial)
{
	__u32 pseudo;

	rst6_swap(ip);
	*(__be32 *)ip = bpf_htonl(6U << 28);
	ip->payload_len = bpf_htons(TCP_HLEN_MIN);
	ip->nexthdr = IPPROTO_TCP;
	ip->hop_limit = 64;
	pseudo = csum_fold((__u32)bpf_csum_diff(NULL, 0, (void *)&ip->saddr, 2 * sizeof(ip->saddr),
		bpf_htonl(TCP_HLEN_MIN + IPPROTO_TCP)));

	__builtin_memset(th, 0, sizeof(*th));
	th->source = p->dport;
	th->dest = p->sport;
	th->seq = n->seq;
	th->ack_seq = n->ack;
	th->doff = TCP_HLEN_MIN / 4;
	((__u8 *)th)[TCP_FLAGS_OFF] = n->flags;
	if (partial)
		th->check = pseudo;
	else
		th->check =
			~csum_fold((__u32)bpf_csum_diff(NULL, 0, (void *)th, sizeof(*th), pseudo));
}

/* As reset_sender(), from_id 0 for somebody outside. Extension headers are not worth one. */
__noinline int reset_sender6(struct __sk_buff *skb, __u32 from_id)
{
	struct packet pkt = {}, *p = &pkt;
	struct rst_numbers n;
	struct tcphdr *th;
	bool partial;
	__u8 *eth;

	if ((from_id && !instance_get(from_id)) || parse_ip6(skb, p) || parse_l4_6(skb, p))
		return -1;
	th = (void *)(frame(skb) + RST6_TCP_OFF);
	if (p->tcp_flags & TCP_RST || p->frag_first || p->l4 != RST6_TCP_OFF)
		return -1;
	if ((void *)(th + 1) > frame_end(skb))
		return -1;
	n = rst_numbers(p, th);
	partial = csum_is_partial(skb, RST6_TCP_OFF + TCP_CHECK_OFF);
	if (bpf_skb_change_tail(skb, RST6_END, 0))
		return -1;
	eth = frame(skb);
	th = (void *)(eth + RST6_TCP_OFF);
	if ((void *)(th + 1) > frame_end(skb))
		return -1;
	answer_macs((void *)eth, from_id);
	rst6_fill((void *)(eth + IP_OFF), th, p, &n, partial);
	count_event(WEFT_EVENT_RESETS);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
