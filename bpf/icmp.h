/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMP errors about translated packets. An instance quotes the packet as it got it; whoever sent it
 * gets it quoted as it was sent. The overlay is one hop: it does not count down the time to live,
 * so traceroute shows an address called as the first and last hop. */
#ifndef WEFT_BPF_ICMP_H
#define WEFT_BPF_ICMP_H

#include "bpf/deliver.h"
#include "bpf/nat.h"
#include "bpf/service.h"

/* The packet that the error is about: its header without options, what follows, and where. */
struct quoted {
	struct iphdr ip;
	__be16 words[4]; /* of the transport header */
	__u32 off, l4;
};

static __always_inline int quoted_load(
	struct __sk_buff *skb, const struct packet *p, struct quoted *q)
{
	__u32 hlen;

	q->off = p->l4 + sizeof(struct icmp_error);
	if (!l4_holds(p, sizeof(struct icmp_error) + IP_HLEN_MIN) ||
		bpf_skb_load_bytes(skb, q->off, &q->ip, sizeof(q->ip)))
		return DROP(TRUNCATED);
	hlen = q->ip.ihl * 4;
	if (q->ip.version != 4 || hlen < IP_HLEN_MIN || bpf_ntohs(q->ip.tot_len) < hlen)
		return DROP(MALFORMED);
	q->l4 = q->off + hlen;
	if (!l4_holds(p, sizeof(struct icmp_error) + hlen + sizeof(q->words)) ||
		bpf_skb_load_bytes(skb, q->l4, q->words, sizeof(q->words)))
		return DROP(TRUNCATED);
	return 0;
}

/* What would answer the quoted packet: a packet whose way is known if its flow is. */
static __always_inline int quoted_answer(const struct quoted *q, struct packet *ret)
{
	ret->family = 4;
	ret->proto = q->ip.protocol;
	ret->saddr = q->ip.daddr;
	ret->daddr = q->ip.saddr;
	if (q->ip.frag_off & bpf_htons(IP_FRAG_OFF))
		return DROP(ICMP_NO_FLOW);
	switch (ret->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		ret->sport = q->words[1];
		ret->dport = q->words[0];
		return 0;
	case IPPROTO_ICMP:
		switch (bpf_ntohs(q->words[0]) >> 8) {
		case ICMP_ECHO:
			ret->dport = q->words[2];
			return 0;
		case ICMP_ECHOREPLY:
			ret->sport = q->words[2];
			return 0;
		}
		return DROP(ICMP_TYPE); /* no errors about errors */
	default:
		return DROP(ICMP_NO_FLOW);
	}
}

static __always_inline bool known_instance(const struct packet *p, struct route *r, __u32 id)
{
	struct flow_key key, forth;
	struct flow f;

	r->to = instance_get(id);
	if (!r->to)
		return false;
	r->to_id = r->backend = id;
	if (r->from->service && way_back(p, r, &f, &key, &forth))
		return true;
	route_source(p, r, r->from->inst_addr, r->from->inst_addr6);
	key = key_direct(p, r->from, r->to);
	return flow_find(flow_hash(&key), &f) && direct_holds(r, f.word);
}

/* Neither opens nor touches the flow: an error is no sign of life. */
static __always_inline bool known_target(const struct packet *p, struct route *r, __u32 target)
{
	__u32 id = WEFT_TARGET_ID(target), kind = WEFT_TARGET_KIND(target);
	const struct weft_bpf_service *svc;
	struct flow_key key;
	struct flow f;

	route_source(p, r, r->from->inst_addr, r->from->inst_addr6);
	if (kind >= WEFT_TARGET_SERVICE) {
		svc = service_get(id);
		if (!svc)
			return false;
		key = key_to_service(p, r->from, svc, kind - WEFT_TARGET_SERVICE, false);
		if (!flow_find(flow_hash(&key), &f) || !flow_backend(f.word, id, r))
			return false;
		r->service = id;
		r->backend = r->to_id;
		return true;
	}
	return kind == WEFT_TARGET_INSTANCE && known_instance(p, r, id);
}

static __always_inline bool known_route(const struct packet *p, struct route *r)
{
	__u32 low = bpf_ntohl(p->daddr) & 0xffff;
	const __u32 *target = bpf_map_lookup_elem(&targets, &low);

	return target && known_target(p, r, *target);
}

/* A begun checksum is a sum, a whole one its complement. Nothing says which is quoted, but the
 * former is the pseudo-header's sum; whole ones equal that once in 65536, and nobody verifies a
 * quoted one. diff is what the addresses change, ports what the ports do, which only a whole one
 * covers. */
static __always_inline __u16 quoted_check(
	const struct quoted *q, __u16 check, __u32 diff, __u32 ports)
{
	__u16 len = bpf_ntohs(q->ip.tot_len) - (q->l4 - q->off);
	__u32 pseudo = csum_fold(
		(__u64)q->ip.saddr + q->ip.daddr + bpf_htons(q->ip.protocol) + bpf_htons(len));

	if (check == pseudo)
		return csum_fold((__u64)check + diff);
	return ~csum_fold((__u64)(__u16)~check + diff + ports);
}

