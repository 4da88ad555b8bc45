/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Published ports for IPv6: as publish.h, step by step. */
#ifndef WEFT_BPF_PUBLISH6_H
#define WEFT_BPF_PUBLISH6_H

#include "bpf/forward6.h"
#include "bpf/publish.h"
#include "bpf/publish6_icmp.h"
#include "bpf/refuse6.h"

/* A packet with ports; its addresses stay in the frame. */
static __always_inline bool parse_outside6(struct __sk_buff *skb, struct packet *p)
{
	return !parse_ip6(skb, p) && has_ports(p->proto) && !p->frag_later && !parse_l4_6(skb, p);
}

/* As publish_pick(). */
__noinline __s64 publish6_pick(struct __sk_buff *skb)
{
	const struct ipv6hdr *ip;
	struct packet p = {};
	struct outside o = {};
	struct route6 r = {};
	int ret;

	if (!parse_outside6(skb, &p))
		return 0;
	ip = ip6_header(skb);
	if (!ip || !published_find6(&o, ip->daddr.in6_u.u6_addr32, p.dport, p.proto))
		return 0;
	ret = call_published(&p, client6(ip->saddr.in6_u.u6_addr32), &o);
	if (ret)
		return ret;
	if (p.frag_first) {
		r.to_id = r.backend = o.to_id;
		r.service = o.pub->service;
		first_fragment6(skb, &r, p.frag);
	}
	return PICKED(o.svc->published + o.pub->index, o.to_id);
}

/* The MTU of the way to an instance; 0: there is none. */
static __always_inline __u32 way_mtu6(const struct weft_bpf_instance *to)
{
	if (to->device == WEFT_DEVICE_REMOTE)
		return peer_mtu(to->peer);
	return overlay_mtu && overlay_mtu < IP6_MTU_MIN ? IP6_MTU_MIN : overlay_mtu;
}

static __always_inline void clamp6(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	if (mtu > IP6_HLEN && p->tcp_flags & TCP_SYN && !p->frag_first)
		mss_clamp(skb, p->l4, mtu - (IP6_HLEN - IP_HLEN_MIN));
}

/* Another address at one of the ends. */
static __always_inline int nat6_source(
	struct __sk_buff *skb, const struct packet *p, const __be32 saddr[4])
{
	struct weft_addr6 daddr;

	if (bpf_skb_load_bytes(skb, IP_OFF + IP6_DADDR_OFF, &daddr, sizeof(daddr)))
		return DROP(TRUNCATED);
	return nat6_rewrite(skb, p, saddr, daddr.word);
}

static __always_inline int nat6_dest(
	struct __sk_buff *skb, const struct packet *p, const __be32 daddr[4])
{
	struct weft_addr6 saddr;

	if (bpf_skb_load_bytes(skb, IP_OFF + IP6_SADDR_OFF, &saddr, sizeof(saddr)))
		return DROP(TRUNCATED);
	return nat6_rewrite(skb, p, saddr.word, daddr);
}

/* As publish_to(), but for the error: DROP(TOO_BIG) is to be told by who calls. */
__noinline int publish6_to(struct __sk_buff *skb, __u32 pub_id, __u32 to_id)
{
	const struct weft_bpf_published *pub = bpf_map_lookup_elem(&published, &pub_id);
	const struct weft_bpf_instance *to = instance_get(to_id);
	struct packet p = {};
	__u32 mtu;
	int ret;

	if (!pub || !to || !parse_outside6(skb, &p))
		return DROP(BACKEND_GONE);
	mtu = way_mtu6(to);
	if (!mtu && to->device == WEFT_DEVICE_REMOTE)
		return DROP(NO_PEER);
	if (mtu && too_big6(skb, &p, mtu))
		return DROP(TOO_BIG);
	count_packet(skb, pub->service, to_id, TO_BACKEND);
	clamp6(skb, &p, mtu);
	ret = nat_port(skb, &p, PORT_DEST, p.dport, pub->port);
	return ret ? ret : nat6_dest(skb, &p, to->ns_addr6);
}

/* As publish_later(). */
__noinline int publish6_later(struct __sk_buff *skb)
{
	const struct weft_bpf_instance *to;
	struct route6 r = {};
	struct packet p = {};
	int ret;

	if (parse_ip6(skb, &p) || !p.frag_later)
		return 0;
	ret = later_fragment6(skb, &r, p.frag);
	if (ret)
		return ret == DROP(FRAGMENT) ? 0 : ret;
	if (r.reverse)
		return 0;
	to = instance_get(r.to_id);
	if (!to)
		return DROP(BACKEND_GONE);
	ret = nat6_dest(skb, &p, to->ns_addr6);
	return ret ? ret : r.to_id;
}

