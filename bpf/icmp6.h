/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMPv6 errors about translated packets: as with IPv4, quoted as they were sent. All checksums
 * here cover addresses, the error's and the quoted one: what the quoted addresses change, the
 * quoted checksum takes back, if it is quoted. */
#ifndef WEFT_BPF_ICMP6_H
#define WEFT_BPF_ICMP6_H

#include "bpf/forward6.h"

/* The packet that the error is about. */
struct quoted6 {
	__be16 words[4]; /* of the transport header */
	__u16 off, l4;
	__u16 len; /* of the transport, as it was */
	__u16 proto;
};

/* Inside of the overlay it went from the one to the other that the error comes from and goes to:
 * its addresses are the error's own, the other way round. */
__noinline int quoted6_matches(struct __sk_buff *skb, __u32 off)
{
	const struct ipv6hdr *ip = (void *)(frame(skb) + IP_OFF);
	struct weft_addr6 saddr, daddr;

	if (bpf_skb_load_bytes(skb, off + IP6_SADDR_OFF, &saddr, sizeof(saddr)) ||
		bpf_skb_load_bytes(skb, off + IP6_SADDR_OFF + sizeof(saddr), &daddr, sizeof(daddr)))
		return false;
	return (void *)(ip + 1) <= frame_end(skb) &&
	       same_addr6(ip->saddr.in6_u.u6_addr32, daddr.word) &&
	       same_addr6(ip->daddr.in6_u.u6_addr32, saddr.word);
}

__noinline int quoted6_read(struct __sk_buff *skb, const struct packet *p, struct quoted6 *q)
{
	__be32 first[2];
	int walk;

	if (!p || !q)
		return DROP(MALFORMED);
	q->off = p->l4 + sizeof(struct icmp_error);
	if (!l4_holds(p, sizeof(struct icmp_error) + IP6_HLEN) ||
		bpf_skb_load_bytes(skb, q->off, first, sizeof(first)))
		return DROP(TRUNCATED);
	if (bpf_ntohl(first[0]) >> 28 != 6)
		return DROP(MALFORMED);
	walk = ip6_walk(skb, q->off, p->ip_len - (q->off - IP_OFF));
	if (walk < 0)
		return walk;
	if (walk & WALK_LATER)
		return DROP(ICMP_NO_FLOW);
	q->proto = WALK_PROTO(walk);
	q->l4 = q->off + WALK_OFF(walk);
	q->len = (bpf_ntohl(first[1]) >> 16) - (WALK_OFF(walk) - IP6_HLEN);
	if (q->l4 - IP_OFF + sizeof(q->words) > p->ip_len ||
		bpf_skb_load_bytes(skb, q->l4, q->words, sizeof(q->words)))
		return DROP(TRUNCATED);
	return 0;
}

/* What would answer the quoted packet. */
static __always_inline int quoted6_answer(const struct quoted6 *q, struct packet *ret)
{
	ret->family = 6;
	ret->proto = q->proto;
	switch (ret->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		ret->sport = q->words[1];
		ret->dport = q->words[0];
		return 0;
	case NEXT_ICMP:
		switch (bpf_ntohs(q->words[0]) >> 8) {
		case ICMP6_ECHO:
			ret->dport = q->words[2];
			return 0;
		case ICMP6_ECHOREPLY:
			ret->sport = q->words[2];
			return 0;
		}
		return DROP(ICMP_TYPE); /* no errors about errors */
	default:
		return DROP(ICMP_NO_FLOW);
	}
}

static __always_inline __u32 quoted6_check_off(const struct quoted6 *q)
{
	if (q->proto == IPPROTO_TCP)
		return q->l4 + TCP_CHECK_OFF;
	return q->l4 + (q->proto == IPPROTO_UDP ? UDP_CHECK_OFF : ICMP_CHECK_OFF);
}

/* Put addresses into the IPv6 header at offset ip of the frame: what a sum over it grows by, or a
 * DROP(). */
__noinline int addr6_replace(struct __sk_buff *skb, __u32 ip, const struct weft_addr6 *saddr,
	const struct weft_addr6 *daddr)
{
	struct weft_addr6 old[2], fresh[2];

	if (!saddr || !daddr || bpf_skb_load_bytes(skb, ip + IP6_SADDR_OFF, old, sizeof(old)))
		return DROP(TRUNCATED);
	fresh[0] = *saddr;
	fresh[1] = *daddr;
	if (bpf_skb_store_bytes(skb, ip + IP6_SADDR_OFF, fresh, sizeof(fresh), 0))
		return DROP(NO_MEMORY);
	return csum_fold(
		(__u32)bpf_csum_diff((void *)old, sizeof(old), (void *)fresh, sizeof(fresh), 0));
}

/* As quoted_check(); pseudo is the sum of the addresses of before. */
static __always_inline __u16 quoted6_check(
	const struct quoted6 *q, __u32 pseudo, __u16 check, __u32 diff, __u32 ports)
{
	pseudo = csum_fold((__u64)pseudo + bpf_htons(q->proto) + bpf_htons(q->len));
	if (q->proto != NEXT_ICMP && check == pseudo)
		return csum_fold((__u64)check + diff);
	check = ~csum_fold((__u64)(__u16)~check + diff + ports);
	return q->proto == IPPROTO_UDP && !check ? 0xffff : check;
}

