/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What an instance sends by IPv6. */
#ifndef WEFT_BPF_IPV6_H
#define WEFT_BPF_IPV6_H

#include "bpf/forward6.h"
#include "bpf/icmp6.h"
#include "bpf/nd.h"
#include "bpf/outside.h"
#include "bpf/publish6.h"
#include "bpf/refuse6.h"
#include "bpf/waiting.h"

/* The overlay is no narrower for IPv6 than IPv6 permits. */
static __always_inline __u32 overlay_mtu6(void)
{
	return overlay_mtu && overlay_mtu < IP6_MTU_MIN ? IP6_MTU_MIN : overlay_mtu;
}

static __always_inline __u32 target6(struct __sk_buff *skb)
{
	const struct ipv6hdr *ip = (void *)(frame(skb) + IP_OFF);
	const __u32 *target;

	if ((void *)(ip + 1) > frame_end(skb))
		return 0;
	target = bpf_map_lookup_elem(&targets6, &ip->daddr);
	return target ? *target : 0;
}

static __always_inline int semantic6(struct __sk_buff *skb, struct packet *p, struct route6 *r)
{
	int ret = p->frag_later ? 0 : parse_l4_6(skb, p);

	if (ret == DROP(ICMP_TYPE))
		return IS_ERROR;
	if (ret)
		return ret;
	if (r->mtu && too_big6(skb, p, r->mtu))
		return DROP(TOO_BIG);
	return forward6(skb, p, r, p->frag_later ? 0 : target6(skb));
}

/* Neither to a semantic address nor to a group. */
static __always_inline int plain6(
	struct __sk_buff *skb, const struct weft_bpf_instance *from, const struct ipv6hdr *ip)
{
	const __u32 *id = bpf_map_lookup_elem(&ns_addrs6, &ip->daddr);
	const struct weft_bpf_instance *to = id ? instance_get(*id) : NULL;

	if (to)
		return to->device == WEFT_DEVICE_REMOTE ? DROP(REMOTE_ADDR) : deliver(skb, to);
	return from->device == WEFT_DEVICE_HOST ? DROP(UNKNOWN_ADDR) : NOT_OURS;
}

/* 0: it is no neighbour discovery. */
static __always_inline __u8 discovery(struct __sk_buff *skb, const struct packet *p)
{
	const __u8 *icmp = frame(skb) + IP_OFF + IP6_HLEN;

	if (p->proto != NEXT_ICMP || p->l4 != IP_OFF + IP6_HLEN ||
		(void *)(icmp + 1) > frame_end(skb))
		return 0;
	return *icmp >= ICMP6_ND_FIRST && *icmp <= ICMP6_ND_LAST ? *icmp : 0;
}

static __always_inline bool spoofed6(
	const struct weft_bpf_instance *from, const struct ipv6hdr *ip, bool semantic)
{
	if (!semantic && from->device == WEFT_DEVICE_HOST)
		return false;
	return !has_addr6(from->ns_addr6) || !same_addr6(ip->saddr.in6_u.u6_addr32, from->ns_addr6);
}

/* The verdict, NOT_OURS or IS_ERROR, as that for IPv4. */
__noinline int ipv6(struct __sk_buff *skb, __u32 from_id)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	struct route6 r = {.from_id = from_id, .mtu = overlay_mtu6()};
	const struct ipv6hdr *ip;
	struct packet p = {};
	bool semantic;
	__u8 type;
	int ret;

	if (!from)
		return DROP(UNKNOWN_DEVICE);
	ret = parse_ip6(skb, &p);
	if (ret)
		return ret;
	type = discovery(skb, &p);
	if (type)
		return type == ICMP6_SOLICIT ? nd_answer(skb, from_id) : DROP(ND_IGNORED);
	ip = (void *)(frame(skb) + IP_OFF);
	if ((void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	if (is_multicast6(ip->daddr.in6_u.u6_addr32))
		return DROP(MULTICAST);
	semantic = in_semantic_range6(ip->daddr.in6_u.u6_addr32);
	if (spoofed6(from, ip, semantic))
		return DROP(SPOOFED_ADDR);
	if (!semantic)
		return plain6(skb, from, ip);
	ret = semantic6(skb, &p, &r);
	if (ret >= 0 || p.frag_later || has_waited(skb))
		return ret;
	if (waits6(skb, &p, from_id, r.service, ret))
		return TC_ACT_SHOT;
	return refuse6(skb, from_id, ret, r.mtu);
}

/* What ipv6() leaves to do, with more of the stack than that has to give. */
static __always_inline int ipv6_rest(
	struct __sk_buff *skb, const struct weft_bpf_instance *from, __u32 id, int ret)
{
	if (ret == IS_ERROR)
		return icmp6_error(skb, id, target6(skb));
	if (ret != NOT_OURS)
		return ret;
	ret = outside6(skb);
	if (ret)
		return ret;
	ret = from->service ? publish6_out(skb, id) : NOT_OURS;
	return ret == NOT_OURS ? pass_to_host(skb) : ret;
}

#endif
