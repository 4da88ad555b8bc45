/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A packet as the hop probes see it: in an sk_buff, read by probe. Only TCP with data and UDP are
 * of interest; fragments, extension headers and whatever is not in the linear part are let go. */
#ifndef WEFT_BPF_HOP_PACKET_H
#define WEFT_BPF_HOP_PACKET_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>

#include "bpf/hop_abi.h"
#include "bpf/hop_kernel.h"

/* The linear part of an sk_buff, by offsets from its head. */
struct hop_view {
	const unsigned char *head;
	__u32 network, tail, len;
};

struct hop_packet {
	struct weft_hop_addr saddr, daddr;
	__be16 sport, dport;
	__u32 seq, ack, end; /* TCP: end is the sequence number after it */
	__u32 l4;            /* where the transport header is, from skb->head */
	__u32 l4_len;
	__u8 proto;
};

static __always_inline struct hop_view hop_view(const struct sk_buff *skb)
{
	return (struct hop_view){skb->head, skb->network_header, skb->tail, skb->len};
}

/* The same of an sk_buff that is known by its address alone. */
static __always_inline struct hop_view hop_view_at(__u64 address)
{
	const struct sk_buff *skb = (void *)address;
	struct hop_view v = {
		.head = BPF_CORE_READ(skb, head),
		.network = BPF_CORE_READ(skb, network_header),
		.tail = BPF_CORE_READ(skb, tail),
		.len = BPF_CORE_READ(skb, len),
	};

	return v;
}

static __always_inline bool hop_read(const struct hop_view *v, void *to, __u32 size, __u32 at)
{
	return at + size <= v->tail && bpf_probe_read_kernel(to, size, v->head + at) == 0;
}

static __always_inline bool hop_take_ipv4(
	const struct hop_view *v, const struct iphdr *ip, struct hop_packet *p)
{
	__u32 hlen = ip->ihl * 4, len = bpf_ntohs(ip->tot_len);

	if (!len) /* a super-packet above 64 KiB */
		len = v->len;
	if (hlen < sizeof(*ip) || len < hlen || ip->frag_off & bpf_htons(0x3fff))
		return false;
	p->saddr = (struct weft_hop_addr){{0, 0, bpf_htonl(0xffff), ip->saddr}};
	p->daddr = (struct weft_hop_addr){{0, 0, bpf_htonl(0xffff), ip->daddr}};
	p->proto = ip->protocol;
	p->l4 = v->network + hlen;
	p->l4_len = len - hlen;
	return true;
}

static __always_inline bool hop_read_ipv6(const struct hop_view *v, struct hop_packet *p)
{
	struct ipv6hdr ip;

	if (!hop_read(v, &ip, sizeof(ip), v->network))
		return false;
	__builtin_memcpy(&p->saddr, &ip.saddr, sizeof(p->saddr));
	__builtin_memcpy(&p->daddr, &ip.daddr, sizeof(p->daddr));
	p->proto = ip.nexthdr;
	p->l4 = v->network + sizeof(ip);
	p->l4_len = bpf_ntohs(ip.payload_len);
	if (!p->l4_len)
		p->l4_len = v->len;
	return true;
}

/* The addresses alone: enough to let go of most packets. */
static __always_inline bool hop_read_ip(const struct hop_view *v, struct hop_packet *p)
{
	struct iphdr ip; /* shorter than IPv6's, and the version is at the same place */

	if (!hop_read(v, &ip, sizeof(ip), v->network))
		return false;
	if (ip.version == 4)
		return hop_take_ipv4(v, &ip, p);
	return ip.version == 6 && hop_read_ipv6(v, p);
}

static __always_inline bool hop_read_l4(const struct hop_view *v, struct hop_packet *p)
{
	struct tcphdr th;
	struct udphdr uh;

	if (p->proto == IPPROTO_UDP) {
		if (!hop_read(v, &uh, sizeof(uh), p->l4))
			return false;
		p->sport = uh.source;
		p->dport = uh.dest;
		p->seq = p->ack = p->end = 0;
		return true;
	}
	if (p->proto != IPPROTO_TCP || !hop_read(v, &th, sizeof(th), p->l4))
		return false;
	if (th.syn || th.rst || p->l4_len <= th.doff * 4U)
		return false;
	p->sport = th.source;
	p->dport = th.dest;
	p->seq = bpf_ntohl(th.seq);
	p->ack = bpf_ntohl(th.ack_seq);
	p->end = p->seq + p->l4_len - th.doff * 4U;
	return true;
}

#endif
