/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Double NAT: both addresses change, ports stay. Transport checksums may be complete, partial (a
 * pseudo-header sum that the device or the receiver completes) or verified already: where the
 * kernel does not say which, bpf_l4_csum_replace does it with BPF_F_PSEUDO_HDR. */
#ifndef WEFT_BPF_NAT_H
#define WEFT_BPF_NAT_H

#include "bpf/kern_ctx.h"
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

/* Of two words: one carry at most. */
static __always_inline __u16 csum_add(__u16 a, __u32 b)
{
	__u32 sum = a + b;

	return sum + (sum >> 16);
}

/* What a checksum becomes by a difference, itself a word. */
static __always_inline __u16 csum_update(__u16 check, __u32 diff)
{
	return ~csum_add(~check, diff);
}

/* As bpf_l4_csum_replace with BPF_F_PSEUDO_HDR and, if optional, BPF_F_MARK_MANGLED_0; without
 * its call's cost. False when it is to be called after all. */
static __always_inline bool nat_check_here(
	struct __sk_buff *skb, __u32 off, __u32 diff, bool optional)
{
	enum skb_summed kind = skb_summed(skb);
	__u16 *check;

	if (kind == SUMMED_COMPLETE || kind == SUMMED_UNKNOWN || off > L4_OFF_MASK)
		return false;
	check = (void *)(frame(skb) + off);
	if ((void *)(check + 1) > frame_end(skb))
		return false;
	if (optional && !*check)
		return true;
	if (kind == SUMMED_PARTIAL)
		*check = csum_add(*check, diff);
	else
		*check = csum_update(*check, diff);
	if (optional && !*check)
		*check = 0xffff;
	return true;
}

static __always_inline int nat_l4_check(struct __sk_buff *skb, const struct packet *p, __u32 diff)
{
	bool udp = p->proto == IPPROTO_UDP; /* where 0 says that there is none */
	__u32 off = p->l4 + (udp ? UDP_CHECK_OFF : TCP_CHECK_OFF);

	/* ICMP covers no addresses. */
	if (p->frag_later || (p->proto != IPPROTO_TCP && !udp))
		return 0;
	if (nat_check_here(skb, off, diff, udp))
		return 0;
	return bpf_l4_csum_replace(
		skb, off, 0, diff, BPF_F_PSEUDO_HDR | (udp ? BPF_F_MARK_MANGLED_0 : 0));
}

static __always_inline void nat_addrs(struct iphdr *ip, __be32 saddr, __be32 daddr, __u32 diff)
{
	ip->check = csum_update(ip->check, diff);
	ip->saddr = saddr;
	ip->daddr = daddr;
}

static __always_inline __u32 nat_diff(__be32 saddr, __be32 daddr, __be32 to_saddr, __be32 to_daddr)
{
	return csum_fold((__u64)(__u32)~saddr + to_saddr + (__u32)~daddr + to_daddr);
}

static __always_inline int nat_rewrite(
	struct __sk_buff *skb, const struct packet *p, __be32 saddr, __be32 daddr)
{
	__u32 diff = nat_diff(p->saddr, p->daddr, saddr, daddr);
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
	nat_addrs(ip, saddr, daddr, diff);
	return 0;
}

/* The same to a plain TCP or UDP packet without any helper; false, and nothing done, where it takes
 * one. */
static __always_inline bool nat_rewrite_here(
	struct __sk_buff *skb, bool udp, __be32 saddr, __be32 daddr)
{
	struct iphdr *ip = (void *)(frame(skb) + IP_OFF);
	__u32 check = IP_OFF + IP_HLEN_MIN + (udp ? UDP_CHECK_OFF : TCP_CHECK_OFF), diff;

	if ((void *)(ip + 1) > frame_end(skb))
		return false;
	diff = nat_diff(ip->saddr, ip->daddr, saddr, daddr);
	if (!nat_check_here(skb, check, diff, udp))
		return false;
	nat_addrs(ip, saddr, daddr, diff);
	return true;
}

#endif
