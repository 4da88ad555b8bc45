/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The way of most packets by itself: a segment or datagram of a known flow, whole and plain, of
 * which nothing is to be said to anybody. It is handled in a few cache lines of straight code. What
 * is different in any way is left untouched to the whole program, which would do the same here,
 * only later: no rule is made in this file. (What a flow has been told of a packet by then, it is
 * told once more, to no effect.) */
#ifndef WEFT_BPF_QUICK_H
#define WEFT_BPF_QUICK_H

#include "bpf/forward.h"

#define NOT_QUICK 102 /* no verdict */
#define IP_PLAIN  (4 << 4 | IP_HLEN_MIN / 4)

/* One that opens a flow, so that it loses no time here. */
static __always_inline bool quick_opens(struct __sk_buff *skb)
{
	const struct iphdr *ip = (void *)(frame(skb) + IP_OFF);
	const struct tcphdr *th = (void *)(ip + 1);

	return (void *)(th + 1) <= frame_end(skb) && ip->protocol == IPPROTO_TCP && th->syn;
}

/* IPv4 without options, not in pieces. */
static __always_inline bool quick_ip(struct __sk_buff *skb, struct packet *p)
{
	const struct ethhdr *eth = (void *)frame(skb);
	const struct iphdr *ip = (void *)(eth + 1);
	const struct udphdr *uh = (void *)(ip + 1);

	if ((void *)(uh + 1) > frame_end(skb) || eth->h_proto != bpf_htons(ETH_P_IP) ||
		*(const __u8 *)ip != IP_PLAIN ||
		ip->frag_off & bpf_htons(IP_FRAG_MORE | IP_FRAG_OFF))
		return false;
	p->family = 4;
	p->proto = ip->protocol;
	p->saddr = ip->saddr;
	p->daddr = ip->daddr;
	p->ip_len = bpf_ntohs(ip->tot_len);
	p->l4 = IP_OFF + IP_HLEN_MIN;
	return IP_OFF + p->ip_len <= skb->len;
}

static __always_inline bool quick_sender(
	struct __sk_buff *skb, const struct packet *p, const struct weft_bpf_instance *from)
{
	const struct ethhdr *eth = (void *)frame(skb);

	return (void *)(eth + 1) <= frame_end(skb) && !skb->vlan_present &&
	       mac_equal(eth->h_source, from->mac) && p->saddr == from->ns_addr && p->saddr &&
	       in_semantic_range(p->daddr);
}

/* A datagram, or a segment that begins nothing. */
static __always_inline bool quick_l4(struct __sk_buff *skb, struct packet *p)
{
	const void *l4 = frame(skb) + IP_OFF + IP_HLEN_MIN, *end = frame_end(skb);

	if (p->proto == IPPROTO_TCP)
		return !parse_tcp(l4, end, p) && !(p->tcp_flags & (TCP_SYN | TCP_RST));
	return p->proto == IPPROTO_UDP && !skb->gso_size && !parse_udp(l4, end, p);
}

/* Is its time taken? What tells is read again, so that until here there is less to keep. */
static __always_inline bool quick_timed(struct __sk_buff *skb, bool tcp, bool reverse)
{
	const struct iphdr *ip = (void *)(frame(skb) + IP_OFF);
	const struct tcphdr *th = (void *)(ip + 1);
	struct packet p = {};

	if (!tcp || (void *)(th + 1) > frame_end(skb))
		return false;
	p.seq = th->seq;
	p.ack = th->ack_seq;
	p.data = bpf_ntohs(ip->tot_len) - IP_HLEN_MIN - th->doff * 4;
	return quality_timed(&p, reverse);
}

__noinline int quick_time(struct __sk_buff *skb, __u32 backend, bool reverse)
{
	struct packet p = {};

	if (quick_ip(skb, &p) && quick_l4(skb, &p))
		quality_packet(&p, backend, reverse, 0);
	return 0;
}

/* Of a super-packet, each segment. */
static __always_inline bool quick_fits(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	__u32 headers = p->ip_len - p->data;

	return (skb->gso_size ? headers + skb->gso_size : p->ip_len) <= mtu;
}