static __always_inline int quoted_check_rewrite(struct __sk_buff *skb, const struct packet *p,
	const struct quoted *q, __u32 diff, __u32 ports)
{
	__u32 off = q->l4 + (q->ip.protocol == IPPROTO_TCP ? TCP_CHECK_OFF : UDP_CHECK_OFF);
	__u16 check, fresh;

	/* Of TCP there may be no more than the ports and the sequence number. */
	if (q->ip.protocol == IPPROTO_ICMP || !l4_holds(p, off - p->l4 + sizeof(check)))
		return 0;
	if (bpf_skb_load_bytes(skb, off, &check, sizeof(check)))
		return DROP(TRUNCATED);
	if (q->ip.protocol == IPPROTO_UDP && !check)
		return 0;
	fresh = quoted_check(q, check, diff, ports);
	if (q->ip.protocol == IPPROTO_UDP && !fresh)
		fresh = 0xffff;
	/* The quoted IP header changes too, but its sum does not. */
	if (bpf_skb_store_bytes(skb, off, &fresh, sizeof(fresh), 0) ||
		bpf_l4_csum_replace(
			skb, p->l4 + ICMP_CHECK_OFF, 0, csum_fold((__u64)(__u16)~check + fresh), 0))
		return DROP(NO_MEMORY);
	return 0;
}

static __always_inline int quoted_rewrite(struct __sk_buff *skb, const struct packet *p,
	struct quoted *q, __be32 saddr, __be32 daddr, __u32 ports)
{
	__u32 diff = csum_fold((__u64)(__u32)~q->ip.saddr + saddr + (__u32)~q->ip.daddr + daddr);
	int ret = quoted_check_rewrite(skb, p, q, diff, ports);

	if (ret)
		return ret;
	q->ip.check = ~csum_fold((__u64)(__u16)~q->ip.check + diff);
	q->ip.saddr = saddr;
	q->ip.daddr = daddr;
	return bpf_skb_store_bytes(skb, q->off, &q->ip, sizeof(q->ip), 0) ? DROP(NO_MEMORY) : 0;
}

/* An error, what it is about, and what would answer that. */
static __always_inline int error_read(
	struct __sk_buff *skb, struct packet *p, struct quoted *q, struct packet *ret_answer)
{
	int ret = parse_ip(skb, p);
	__u8 type = 0;

	if (ret)
		return ret;
	if (bpf_skb_load_bytes(skb, p->l4, &type, sizeof(type)))
		return DROP(TRUNCATED);
	if (type != ICMP_UNREACHABLE && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETER)
		return DROP(ICMP_TYPE);
	if (p->frag_first || p->frag_later) /* RFC 1812 keeps them below any MTU */
		return DROP(MALFORMED);
	ret = quoted_load(skb, p, q);
	return ret ? ret : quoted_answer(q, ret_answer);
}

/* Does it say that nobody was reached, rather than how to reach them? */
static __always_inline bool says_unreachable(struct __sk_buff *skb, const struct packet *p)
{
	__u8 what[2] = {}; /* type, code */

	return !bpf_skb_load_bytes(skb, p->l4, what, sizeof(what)) && what[0] == ICMP_UNREACHABLE &&
	       what[1] != ICMP_NEEDS_FRAG;
}

/* ICMP that is not echo, to a semantic address or, by a tunnel, to instance to_id: the verdict. On
 * its own, so that it is verified once and costs the others nothing. */
__noinline int icmp_error(struct __sk_buff *skb, __u32 from_id, __u32 to_id)
{
	struct route r = {.from = instance_get(from_id), .from_id = from_id};
	struct packet p = {}, answer = {};
	struct quoted q = {};
	int ret;

	if (!r.from)
		return DROP(UNKNOWN_DEVICE);
	ret = error_read(skb, &p, &q, &answer);
	if (ret)
		return ret;
	if (answer.saddr != p.saddr || answer.daddr != p.daddr)
		return DROP(ICMP_NO_FLOW);
	if (to_id ? !known_instance(&answer, &r, to_id) : !known_route(&answer, &r))
		return DROP(ICMP_NO_FLOW);
	ret = quoted_rewrite(skb, &p, &q, r.to->ns_addr, r.saddr, 0);
	if (!ret)
		ret = nat_rewrite(skb, &p, r.saddr, r.to->ns_addr);
	if (ret)
		return ret;
	count_packet(skb, r.service, r.backend, r.reverse ? FROM_BACKEND : TO_BACKEND);
	if (r.reverse && says_unreachable(skb, &p))
		quality_unreachable(r.backend);
	return deliver(skb, r.to);
}

#endif
