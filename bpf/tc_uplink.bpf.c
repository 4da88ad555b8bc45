/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The program on the uplink's ingress. What is not a datagram of the tunnel it leaves to those
 * behind it; what is one never gets any further: it is a peer's packet to an instance here, or
 * dropped. On the wire a packet's source is its sender's instance address and its destination the
 * receiver's namespace address, in both directions. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "bpf/decap.h"
#include "bpf/forward.h"
#include "bpf/handover.h"
#include "bpf/icmp.h"
#include "bpf/icmp6.h"
#include "bpf/publish6.h"
#include "bpf/quick.h"

/* Which instance of that peer a source address means, 0: none. */
static __always_inline __u32 remote_target(__u32 target, __u32 peer)
{
	const struct weft_bpf_instance *from = instance_get(WEFT_TARGET_ID(target));

	if (WEFT_TARGET_KIND(target) != WEFT_TARGET_INSTANCE || !from ||
		from->device != WEFT_DEVICE_REMOTE || from->peer != peer)
		return 0;
	return WEFT_TARGET_ID(target);
}

static __always_inline __u32 remote_source(__be32 saddr, __u32 peer)
{
	__u32 low = bpf_ntohl(saddr) & 0xffff;
	const __u32 *target = bpf_map_lookup_elem(&targets, &low);

	return in_semantic_range(saddr) && target ? remote_target(*target, peer) : 0;
}

/* quick() for what comes from another node. */
static __always_inline int quick_arrive(struct __sk_buff *skb, __u32 peer)
{
	struct packet p = {};
	struct route r = {};

	if (!quick_ip(skb, &p) || !quick_l4(skb, &p))
		return NOT_QUICK;
	r.from_id = remote_source(p.saddr, peer);
	r.from = instance_get(r.from_id);
	r.to_id = instance_near(p.daddr);
	r.to = instance_get(r.to_id);
	if (!r.from || !r.to || r.to->ns_addr != p.daddr || r.to->device == WEFT_DEVICE_REMOTE ||
		!quick_answer(&p, &r))
		return NOT_QUICK;
	if (r.saddr != p.saddr &&
		!nat_rewrite_here(skb, p.proto == IPPROTO_UDP, r.saddr, r.to->ns_addr))
		return NOT_QUICK;
	peer_arrived(peer, skb_packets(skb), skb->len - ETH_HLEN);
	quick_count(skb, &p, &r);
	return deliver_here(skb, r.to);
}

/* Out of the tunnel and, mostly, to whom it is for: a verdict, NOT_OURS or a DROP(); or TAKEN and
 * the peer's id, and the rest is to be done. */
static __noinline int take_in(struct __sk_buff *skb)
{
	__u32 peer = handed_over(skb);
	int ret;

	if (!peer) {
		ret = take_off(skb);
		if (ret < 0 || !(ret & TAKEN))
			return ret;
		peer = ret & 0xffff;
	}
	ret = quick_arrive(skb, peer);
	return ret == NOT_QUICK ? (int)(TAKEN | peer) : ret;
}

#define ENDS(from, to)  ((__s64)(from) << 32 | (to))
#define ENDS_FROM(ends) ((__u32)((ends) >> 32))
#define ENDS_TO(ends)   ((__u32)(ends))

/* Who has sent it to whom: ENDS(), a DROP(), or 0: no instance of that peer. */
static __noinline __s64 arrive4_ends(struct __sk_buff *skb, __u32 peer)
{
	const struct weft_bpf_instance *to;
	struct packet p = {};
	__u32 from, id;
	int ret;

	ret = parse_ip(skb, &p);
	if (ret)
		return ret;
	from = remote_source(p.saddr, peer);
	if (!from)
		return 0;
	id = instance_at(p.daddr);
	to = instance_get(id);
	if (!to || to->device == WEFT_DEVICE_REMOTE)
		return DROP(TUNNEL_TARGET);
	return ENDS(from, id);
}

