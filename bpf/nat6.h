/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Double NAT of IPv6. Its header has no checksum; all transports' cover the addresses. */
#ifndef WEFT_BPF_NAT6_H
#define WEFT_BPF_NAT6_H

#include "bpf/nat.h"
#include "bpf/parse6.h"

/* To be folded: what a sum of words grows by when these two addresses become those two. */
static __always_inline __u64 nat6_diff(const __be32 old_saddr[4], const __be32 old_daddr[4],
	const __be32 saddr[4], const __be32 daddr[4])
{
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)(__u32)~old_saddr[i] + saddr[i] + (__u32)~old_daddr[i] + daddr[i];
	return sum;
}

/* What a device took the sum of, header and all, stays right: where a transport's checksum makes up
 * for the addresses because nothing changes by them (the helper thinks of IPv4, whose own header
 * has one as well), where there is none because they do. */
static __always_inline int nat6_l4_check(struct __sk_buff *skb, const struct packet *p, __u32 diff)
{
	bool udp = p->proto == IPPROTO_UDP;
	__u32 off = p->l4 + ICMP_CHECK_OFF;
	int ret = 0;

	if (p->proto == IPPROTO_TCP)
		off = p->l4 + TCP_CHECK_OFF;
	else if (udp)
		off = p->l4 + UDP_CHECK_OFF;
	if (!p->frag_later) {
		if (nat_check_here(skb, off, diff, udp))
			return 0;
		ret = bpf_l4_csum_replace(
			skb, off, 0, diff, BPF_F_PSEUDO_HDR | (udp ? BPF_F_MARK_MANGLED_0 : 0));
	}
	bpf_csum_update(skb, diff);
	return ret;
}

/* The sum of len bytes of the frame: a multiple of four, headers at most. */
__noinline __u32 frame_sum(struct __sk_buff *skb, __u32 off, __u32 len)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < (IP6_HEADERS_MAX + TCP_HLEN_MIN) / 4; i++) {
		__u32 word = 0;

		if (4 * i >= len || bpf_skb_load_bytes(skb, off + 4 * i, &word, sizeof(word)))
			break;
		sum += word;
	}
	return csum_fold(sum);
}

static __always_inline bool same_addr6(const __be32 a[4], const __be32 b[4])
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

static __always_inline void copy_addr6(__be32 to[4], const __be32 from[4])
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		to[i] = from[i];
}

static __always_inline int nat6_rewrite(
	struct __sk_buff *skb, const struct packet *p, const __be32 saddr[4], const __be32 daddr[4])
{
	struct ipv6hdr *ip = (void *)(frame(skb) + IP_OFF);
	__u32 diff;

	if ((void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	/* What comes by a tunnel has been translated already, unless it answers a service's call.
	 */
	if (same_addr6(ip->saddr.in6_u.u6_addr32, saddr) &&
		same_addr6(ip->daddr.in6_u.u6_addr32, daddr))
		return 0;
	diff = csum_fold(
		nat6_diff(ip->saddr.in6_u.u6_addr32, ip->daddr.in6_u.u6_addr32, saddr, daddr));
	if (nat6_l4_check(skb, p, diff))
		return DROP(NO_MEMORY);
	ip = (void *)(frame(skb) + IP_OFF);
	if ((void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	copy_addr6(ip->saddr.in6_u.u6_addr32, saddr);
	copy_addr6(ip->daddr.in6_u.u6_addr32, daddr);
	return 0;
}

#endif
