/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The last steps of an IPv6 packet whose route is known, and fragments. */
#ifndef WEFT_BPF_FORWARD6_H
#define WEFT_BPF_FORWARD6_H

#include "bpf/forward.h"
#include "bpf/nat6.h"
#include "bpf/route6.h"

#define FRAG6_ID_OFF 4 /* in its header */

static __always_inline bool in_semantic_range6(const __be32 addr[4])
{
	return (addr[0] & bpf_htonl(WEFT_SEMANTIC6_MASK)) == bpf_htonl(WEFT_SEMANTIC6_NET);
}

/* A super-packet is as large as its segments. Nobody but the sender cuts IPv6. */
static __always_inline bool too_big6(struct __sk_buff *skb, const struct packet *p, __u32 mtu)
{
	__u32 headers = p->l4 - IP_OFF + sizeof(struct udphdr);
	__u8 doff = 0;

	if (p->ip_len <= mtu)
		return false;
	if (!skb->gso_size)
		return true;
	if (p->proto == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, p->l4 + TCP_DOFF_OFF, &doff, sizeof(doff)))
			return false;
		headers = p->l4 - IP_OFF + (doff >> 4) * 4;
	}
	return headers + skb->gso_size > mtu;
}

/* As fit_tunnel(). */
static __always_inline int fit_tunnel6(struct __sk_buff *skb, const struct packet *p,
	const struct weft_bpf_instance *from, const struct weft_bpf_instance *to, struct route6 *r6)
{
	struct route r = {.from = from, .to = to, .mtu = r6->mtu};
	int mtu = tunnel_mtu(&r);

	r6->mtu = r.mtu;
	if (mtu < 0)
		return mtu;
	return mtu && too_big6(skb, p, mtu) ? DROP(TOO_BIG) : 0;
}

/* The verdict. */
__noinline int finish6(struct __sk_buff *skb, const struct packet *p, struct route6 *r)
{
	const struct weft_bpf_instance *from, *to;
	const __be32 *source;
	int ret;

	if (!p || !r)
		return DROP(MALFORMED);
	from = instance_get(r->from_id);
	to = instance_get(r->to_id);
	if (!from || !to)
		return DROP(BACKEND_GONE);
	source = route6_source(r, from);
	if (!source)
		return DROP(BACKEND_GONE);
	ret = fit_tunnel6(skb, p, from, to, r);
	if (ret)
		return ret;
	count_packet(skb, r->service, r->backend, r->reverse ? FROM_BACKEND : TO_BACKEND);
	quality_packet(p, r->backend, r->reverse, r->state);
	if (r->mtu > IP6_HLEN && mss_to_clamp(skb, p, r->mtu - (IP6_HLEN - IP_HLEN_MIN)))
		mss_clamp(skb, p->l4, r->mtu - (IP6_HLEN - IP_HLEN_MIN));
	ret = nat6_rewrite(skb, p, source, to->ns_addr6);
	return ret ? ret : deliver(skb, to);
}

/* --- fragments: as IPv4's, the first one leaves a note ---------------------------------------
 * The key is the addresses and the number alone: of a later one's other fields none is to be
 * trusted (RFC 8200, 4.5). */

static __always_inline bool frag6_key(struct __sk_buff *skb, __u32 frag, struct weft_frag6_key *ret)
{
	return !bpf_skb_load_bytes(
		       skb, IP_OFF + IP6_SADDR_OFF, ret->saddr, 2 * sizeof(ret->saddr)) &&
	       !bpf_skb_load_bytes(skb, frag + FRAG6_ID_OFF, &ret->id, sizeof(ret->id));
}

/* frag is the offset of the fragment header. */
__noinline int first_fragment6(struct __sk_buff *skb, const struct route6 *r, __u32 frag)
{
	const struct weft_bpf_instance *to;
	struct weft_frag6_key key = {};
	struct weft_frag6 note = {};

	if (!r)
		return 0;
	to = instance_get(r->to_id);
	if (!to || !frag6_key(skb, frag, &key))
		return 0;
	note.epoch = to->epoch;
	note.to = r->to_id;
	note.backend = r->backend;
	note.service = r->service;
	note.reverse = r->reverse;
	note.policy = r->policy;
	bpf_map_update_elem(&fragments6, &key, &note, BPF_ANY);
	return 0;
}

/* The route of its first one: 0 or a DROP(). */
__noinline int later_fragment6(struct __sk_buff *skb, struct route6 *ret, __u32 frag)
{
	const struct weft_bpf_instance *to;
	struct weft_frag6_key key = {};
	const struct weft_frag6 *note;

	if (!ret || !frag6_key(skb, frag, &key))
		return DROP(FRAGMENT);
	note = bpf_map_lookup_elem(&fragments6, &key);
	if (!note)
		return DROP(FRAGMENT);
	to = instance_get(note->to);
	if (!to || to->epoch != note->epoch)
		return DROP(BACKEND_GONE);
	ret->to_id = note->to;
	ret->backend = note->backend;
	ret->service = note->service;
	ret->reverse = note->reverse;
	ret->policy = note->policy;
	return 0;
}

/* A packet to target, or a later fragment of one: the verdict or a DROP(). */
static __always_inline int forward6(
	struct __sk_buff *skb, struct packet *p, struct route6 *r, __u32 target)
{
	int ret = p->frag_later ? later_fragment6(skb, r, p->frag) : route6_find(p, r, target);

	if (ret)
		return ret;
	if (p->frag_first)
		first_fragment6(skb, r, p->frag);
	return finish6(skb, p, r);
}

#endif
