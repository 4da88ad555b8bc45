/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A TCP segment of no flow is answered by a RST, so that its sender learns at once and can connect
 * again, instead of retransmitting into nothing. The segment itself becomes the answer. */
#ifndef WEFT_BPF_RESET_H
#define WEFT_BPF_RESET_H

#include "bpf/deliver.h"
#include "bpf/nat.h"

#define RST_TCP_OFF (IP_OFF + IP_HLEN_MIN)

/* What RFC 9293, 3.10.7.1 answers to a segment that arrives for a closed connection. */
struct rst_numbers {
	__be32 seq, ack;
	__u8 flags;
};

/* Is the checksum only begun, to be completed by who receives it? Nothing tells a program, but
 * bpf_l4_csum_replace leaves such a field alone when what changes is outside the pseudo-header. */
static __always_inline bool csum_is_partial(struct __sk_buff *skb, __u32 off)
{
	__u16 before = 0, after = 0;

	if (bpf_skb_load_bytes(skb, off, &before, 2) || bpf_l4_csum_replace(skb, off, 0, 1, 2) ||
		bpf_skb_load_bytes(skb, off, &after, 2))
		return false;
	return before == after;
}

static __always_inline struct rst_numbers rst_numbers(
	const struct packet *p, const struct tcphdr *th)
{
	struct rst_numbers n = {.flags = TCP_RST};
	__u32 len;

	if (p->tcp_flags & TCP_ACK) {
		n.seq = th->ack_seq;
		return n;
	}
	len = p->ip_len - (p->l4 - IP_OFF) - th->doff * 4;
	len += !!(p->tcp_flags & TCP_SYN) + !!(p->tcp_flags & TCP_FIN);
	n.ack = bpf_htonl(bpf_ntohl(p->seq) + len);
	n.flags |= TCP_ACK;
	return n;
}

static __always_inline void rst_fill(struct iphdr *ip, struct tcphdr *th, const struct packet *p,
	const struct rst_numbers *n, bool partial)
{
	__u32 pseudo = csum_fold(
		(__u64)p->saddr + p->daddr + bpf_htons(IPPROTO_TCP) + bpf_htons(TCP_HLEN_MIN));

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = IP_HLEN_MIN / 4;
	ip->tot_len = bpf_htons(IP_HLEN_MIN + TCP_HLEN_MIN);
	ip->frag_off = bpf_htons(IP_FRAG_DONT);
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->saddr = p->daddr;
	ip->daddr = p->saddr;
	ip->check = ~csum_fold((__u32)bpf_csum_diff(NULL, 0, (void *)ip, sizeof(*ip), 0));

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

/* Is what was dropped for ret part of a connection that has gone, or that cannot be? */
static __always_inline bool is_lost(const struct packet *p, int ret)
{
	return ret == DROP(NO_FLOW) || ret == DROP(BACKEND_GONE) || ret == DROP(PORT_IN_USE) ||
	       (ret == DROP(UNKNOWN_ADDR) && !p->opens);
}

/* Back to where a frame came from that was sent to this host. */
static __always_inline void turn_macs(struct ethhdr *eth)
{
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
}

/* The same, or to the instance that it came from. */
static __always_inline void answer_macs(struct ethhdr *eth, __u32 from_id)
{
	const struct weft_bpf_instance *sender = instance_get(from_id);

	if (sender)
		set_macs(eth, sender->mac);
	else
		turn_macs(eth);
}

/* The TC verdict, or -1 where no answer is due. Options and fragments are not worth one. sender
 * NULL: no instance, but somebody outside. */
static __always_inline int reset_sender(
	struct __sk_buff *skb, const struct packet *p, const struct weft_bpf_instance *sender)
{
	struct tcphdr *th = (void *)(frame(skb) + RST_TCP_OFF);
	struct rst_numbers n;
	bool partial;
	__u8 *eth;

	if (p->tcp_flags & TCP_RST || p->frag_first || p->l4 != RST_TCP_OFF)
		return -1;
	if ((void *)(th + 1) > frame_end(skb))
		return -1;
	n = rst_numbers(p, th);
	partial = csum_is_partial(skb, RST_TCP_OFF + TCP_CHECK_OFF);
	if (bpf_skb_change_tail(skb, RST_TCP_OFF + TCP_HLEN_MIN, 0))
		return -1;
	eth = frame(skb);
	th = (void *)(eth + RST_TCP_OFF);
	if ((void *)(th + 1) > frame_end(skb))
		return -1;
	if (sender)
		set_macs((void *)eth, sender->mac);
	else
		turn_macs((void *)eth);
	rst_fill((void *)(eth + IP_OFF), th, p, &n, partial);
	count_event(WEFT_EVENT_RESETS);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
