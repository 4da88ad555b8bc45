/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The last steps of a packet whose route is known: that its way takes it, counting, translation,
 * delivery; and fragments, which all go the way of their first. */
#ifndef WEFT_BPF_FORWARD_H
#define WEFT_BPF_FORWARD_H

#include "bpf/deliver.h"
#include "bpf/frag.h"
#include "bpf/mss.h"
#include "bpf/nat.h"
#include "bpf/service.h"

static __always_inline bool in_semantic_range(__be32 addr)
{
	return (addr & bpf_htonl(WEFT_SEMANTIC_MASK)) == bpf_htonl(WEFT_SEMANTIC_NET);
}

/* Where the way is longer than this node, lower its MTU to what the tunnel takes. Returns that for
 * what goes into it, 0 for what does not, or a DROP(). */
static __always_inline int tunnel_mtu(struct route *r)
{
	bool leaves = r->to->device == WEFT_DEVICE_REMOTE;
	__u32 mtu;

	if (!leaves && r->from->device != WEFT_DEVICE_REMOTE)
		return 0;
	mtu = peer_mtu(leaves ? r->to->peer : r->from->peer);
	if (!mtu)
		return DROP(NO_PEER);
	if (!r->mtu || r->mtu > mtu)
		r->mtu = mtu;
	return leaves ? mtu : 0;
}

/* Nobody on the way could cut it: the sender has to know, whether it wants to or not. */
static __always_inline int fit_tunnel(
	struct __sk_buff *skb, const struct packet *p, struct route *r)
{
	int mtu = tunnel_mtu(r);

	if (mtu < 0)
		return mtu;
	return mtu && p->ip_len > mtu && too_big(skb, mtu, true) ? DROP(TOO_BIG) : 0;
}

static __always_inline int finish(struct __sk_buff *skb, const struct packet *p, struct route *r)
{
	int ret = fit_tunnel(skb, p, r);

	if (ret)
		return ret;
	count_packet(skb, r->service, r->backend, r->reverse ? FROM_BACKEND : TO_BACKEND);
	quality_packet(p, r->backend, r->reverse, r->state);
	if (mss_to_clamp(skb, p, r->mtu))
		mss_clamp(skb, p->l4, r->mtu);
	ret = nat_rewrite(skb, p, r->saddr, r->to->ns_addr);
	return ret ? ret : deliver(skb, r->to);
}

static __always_inline void first_fragment(const struct packet *p, const struct route *r)
{
	struct weft_frag note = {
		.saddr = r->saddr,
		.daddr = r->to->ns_addr,
		.to = r->to_id,
		.backend = r->backend,
		.service = r->service,
		.reverse = r->reverse,
	};

	frag_note(p, &note);
}

static __always_inline int later_fragment(
	struct __sk_buff *skb, const struct packet *p, struct route *r)
{
	const struct weft_frag *note = frag_find(p);

	if (!note)
		return DROP(FRAGMENT);
	r->to = instance_get(note->to);
	if (!r->to || r->to->ns_addr != note->daddr)
		return DROP(BACKEND_GONE);
	r->saddr = note->saddr;
	r->backend = note->backend;
	r->service = note->service;
	r->reverse = note->reverse;
	return finish(skb, p, r);
}

#endif