static __always_inline __u32 instance_mtu6(__u32 id)
{
	const struct weft_bpf_instance *to = instance_get(id);

	return to ? way_mtu6(to) : 0;
}

/* As publish_in(). */
static __always_inline int publish6_in(struct __sk_buff *skb)
{
	const struct weft_bpf_instance *to;
	__s64 pick;
	int ret;

	if (may_be_error6(skb)) {
		pick = publish6_error_pick(skb);
		if (pick)
			return publish6_error_to(skb, PICKED_PUB(pick), PICKED_TO(pick));
	}
	pick = publish6_pick(skb);
	if (pick < 0)
		return refuse6(skb, 0, pick, 0);
	ret = pick ? publish6_to(skb, PICKED_PUB(pick), PICKED_TO(pick)) : publish6_later(skb);
	if (ret == DROP(TOO_BIG))
		return refuse6(skb, 0, ret, instance_mtu6(PICKED_TO(pick)));
	if (ret < 0)
		return ret;
	if (!pick && !ret)
		return NOT_OURS;
	to = instance_get(pick ? PICKED_TO(pick) : (__u32)ret);
	return to ? deliver(skb, to) : DROP(BACKEND_GONE);
}

/* As answer_later() and answer_first(); what the note says is to is the instance itself. */
__noinline __u64 answer6_later(struct __sk_buff *skb, __u32 from_id, __u32 frag)
{
	struct route6 r = {};

	if (later_fragment6(skb, &r, frag) || !r.reverse || r.to_id != from_id)
		return 0;
	return r.backend ? PUBLISH(PUBLISH_PEERS, r.backend) : PUBLISH(PUBLISH_OURS, 0);
}

__noinline int answer6_first(struct __sk_buff *skb, __u32 from_id, __u32 peer, __u32 frag)
{
	struct route6 r = {.to_id = from_id, .backend = peer, .reverse = 1};

	return first_fragment6(skb, &r, frag);
}

/* As publish_whose(). */
__noinline __u64 publish6_whose(struct __sk_buff *skb, __u32 from_id)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	struct weft_return_key key;
	const struct ipv6hdr *ip;
	struct packet p = {};
	struct outside o = {};
	const __u32 *peer;

	if (!from)
		return 0;
	if (!parse_outside6(skb, &p))
		return p.frag_later ? answer6_later(skb, from_id, p.frag) : 0;
	ip = ip6_header(skb);
	if (!ip)
		return 0;
	return_key6(&key, ip->daddr.in6_u.u6_addr32, p.dport, from->epoch, p.sport, p.proto);
	if (answers_published(&p, client6(key.client), from, from_id, &o, true))
		return PUBLISH(PUBLISH_OURS, o.pub->host_port);
	if (from->device == WEFT_DEVICE_REMOTE)
		return 0;
	peer = bpf_map_lookup_elem(&returns, &key);
	return peer ? PUBLISH(PUBLISH_PEERS, *peer) : 0;
}

/* As publish_send(). */
__noinline int publish6_send(struct __sk_buff *skb, __u32 from_id, __u32 port)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	const struct weft_bpf_publish_at *at = published_at();
	struct packet p = {};
	int ret;

	if (!from || !at || parse_ip6(skb, &p) || (!p.frag_later && parse_l4_6(skb, &p)))
		return DROP(NO_UPLINK);
	if (p.frag_first)
		answer6_first(skb, from_id, 0, p.frag);
	count_packet(skb, from->service, from_id, FROM_BACKEND);
	clamp6(skb, &p, way_mtu6(from));
	ret = p.frag_later ? 0 : nat_port(skb, &p, PORT_SOURCE, p.sport, port);
	if (!ret)
		ret = nat6_source(skb, &p, at->addr6);
	return ret ? ret : leave();
}

/* As publish_send_peer(). */
__noinline int publish6_send_peer(struct __sk_buff *skb, __u32 from_id, __u32 peer)
{
	__u32 mtu = peer_mtu(peer);
	struct packet p = {};

	if (!mtu)
		return DROP(NO_PEER);
	if (parse_ip6(skb, &p))
		return DROP(TRUNCATED);
	if (too_big6(skb, &p, mtu))
		return refuse6(skb, from_id, DROP(TOO_BIG), mtu);
	if (p.frag_first)
		answer6_first(skb, from_id, peer, p.frag);
	return encap(skb, peer);
}

