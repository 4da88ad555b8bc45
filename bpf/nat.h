/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Double NAT: both addresses change, ports stay. Transport checksums may be complete, partial (a
 * pseudo-header sum that the device or the receiver completes) or verified already: only the
 * kernel knows, so bpf_l4_csum_replace does it with BPF_F_PSEUDO_HDR. */
#ifndef WEFT_BPF_NAT_H
#define WEFT_BPF_NAT_H

#include "bpf/parse.h"

#define TCP_CHECK_OFF 16
#define UDP_CHECK_OFF 6

static __always_inline __u32 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline int nat_l4_check(struct __sk_buff *skb, const struct packet *p, __u32 diff)
{
	if (p->frag_later)
		return 0;
	if (p->proto == IPPROTO_TCP)
		return bpf_l4_csum_replace(skb, p->l4 + TCP_CHECK_OFF, 0, diff, BPF_F_PSEUDO_HDR);
	if (p->proto == IPPROTO_UDP) /* keeps 0, which says that there is none */
		return bpf_l4_csum_replace(skb, p->l4 + UDP_CHECK_OFF, 0, diff,
			BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
	return 0; /* ICMP covers no addresses */
}

static __always_inline int nat_rewrite(
	struct __sk_buff *skb, const struct packet *p, __be32 saddr, __be32 daddr)
{
	__u32 diff = csum_fold((__u64)(__u32)~p->saddr + saddr + (__u32)~p->daddr + daddr);
	struct iphdr *ip;

	/* What comes by a tunnel has been translated already, unless it answers a service's call.
	 */
	if (saddr == p->saddr && daddr == p->daddr)
		return 0;
	if (nat_l4_check(skb, p, diff))
		return DROP(NO_MEMORY);
	ip = (void *)(frame(skb) + IP_OFF);
	if ((void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	ip->check = ~csum_fold((__u64)(__u16)~ip->check + diff);
	ip->saddr = saddr;
	ip->daddr = daddr;
	return 0;
}

#endif
