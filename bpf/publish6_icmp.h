/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* ICMPv6 errors about what a published port's caller and its backend send each other: as
 * publish_icmp.h, step by step. */
#ifndef WEFT_BPF_PUBLISH6_ICMP_H
#define WEFT_BPF_PUBLISH6_ICMP_H

#include "bpf/icmp6.h"
#include "bpf/publish_icmp.h"

static __always_inline bool in_overlay_range6(const __be32 addr[4])
{
	return (addr[0] & bpf_htonl(WEFT_OVERLAY6_MASK)) == bpf_htonl(WEFT_OVERLAY6_NET);
}

/* NULL: not (any more) in what is linear. */
static __always_inline const struct ipv6hdr *ip6_header(struct __sk_buff *skb)
{
	const struct ipv6hdr *ip = (void *)(frame(skb) + IP_OFF);

	return (void *)(ip + 1) > frame_end(skb) ? NULL : ip;
}

static __always_inline void return_key6(struct weft_return_key *k, const __be32 client[4],
	__be16 client_port, __u32 instance, __be16 port, __u8 proto)
{
	__builtin_memset(k, 0, sizeof(*k));
	copy_addr6(k->client, client);
	k->instance = instance;
	k->client_port = client_port;
	k->port = port;
	k->proto = proto;
}

/* Most packets are none at first sight. */
static __always_inline bool may_be_error6(struct __sk_buff *skb)
{
	const struct ipv6hdr *ip = ip6_header(skb);

	return ip && (ip->nexthdr == NEXT_ICMP || is_extension(ip->nexthdr));
}

/* Who sent what is quoted, and to whom. */
struct ends6 {
	struct weft_addr6 from, to;
};

/* An error about a packet with ports: what would answer that, and its ends. 0 or a DROP(). */
static __always_inline int error6_outside(
	struct __sk_buff *skb, struct packet *ret_answer, struct ends6 *ret)
{
	struct quoted6 q = {};
	int r;

	r = error6_read(skb, ret_answer, &q);
	if (!r)
		r = quoted6_answer(&q, ret_answer);
	if (r)
		return r;
	if (!has_ports(q.proto))
		return DROP(ICMP_NO_FLOW);
	return bpf_skb_load_bytes(skb, q.off + IP6_SADDR_OFF, ret, sizeof(*ret)) ? DROP(TRUNCATED)
										 : 0;
}

/* Give one end of the translation another address and port: who sent what is quoted, to whom the
 * error goes (inward); or who got that, from whom it comes. */
__noinline int error6_rename(
	struct __sk_buff *skb, const struct weft_addr6 *addr, __u32 port, bool inward)
{
	struct ends6 quoted, error;
	struct packet p = {};
	struct quoted6 q = {};
	__be16 old, fresh = port;
	int ret;

	if (!addr)
		return DROP(MALFORMED);
	ret = error6_read(skb, &p, &q);
	if (ret)
		return ret;
	if (bpf_skb_load_bytes(skb, q.off + IP6_SADDR_OFF, &quoted, sizeof(quoted)) ||
		bpf_skb_load_bytes(skb, IP_OFF + IP6_SADDR_OFF, &error, sizeof(error)))
		return DROP(TRUNCATED);
	if (inward) {
		old = q.words[0];
		quoted.from = error.to = *addr;
	} else {
		old = q.words[1];
		quoted.to = error.from = *addr;
	}
	if (bpf_skb_store_bytes(
		    skb, q.l4 + (inward ? PORT_SOURCE : PORT_DEST), &fresh, sizeof(fresh), 0) ||
		bpf_l4_csum_replace(skb, p.l4 + ICMP_CHECK_OFF, old, fresh, sizeof(fresh)))
		return DROP(NO_MEMORY);
	ret = quoted6_rewrite(skb, &p, &q, quoted.from.word, quoted.to.word,
		csum_fold((__u64)(__u16)~old + fresh));
	return ret ? ret : error6_translate(skb, &p, error.from.word, error.to.word);
}

/* From outside, about an answer that has left this node: by which port and of which backend, or 0
 * where it is about nothing of ours. */