/* As publish_out(). */
static __always_inline int publish6_out(struct __sk_buff *skb, __u32 from_id)
{
	__u64 whose;

	if (may_be_error6(skb)) {
		whose = publish6_error_whose(skb, from_id);
		if (PUBLISH_KIND(whose) == PUBLISH_PEERS)
			return encap(skb, (__u32)whose);
		if (PUBLISH_KIND(whose) == PUBLISH_OURS)
			return publish6_error_send(skb, from_id, (__u32)whose);
	}
	whose = publish6_whose(skb, from_id);
	switch (PUBLISH_KIND(whose)) {
	case PUBLISH_OURS:
		return publish6_send(skb, from_id, (__u32)whose);
	case PUBLISH_PEERS:
		return publish6_send_peer(skb, from_id, (__u32)whose);
	default:
		return NOT_OURS;
	}
}

/* As judge_later(). */
__noinline __s64 publish6_judge_later(struct __sk_buff *skb, __u32 peer)
{
	const struct weft_bpf_instance *to;
	const struct ipv6hdr *ip;
	struct route6 r = {};
	struct packet p = {};

	if (parse_ip6(skb, &p) || !p.frag_later || later_fragment6(skb, &r, p.frag) || r.reverse ||
		r.backend != peer)
		return DROP(TUNNEL_SOURCE);
	ip = ip6_header(skb);
	if (!ip || in_overlay_range6(ip->saddr.in6_u.u6_addr32))
		return DROP(TUNNEL_SOURCE);
	to = instance_get(r.to_id);
	if (!to || to->device == WEFT_DEVICE_REMOTE ||
		!same_addr6(ip->daddr.in6_u.u6_addr32, to->ns_addr6))
		return DROP(BACKEND_GONE);
	return r.to_id;
}

static __always_inline void judge_first6(
	struct __sk_buff *skb, const struct packet *p, __u32 to, __u32 peer)
{
	struct route6 r = {.to_id = to, .backend = peer};

	first_fragment6(skb, &r, p->frag);
}

/* As publish_judge(). */
__noinline __s64 publish6_judge(struct __sk_buff *skb, __u32 peer)
{
	const struct weft_bpf_instance *to, *from;
	const struct weft_bpf_service *svc;
	struct weft_return_key key;
	const struct ipv6hdr *ip;
	struct packet p = {};
	const __u32 *id, *known;

	if (!parse_outside6(skb, &p) && !p.frag_later)
		return DROP(TUNNEL_SOURCE);
	ip = ip6_header(skb);
	if (!ip)
		return DROP(TUNNEL_SOURCE);
	id = bpf_map_lookup_elem(&ns_addrs6, &ip->saddr);
	from = id ? instance_get(*id) : NULL;
	if (from)
		return from->device == WEFT_DEVICE_REMOTE && from->peer == peer
			       ? (__s64)PUBLISH(PUBLISH_OURS, *id)
			       : DROP(TUNNEL_SOURCE);
	if (p.frag_later)
		return publish6_judge_later(skb, peer);
	id = bpf_map_lookup_elem(&ns_addrs6, &ip->daddr);
	to = id ? instance_get(*id) : NULL;
	svc = to ? service_get(to->service) : NULL;
	if (in_overlay_range6(ip->saddr.in6_u.u6_addr32) || !to ||
		to->device == WEFT_DEVICE_REMOTE || !svc || !svc->n_published)
		return DROP(TUNNEL_SOURCE);
	return_key6(&key, ip->saddr.in6_u.u6_addr32, p.sport, to->epoch, p.dport, p.proto);
	known = bpf_map_lookup_elem(&returns, &key);
	if (!known || *known != peer)
		bpf_map_update_elem(&returns, &key, &peer, BPF_ANY);
	count_packet(skb, to->service, *id, TO_BACKEND);
	if (p.frag_first)
		judge_first6(skb, &p, *id, peer);
	return *id;
}

/* As publish_arrive(). */
static __always_inline int publish6_arrive(struct __sk_buff *skb, __u32 peer, bool error)
{
	const struct weft_bpf_instance *to;
	__s64 judged;
	__u64 whose;

	judged = error ? publish6_error_judge(skb, peer) : publish6_judge(skb, peer);
	if (judged < 0)
		return judged;
	if (PUBLISH_KIND(judged) == PUBLISH_OURS && error) {
		whose = publish6_error_whose(skb, (__u32)judged);
		return PUBLISH_KIND(whose) == PUBLISH_OURS
			       ? publish6_error_send(skb, (__u32)judged, (__u32)whose)
			       : DROP(ICMP_NO_FLOW);
	}
	if (PUBLISH_KIND(judged) == PUBLISH_OURS) {
		whose = publish6_whose(skb, (__u32)judged);
		return PUBLISH_KIND(whose) == PUBLISH_OURS
			       ? publish6_send(skb, (__u32)judged, (__u32)whose)
			       : DROP(TUNNEL_SOURCE);
	}
	to = instance_get((__u32)judged);
	return to ? deliver_here(skb, to) : DROP(TUNNEL_TARGET);
}

#endif