/* Whether the packet leaves the word as it is. */
static __always_inline bool quick_holds(const struct packet *p, __u64 word)
{
	__u32 state = flow_next_state(word, flow_first_state(p), p->tcp_flags);

	return flow_aged(word, state) == word;
}

/* flow_touch() of a call that changes its flow. */
__noinline int quick_touch(
	__u64 pair, __u32 backend_epoch, __u64 word, __u32 first, __u32 tcp_flags)
{
	struct flow_key back = {.pair = pair, .mark = backend_epoch, .back = true};

	return flow_advance(flow_hash_of(pair, word), flow_hash(&back), word, first, tcp_flags);
}

static __always_inline bool quick_call(
	const struct packet *p, struct route *r, __u32 service, __u32 kind)
{
	const struct weft_bpf_service *svc = service_get(service);
	struct flow_key key;
	struct flow f;

	if (!svc)
		return false;
	r->policy = kind - WEFT_TARGET_SERVICE;
	key = key_to_service(p, r->from, svc, r->policy, false);
	if (!flow_find(flow_hash(&key), &f) || !flow_backend(f.word, service, r))
		return false;
	r->saddr = r->from->inst_addr;
	r->backend = r->to_id;
	r->service = service;
	if (!r->saddr)
		return false;
	if (!quick_holds(p, f.word))
		quick_touch(key.pair, r->to->epoch, f.word, flow_first_state(p), p->tcp_flags);
	return true;
}

/* Of a flow of its service; or between two instances, by the address of one, which is also how a
 * client of another node calls. */
static __always_inline bool quick_answer(const struct packet *p, struct route *r)
{
	struct flow_key key, forth;
	struct flow f;

	if (!r->to)
		return false;
	if (!r->from->service || !way_back(p, r, &f, &key, &forth)) {
		r->backend = r->to_id;
		r->saddr = r->from->inst_addr;
		key = key_direct(p, r->from, r->to);
		if (!r->saddr || !flow_find(flow_hash(&key), &f) || !direct_holds(r, f.word))
			return false;
	}
	return quick_holds(p, f.word);
}

static __always_inline bool quick_route(struct __sk_buff *skb, struct packet *p, struct route *r)
{
	__u32 low = bpf_ntohl(p->daddr) & 0xffff, kind, id;
	const __u32 *target = bpf_map_lookup_elem(&targets, &low);

	if (!target)
		return false;
	kind = WEFT_TARGET_KIND(*target);
	id = WEFT_TARGET_ID(*target);
	if (!quick_l4(skb, p) || (overlay_mtu && !quick_fits(skb, p, overlay_mtu)))
		return false;
	if (kind >= WEFT_TARGET_SERVICE)
		return quick_call(p, r, id, kind);
	if (kind != WEFT_TARGET_INSTANCE)
		return false;
	r->to_id = id;
	r->to = instance_get(id);
	return quick_answer(p, r);
}

static __always_inline void quick_count(
	struct __sk_buff *skb, const struct packet *p, const struct route *r)
{
	count_packet(skb, r->service, r->backend, r->reverse ? FROM_BACKEND : TO_BACKEND);
	if (quick_timed(skb, p->proto == IPPROTO_TCP, r->reverse))
		quick_time(skb, r->backend, r->reverse);
}

/* What an instance sends: the verdict, or NOT_QUICK. */
static __always_inline int quick(
	struct __sk_buff *skb, const struct weft_bpf_instance *from, __u32 from_id)
{
	struct route r = {.from = from, .from_id = from_id};
	struct packet p = {};

	if ((from->device != WEFT_DEVICE_PEER && from->device != WEFT_DEVICE_DIRECT) ||
		quick_opens(skb))
		return NOT_QUICK;
	if (!quick_ip(skb, &p) || !quick_sender(skb, &p, from) || !quick_route(skb, &p, &r))
		return NOT_QUICK;
	if (r.to->device == WEFT_DEVICE_REMOTE && !quick_fits(skb, &p, peer_mtu(r.to->peer)))
		return NOT_QUICK;
	if (!nat_rewrite_here(skb, p.proto == IPPROTO_UDP, r.saddr, r.to->ns_addr))
		return NOT_QUICK;
	quick_count(skb, &p, &r);
	return deliver(skb, r.to);
}

#endif