/* From an instance to an instance: a verdict, a DROP() or IS_ERROR. */
static __noinline int arrive4(struct __sk_buff *skb, __u32 from, __u32 to)
{
	struct route r = {.from_id = from, .mtu = overlay_mtu};
	struct packet p = {};
	int ret;

	ret = parse_ip(skb, &p);
	if (ret)
		return ret;
	r.from = instance_get(from);
	if (!r.from)
		return DROP(TUNNEL_SOURCE);
	if (p.frag_later)
		return later_fragment(skb, &p, &r);
	ret = parse_l4(skb, &p);
	if (ret == DROP(ICMP_TYPE))
		return IS_ERROR;
	if (!ret)
		ret = call_instance(&p, &r, to);
	if (ret)
		return ret;
	if (p.frag_first)
		first_fragment(&p, &r);
	return finish(skb, &p, &r);
}

static __always_inline int arrive4_any(struct __sk_buff *skb, __u32 peer)
{
	__s64 ends = arrive4_ends(skb, peer);
	int ret;

	if (ends <= 0)
		return ends ? ends : publish_arrive(skb, peer);
	ret = arrive4(skb, ENDS_FROM(ends), ENDS_TO(ends));
	return ret == IS_ERROR ? icmp_error(skb, ENDS_FROM(ends), ENDS_TO(ends)) : ret;
}

static __always_inline __u32 remote_source6(const __be32 saddr[4], __u32 peer)
{
	const __u32 *target = bpf_map_lookup_elem(&targets6, saddr);

	return target ? remote_target(*target, peer) : 0;
}

__noinline int arrive6(struct __sk_buff *skb, __u32 peer)
{
	struct route6 r = {.mtu = overlay_mtu};
	const struct weft_bpf_instance *to;
	const struct ipv6hdr *ip;
	struct packet p = {};
	const __u32 *id;
	int ret;

	ret = parse_ip6(skb, &p);
	if (ret)
		return ret;
	ip = (void *)(frame(skb) + IP_OFF);
	if ((void *)(ip + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	r.from_id = remote_source6(ip->saddr.in6_u.u6_addr32, peer);
	if (!r.from_id)
		return publish6_arrive(skb, peer, p.proto == NEXT_ICMP);
	id = bpf_map_lookup_elem(&ns_addrs6, &ip->daddr);
	to = id ? instance_get(*id) : NULL;
	if (!to || to->device == WEFT_DEVICE_REMOTE)
		return DROP(TUNNEL_TARGET);
	ret = p.frag_later ? 0 : parse_l4_6(skb, &p);
	if (ret == DROP(ICMP_TYPE))
		return icmp6_error(skb, r.from_id, WEFT_TARGET(WEFT_TARGET_INSTANCE, *id));
	return ret ? ret : forward6(skb, &p, &r, WEFT_TARGET(WEFT_TARGET_INSTANCE, *id));
}

static __always_inline int arrive(struct __sk_buff *skb, __u32 peer)
{
	const struct ethhdr *eth;
	int ret;

	ret = parse_pull(skb);
	if (ret)
		return ret;
	eth = (void *)frame(skb);
	if ((void *)(eth + 1) > frame_end(skb))
		return DROP(TRUNCATED);
	peer_arrived(peer, skb_packets(skb), skb->len - ETH_HLEN);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return arrive6(skb, peer);
	return arrive4_any(skb, peer);
}

static __always_inline int dropped(int ret, __u32 peer)
{
	count_drop(DROP_REASON(ret));
	peer_dropped(peer);
	return TC_ACT_SHOT;
}

SEC("tc")
int tc_uplink(struct __sk_buff *skb)
{
	int ret = take_in(skb);
	__u32 peer;

	if (ret == NOT_OURS)
		return TC_ACT_UNSPEC;
	if (ret < 0)
		return dropped(ret, 0);
	if (!(ret & TAKEN))
		return ret;
	peer = ret & 0xffff;
	ret = arrive(skb, peer);
	return ret < 0 ? dropped(ret, peer) : ret;
}

/* On the VXLAN device that is there for GRO alone: nothing comes this far from the uplink, and what
 * comes from elsewhere must not get in. */
SEC("tc")
int tc_vxlan(struct __sk_buff *skb)
{
	(void)skb;
	count_drop(WEFT_DROP_TUNNEL_DEVICE);
	return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
