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

#include "bpf/hop_abi.h"
#include "bpf/hop_kernel.h"

struct hop_packet {
	struct weft_hop_addr saddr, daddr;
	__be16 sport, dport;
	__u32 seq, ack, end; /* TCP: end is the sequence number after it */
	__u32 l4;            /* where the transport header is, from skb->head */
	__u32 l4_len;
	__u8 proto;
};

static __always_inline bool hop_read(const struct sk_buff *skb, void *to, __u32 size, __u32 at)
{
	return at + size <= skb->tail && bpf_probe_read_kernel(to, size, skb->head + at) == 0;
}

static __always_inline bool hop_read_ipv4(const struct sk_buff *skb, __u32 at, struct hop_packet *p)
{
	struct iphdr ip;
	__u32 hlen, len;

	if (!hop_read(skb, &ip, sizeof(ip), at))
		return false;
	hlen = ip.ihl * 4;
	len = bpf_ntohs(ip.tot_len);
	if (!len) /* a super-packet above 64 KiB */
		len = skb->len;
	if (hlen < sizeof(ip) || len < hlen || ip.frag_off & bpf_htons(0x3fff))
		return false;
	p->saddr = (struct weft_hop_addr){{0, 0, bpf_htonl(0xffff), ip.saddr}};
	p->daddr = (struct weft_hop_addr){{0, 0, bpf_htonl(0xffff), ip.daddr}};
	p->proto = ip.protocol;
	p->l4 = at + hlen;
	p->l4_len = len - hlen;
	return true;
}

static __always_inline bool hop_read_ipv6(const struct sk_buff *skb, __u32 at, struct hop_packet *p)
{
	struct ipv6hdr ip;

	if (!hop_read(skb, &ip, sizeof(ip), at))
		return false;
	__builtin_memcpy(&p->saddr, &ip.saddr, sizeof(p->saddr));
	__builtin_memcpy(&p->daddr, &ip.daddr, sizeof(p->daddr));
	p->proto = ip.nexthdr;
	p->l4 = at + sizeof(ip);
	p->l4_len = bpf_ntohs(ip.payload_len);
	if (!p->l4_len)
		p->l4_len = skb->len;
	return true;
}

/* The addresses alone: enough to let go of most packets. at: of the network header. */
static __always_inline bool hop_read_ip(const struct sk_buff *skb, __u32 at, struct hop_packet *p)
{
	__u8 version;

	if (!hop_read(skb, &version, sizeof(version), at))
		return false;
	if (version >> 4 == 4)
		return hop_read_ipv4(skb, at, p);
	return version >> 4 == 6 && hop_read_ipv6(skb, at, p);
}

static __always_inline bool hop_read_l4(const struct sk_buff *skb, struct hop_packet *p)
{
	struct tcphdr th;
	struct udphdr uh;

	if (p->proto == IPPROTO_UDP) {
		if (!hop_read(skb, &uh, sizeof(uh), p->l4))
			return false;
		p->sport = uh.source;
		p->dport = uh.dest;
		p->seq = p->ack = p->end = 0;
		return true;
	}
	if (p->proto != IPPROTO_TCP || !hop_read(skb, &th, sizeof(th), p->l4))
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