__noinline __s64 publish6_error_pick(struct __sk_buff *skb)
{
	const struct ipv6hdr *ip;
	struct packet answer = {};
	struct outside o = {};
	struct ends6 ends;

	if (error6_outside(skb, &answer, &ends))
		return 0;
	ip = ip6_header(skb);
	if (!ip || !same_addr6(ip->daddr.in6_u.u6_addr32, ends.from.word) ||
		!published_find6(&o, ends.from.word, answer.dport, answer.proto) ||
		!known_published(&answer, &o, client6(ends.to.word)))
		return 0;
	return (__s64)(o.svc->published + o.pub->index) << 32 | o.to_id;
}

/* To that backend: the verdict. */
__noinline int publish6_error_to(struct __sk_buff *skb, __u32 pub_id, __u32 to_id)
{
	const struct weft_bpf_published *pub = bpf_map_lookup_elem(&published, &pub_id);
	const struct weft_bpf_instance *to = instance_get(to_id);
	int ret;

	if (!pub || !to)
		return DROP(BACKEND_GONE);
	ret = error6_rename(skb, (void *)to->ns_addr6, pub->port, true);
	if (ret)
		return ret;
	count_packet(skb, pub->service, to_id, TO_BACKEND);
	return deliver(skb, to);
}

/* From an instance to a caller, about what that sent: PUBLISH(). */
__noinline __u64 publish6_error_whose(struct __sk_buff *skb, __u32 from_id)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	struct weft_return_key key;
	const struct ipv6hdr *ip;
	struct packet answer = {};
	struct outside o = {};
	struct ends6 ends;
	const __u32 *peer;

	if (!from || error6_outside(skb, &answer, &ends))
		return 0;
	ip = ip6_header(skb);
	if (!ip || !same_addr6(ip->daddr.in6_u.u6_addr32, ends.from.word) ||
		!same_addr6(ends.to.word, from->ns_addr6))
		return 0;
	if (answers_published(&answer, client6(ends.from.word), from, from_id, &o, false))
		return PUBLISH(PUBLISH_OURS, o.pub->host_port);
	if (from->device == WEFT_DEVICE_REMOTE)
		return 0;
	return_key6(&key, ends.from.word, answer.dport, from->epoch, answer.sport, answer.proto);
	peer = bpf_map_lookup_elem(&returns, &key);
	return peer ? PUBLISH(PUBLISH_PEERS, *peer) : 0;
}

/* As the node's own, out of the uplink: the verdict. */
__noinline int publish6_error_send(struct __sk_buff *skb, __u32 from_id, __u32 port)
{
	const struct weft_bpf_instance *from = instance_get(from_id);
	const struct weft_bpf_publish_at *at = published_at();
	int ret;

	if (!from || !at || !has_addr6(at->addr6))
		return DROP(NO_UPLINK);
	ret = error6_rename(skb, (void *)at->addr6, port, false);
	if (ret)
		return ret;
	count_packet(skb, from->service, from_id, FROM_BACKEND);
	return leave();
}

/* As publish_error_judge(). */
__noinline __s64 publish6_error_judge(struct __sk_buff *skb, __u32 peer)
{
	const struct weft_bpf_instance *to, *from;
	struct weft_return_key key;
	const struct ipv6hdr *ip;
	struct packet answer = {};
	const __u32 *id, *known;
	struct ends6 ends;
	int ret;

	ret = error6_outside(skb, &answer, &ends);
	if (ret)
		return ret;
	ip = ip6_header(skb);
	if (!ip)
		return DROP(TRUNCATED);
	id = bpf_map_lookup_elem(&ns_addrs6, &ip->saddr);
	from = id ? instance_get(*id) : NULL;
	if (from)
		return from->device == WEFT_DEVICE_REMOTE && from->peer == peer
			       ? (__s64)PUBLISH(PUBLISH_OURS, *id)
			       : DROP(TUNNEL_SOURCE);
	id = bpf_map_lookup_elem(&ns_addrs6, &ip->daddr);
	to = id ? instance_get(*id) : NULL;
	if (in_overlay_range6(ip->saddr.in6_u.u6_addr32) || !to ||
		to->device == WEFT_DEVICE_REMOTE ||
		!same_addr6(ip->daddr.in6_u.u6_addr32, ends.from.word))
		return DROP(TUNNEL_SOURCE);
	return_key6(&key, ends.to.word, answer.sport, to->epoch, answer.dport, answer.proto);
	known = bpf_map_lookup_elem(&returns, &key);
	if (!known || *known != peer)
		return DROP(ICMP_NO_FLOW);
	count_packet(skb, to->service, *id, TO_BACKEND);
	return *id;
}

#endif
