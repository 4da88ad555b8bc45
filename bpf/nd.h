/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Neighbour discovery, as the gateway answers it: for the whole overlay, and for its own link-local
 * address fe80::1, through which instances have their default route. It learns nothing from what
 * instances say, and advertises no prefixes: addresses are weft's to give. */
#ifndef WEFT_BPF_ND_H
#define WEFT_BPF_ND_H

#include "bpf/arp.h"
#include "bpf/nat6.h"

#define ND_SOURCE_MAC 1 /* options */
#define ND_TARGET_MAC 2

#define ND_ROUTER    0x80000000U
#define ND_SOLICITED 0x40000000U
#define ND_OVERRIDE  0x20000000U

struct nd_message {
	__u8 type, code;
	__be16 check;
	__be32 flags;
	__be32 target[4];
};

struct nd_option {
	__u8 type, len; /* in eight bytes */
	__u8 mac[ETH_ALEN];
};

#define ND_ANSWER_LEN (sizeof(struct nd_message) + sizeof(struct nd_option))
#define ND_ANSWER_END (IP_OFF + IP6_HLEN + ND_ANSWER_LEN)

static __always_inline bool in_overlay6(const __be32 addr[4])
{
	return (addr[0] & bpf_htonl(WEFT_OVERLAY6_MASK)) == bpf_htonl(WEFT_OVERLAY6_NET);
}

static __always_inline bool is_link_local6(const __be32 addr[4])
{
	return (addr[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool is_multicast6(const __be32 addr[4])
{
	return (addr[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

static __always_inline bool is_gateway6(const __be32 addr[4])
{
	return addr[0] == bpf_htonl(0xfe800000) && !addr[1] && !addr[2] && addr[3] == bpf_htonl(1);
}

/* What RFC 4861, 7.1.1 wants of a solicitation, and that it names no other than its sender; whose
 * device it is may have other addresses of its own there. */
static __always_inline int nd_check(struct __sk_buff *skb, const struct packet *p,
	const struct weft_bpf_instance *from, const struct ipv6hdr *ip)
{
	const struct nd_message *nd = (void *)(ip + 1);
	const struct nd_option *opt = (void *)(nd + 1);
	const __be32 *saddr = ip->saddr.in6_u.u6_addr32;
	bool probe = !has_addr6(saddr);

	if ((void *)(nd + 1) > frame_end(skb) || !l4_holds(p, sizeof(*nd)))
		return DROP(TRUNCATED);
	if (ip->hop_limit != 255 || nd->code || is_multicast6(nd->target))
		return DROP(MALFORMED);
	if (!probe && !is_link_local6(saddr) && !(from->active & WEFT_INSTANCE_BORROWED) &&
		!same_addr6(saddr, from->ns_addr6))
		return DROP(SPOOFED_ADDR);
	if (!l4_holds(p, ND_ANSWER_LEN))
		return 0;
	if ((void *)(opt + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	if (!opt->len || (probe && opt->type == ND_SOURCE_MAC))
		return DROP(MALFORMED);
	if (opt->type == ND_SOURCE_MAC && !mac_equal(opt->mac, from->mac))
		return DROP(SPOOFED_ND);
	return 0;
}

static __always_inline void nd_fill(struct ipv6hdr *ip, const __be32 target[4])
{
	struct nd_message *nd = (void *)(ip + 1);
	struct nd_option *opt = (void *)(nd + 1);
	bool probe = !has_addr6(ip->saddr.in6_u.u6_addr32);

	if (probe) { /* who has no address yet listens to all of them */
		ip->daddr.in6_u.u6_addr32[0] = bpf_htonl(0xff020000);
		ip->daddr.in6_u.u6_addr32[1] = ip->daddr.in6_u.u6_addr32[2] = 0;
		ip->daddr.in6_u.u6_addr32[3] = bpf_htonl(1);
	} else {
		copy_addr6(ip->daddr.in6_u.u6_addr32, ip->saddr.in6_u.u6_addr32);
	}
	copy_addr6(ip->saddr.in6_u.u6_addr32, target);
	ip->payload_len = bpf_htons(ND_ANSWER_LEN);
	nd->type = ICMP6_ADVERTISE;
	nd->check = 0;
	nd->flags = bpf_htonl(ND_ROUTER | ND_OVERRIDE | (probe ? 0 : ND_SOLICITED));
	opt->type = ND_TARGET_MAC;
	opt->len = 1;
	__builtin_memcpy(opt->mac, gateway_mac, ETH_ALEN);
	nd->check = ~csum_fold((__u32)bpf_csum_diff(NULL, 0, (void *)&ip->saddr,
		2 * sizeof(ip->saddr) + ND_ANSWER_LEN, bpf_htonl(ND_ANSWER_LEN + NEXT_ICMP)));
}

/* A neighbour solicitation of the instance: the verdict. */
__noinline int nd_answer(struct __sk_buff *skb, __u32 from_id)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	struct ipv6hdr *ip = (void *)(frame(skb) + IP_OFF);
	const struct nd_message *nd = (void *)(ip + 1);
	struct packet p = {};
	__be32 target[4];
	int ret;

	if (!from || (void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	p.l4 = IP_OFF + IP6_HLEN;
	p.ip_len = IP6_HLEN + bpf_ntohs(ip->payload_len);
	ret = nd_check(skb, &p, from, ip);
	if (ret)
		return ret;
	if ((void *)(nd + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	copy_addr6(target, nd->target);
	/* A probe for its own address, for which nobody else must answer. */
	if (same_addr6(target, from->ns_addr6) || !(in_overlay6(target) || is_gateway6(target)))
		return DROP(ND_IGNORED);
	if (bpf_skb_change_tail(skb, ND_ANSWER_END, 0) || bpf_skb_pull_data(skb, ND_ANSWER_END))
		return DROP(NO_MEMORY);
	ip = (void *)(frame(skb) + IP_OFF);
	if ((void *)(frame(skb) + ND_ANSWER_END) > frame_end(skb))
		return DROP(NO_MEMORY);
	set_macs((void *)frame(skb), from->mac);
	nd_fill(ip, target);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