/* Rewrite what is quoted, and the error's own checksum by what that changes. ports is what a sum
 * over the quoted transport header has grown by already. */
static __always_inline int quoted6_rewrite(struct __sk_buff *skb, const struct packet *p,
	const struct quoted6 *q, const __be32 saddr[4], const __be32 daddr[4], __u32 ports)
{
	__u32 off = quoted6_check_off(q), pseudo;
	__u16 check = 0, fresh;
	__u64 grown;
	int diff;

	pseudo = frame_sum(skb, q->off + IP6_SADDR_OFF, 2 * sizeof(struct weft_addr6));
	diff = addr6_replace(skb, q->off, (void *)saddr, (void *)daddr);
	if (diff < 0)
		return diff;
	grown = diff;
	/* Of TCP there may be no more than the ports and the sequence number. */
	if (off - IP_OFF + sizeof(check) <= p->ip_len) {
		if (bpf_skb_load_bytes(skb, off, &check, sizeof(check)))
			return DROP(TRUNCATED);
		fresh = quoted6_check(q, pseudo, check, diff, ports);
		if (bpf_skb_store_bytes(skb, off, &fresh, sizeof(fresh), 0))
			return DROP(NO_MEMORY);
		grown += (__u64)(__u16)~check + fresh;
	}
	if (bpf_l4_csum_replace(skb, p->l4 + ICMP_CHECK_OFF, 0, csum_fold(grown), 0))
		return DROP(NO_MEMORY);
	return 0;
}

/* The same as nat6_rewrite(), but with less of a stack. */
static __always_inline int error6_translate(
	struct __sk_buff *skb, const struct packet *p, const __be32 saddr[4], const __be32 daddr[4])
{
	int diff = addr6_replace(skb, IP_OFF, (void *)saddr, (void *)daddr);

	if (diff < 0)
		return diff;
	if (bpf_l4_csum_replace(skb, p->l4 + ICMP_CHECK_OFF, 0, diff, BPF_F_PSEUDO_HDR))
		return DROP(NO_MEMORY);
	bpf_csum_update(skb, diff);
	return 0;
}

__noinline int error6_finish(
	struct __sk_buff *skb, const struct packet *p, const struct quoted6 *q, struct route6 *r)
{
	const struct weft_bpf_instance *from, *to;
	const __be32 *source;
	__u8 type = 0;
	int ret;

	if (!p || !q || !r)
		return DROP(MALFORMED);
	from = instance_get(r->from_id);
	to = instance_get(r->to_id);
	if (!from || !to)
		return DROP(BACKEND_GONE);
	source = route6_source(r, from);
	if (!source)
		return DROP(BACKEND_GONE);
	ret = quoted6_rewrite(skb, p, q, to->ns_addr6, source, 0);
	if (!ret)
		ret = error6_translate(skb, p, source, to->ns_addr6);
	if (ret)
		return ret;
	count_packet(skb, r->service, r->backend, r->reverse ? FROM_BACKEND : TO_BACKEND);
	if (r->reverse && !bpf_skb_load_bytes(skb, p->l4, &type, sizeof(type)) &&
		type == ICMP6_UNREACHABLE)
		quality_unreachable(r->backend);
	return deliver(skb, to);
}

/* An error, and what it is about: 0 or a DROP(). */
__noinline int error6_read(struct __sk_buff *skb, struct packet *p, struct quoted6 *q)
{
	__u8 type = 0;
	int ret;

	if (!p || !q)
		return DROP(MALFORMED);
	ret = parse_ip6(skb, p);
	if (ret)
		return ret;
	if (p->proto != NEXT_ICMP)
		return DROP(ICMP_TYPE);
	if (bpf_skb_load_bytes(skb, p->l4, &type, sizeof(type)))
		return DROP(TRUNCATED);
	if (type < ICMP6_UNREACHABLE || type > ICMP6_PARAMETER)
		return DROP(ICMP_TYPE);
	if (p->frag_first || p->frag_later) /* RFC 4443 keeps them below any MTU */
		return DROP(MALFORMED);
	return quoted6_read(skb, p, q);
}

/* ICMPv6 that is neither echo nor neighbour discovery, to target: the verdict. */
__noinline int icmp6_error(struct __sk_buff *skb, __u32 from_id, __u32 target)
{
	struct route6 r = {.from_id = from_id};
	struct packet p = {}, answer = {};
	struct quoted6 q = {};
	int ret;

	ret = error6_read(skb, &p, &q);
	if (!ret)
		ret = quoted6_answer(&q, &answer);
	if (ret)
		return ret;
	if (!quoted6_matches(skb, q.off) || !route6_known(&answer, &r, target))
		return DROP(ICMP_NO_FLOW);
	return error6_finish(skb, &p, &q, &r);
}

#endif
